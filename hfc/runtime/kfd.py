"""What Linux says of AMD GPUs, under a root folder: the amdgpu module, /dev/kfd, render nodes, memory. No library is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import field
from pathlib import Path

from hfc.base.dataclass import dataclass

AMD = 0x1002
READ_WRITE = 0o6


@dataclass(frozen=True)
class Who:
    """A user as permissions see him."""

    uid: int
    gids: frozenset[int]

    @classmethod
    def me(cls) -> Who:
        if not hasattr(os, "geteuid"):  # Windows, where no device file is asked for
            return cls(-1, frozenset())
        return cls(os.geteuid(), frozenset((os.getegid(), *os.getgroups())))


@dataclass(frozen=True)
class KfdNode:
    """A device file. mode None: it is not there.  group: the number of its group.  is_mine: this process may read and write it."""

    path: str
    mode: int | None
    owner: int = 0
    group: int = 0
    is_mine: bool = False

    def opens_for(self, who: Who) -> bool:
        if self.mode is None:
            return False
        if who == Who.me():  # access lists count too: systemd gives device files to who sits at the machine
            return self.is_mine
        bits = self.mode >> (6 if who.uid == self.owner else 3 if self.group in who.gids else 0)
        return who.uid == 0 or bits & READ_WRITE == READ_WRITE


@dataclass(frozen=True)
class Gpu:
    """A GPU of the KFD's topology. vram, gtt: bytes, None where amdgpu does not say."""

    arch: str
    pci_id: int
    compute_units: int
    render: KfdNode
    vram: int | None
    gtt: int | None

    @property
    def is_integrated(self) -> bool:
        """An APU: most of what it can use is the machine's memory."""
        return self.vram is not None and self.gtt is not None and self.vram < self.gtt and self.vram <= 4 << 30


@dataclass(frozen=True)
class KfdMachine:
    """kernel: (6, 12).  has_amd_card: on the PCI bus, whether or not a driver knows it.  memory: of the machine, in bytes."""

    kernel: tuple[int, int] | None
    has_amd_card: bool
    has_driver: bool
    kfd: KfdNode
    gpus: tuple[Gpu, ...]
    memory: int
    release: dict[str, str] = field(default_factory=dict)
    is_container: bool = False
    is_wsl: bool = False


def read_machine(root: Path = Path("/")) -> KfdMachine:
    """Everything that can be read; what is not there is left out."""
    version = re.search(r"Linux version (\d+)\.(\d+)", _text(root / "proc/version"))
    memory = re.search(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"))
    vendors = (_number(p) for p in (root / "sys/bus/pci/devices").glob("*/vendor") if _is_display(p.parent))
    return KfdMachine(
        kernel=(int(version[1]), int(version[2])) if version else None,
        has_amd_card=AMD in vendors,
        has_driver=(root / "sys/module/amdgpu").is_dir(),
        kfd=_node(root, "dev/kfd"),
        gpus=tuple(_gpus(root)),
        memory=int(memory[1]) << 10 if memory else 0,
        release=dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', _text(root / "etc/os-release"), re.MULTILINE)),
        is_container=(root / ".dockerenv").exists() or (root / "run/.containerenv").exists(),
        is_wsl=(root / "dev/dxg").exists(),
    )


def arch_of_version(version: int) -> str:
    """The KFD's gfx_target_version: 110001 -> "gfx1101", 90010 -> "gfx90a"."""
    major, minor, stepping = version // 10000, version // 100 % 100, version % 100
    return f"gfx{major}{minor:x}{stepping:x}"


def _gpus(root: Path) -> Iterable[Gpu]:
    nodes = (root / "sys/class/kfd/kfd/topology/nodes").glob("*/properties")
    for path in sorted(nodes, key=lambda p: int(p.parent.name)):
        facts = {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", _text(path), re.MULTILINE)}
        if not facts.get("simd_count") or not facts.get("gfx_target_version"):
            continue  # a CPU
        minor = facts.get("drm_render_minor", 0)
        device = root / f"sys/class/drm/renderD{minor}/device"
        yield Gpu(
            arch_of_version(facts["gfx_target_version"]),
            facts.get("device_id", 0),
            facts["simd_count"] // max(1, facts.get("simd_per_cu", 1)),
            _node(root, f"dev/dri/renderD{minor}"),
            _number(device / "mem_info_vram_total"),
            _number(device / "mem_info_gtt_total"),
        )


def _node(root: Path, name: str) -> KfdNode:
    try:
        found = (root / name).stat()
    except OSError:
        return KfdNode(f"/{name}", None)
    is_mine = os.access(root / name, os.R_OK | os.W_OK)
    return KfdNode(f"/{name}", found.st_mode & 0o777, found.st_uid, found.st_gid, is_mine)


def _is_display(device: Path) -> bool:
    """Class 0x03 is display controllers, 0x12 processing accelerators."""
    number = _number(device / "class")
    return number is not None and number >> 16 in (0x03, 0x12)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    try:
        return int(text, 0)
    except ValueError:
        return None
