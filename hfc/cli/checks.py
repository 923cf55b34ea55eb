"""What `hfc doctor` checks: each check is PASS, WARN or FAIL, with the command that mends it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.runtime.devices import ROWS, Found
from hfc.runtime.hip_library import HipLibrary
from hfc.runtime.kfd import Gpu, KfdMachine, KfdNode, Who
from hfc.target.arch import Arch, target_for

try:
    import grp
except ImportError:  # Windows has no groups of this kind
    grp = None

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"
GIB = 1 << 30
LEAST_FREE = 2 * GIB  # bytes of disk for kernels and a small model
# arch prefix -> the Linux whose amdgpu knows it
KERNELS = {"gfx1200": (6, 12), "gfx1201": (6, 12), "gfx1150": (6, 9), "gfx1151": (6, 10), "gfx1152": (6, 11)}
RUNTIMES = {  # ID or ID_LIKE of /etc/os-release -> what brings libamdhip64
    # their own libamdhip64-5 is of ROCm 5, too old
    "debian": "sudo apt install rocm-hip-runtime   # from AMD's repository, which amdgpu-install sets up",
    "ubuntu": "sudo apt install rocm-hip-runtime   # from AMD's repository, which amdgpu-install sets up",
    "fedora": "sudo dnf install rocm-hip",
    "arch": "sudo pacman -S hip-runtime-amd",
}


@dataclass(frozen=True)
class Check:
    """mend: a command, or what to do; empty where there is nothing to mend."""

    state: str
    name: str
    found: str
    mend: str = ""


def check_machine(machine: KfdMachine, who: Who) -> Iterator[Check]:
    """Driver, device files, cards and what is known to go wrong with them."""
    if machine.is_wsl and not machine.has_driver:
        yield Check(WARN, "driver", "WSL: cards are reached through ROCm for WSL, not /dev/kfd", "hfc devices")
        return
    if not machine.has_amd_card and not machine.gpus:
        yield Check(WARN, "driver", "there is no AMD card: models run on the CPU", "hfc run MODEL --device host")
        return
    if not machine.has_driver:
        yield Check(
            FAIL, "driver", "an AMD card is there, the kernel module amdgpu is not loaded", "sudo modprobe amdgpu"
        )
        return
    kernel = ".".join(map(str, machine.kernel or ())) or "?"
    yield Check(PASS, "driver", f"amdgpu of Linux {kernel}")
    yield _check_node("/dev/kfd", machine.kfd, machine, who)
    for gpu in machine.gpus:
        yield _check_node(f"render node of {gpu.arch}", gpu.render, machine, who)
    for gpu in machine.gpus:
        yield from _check_gpu(gpu, machine)


def check_runtime(machine: KfdMachine, library: HipLibrary, found: Found) -> Iterator[Check]:
    """The HIP runtime, and whether it shows what the kernel shows."""
    for text in library.failed:
        yield Check(WARN, "HIP runtime", f"does not load: {text}", "install the packages that it needs, or remove it")
    if library.path is None:
        if machine.gpus:
            yield Check(FAIL, "HIP runtime", "libamdhip64 is not here", _install(machine))
        return
    if library.path.endswith(".so.5"):
        yield Check(FAIL, "HIP runtime", f"{library.path} is of ROCm 5; 6 or newer is needed", _install(machine))
        return
    yield Check(PASS, "HIP runtime", library.path)
    shown = [card for card in found.cards if card.kind == "hip"]
    if shown:
        yield Check(PASS, "cards", "; ".join(card.label for card in shown))
    elif machine.gpus:
        why = found.missing.get("hip", "the runtime shows no card")
        yield Check(FAIL, "cards", why, "unset HIP_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES; then hfc doctor")


def check_environment(environment: Mapping[str, str]) -> Iterator[Check]:
    """Variables that people carry along from other programs."""
    if value := environment.get("HSA_OVERRIDE_GFX_VERSION"):
        yield Check(
            WARN,
            "environment",
            f"HSA_OVERRIDE_GFX_VERSION={value} makes the runtime name another architecture than the card's",
            "unset HSA_OVERRIDE_GFX_VERSION   # hfc compiles for the card itself",
        )
    for name in ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if name in environment:
            yield Check(WARN, "environment", f"{name}={environment[name]} hides cards", f"unset {name}")


def check_cache(folder: Path, toolchain: str | HfcError) -> Iterator[Check]:
    """The compiler, and the folder where kernels are kept. toolchain: its version, or why there is none."""
    if isinstance(toolchain, HfcError):
        yield Check(FAIL, "compiler", toolchain.message, toolchain.hint or "pip install ziglang==0.17.1")
    else:
        yield Check(PASS, "compiler", toolchain)
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
    text = f"{folder}: {size / 1e6:.0f} MB, {free / GIB:.1f} GiB free"
    if not _is_writable(existing):
        yield Check(FAIL, "cache", f"{folder} cannot be written", "export HFC_CACHE=$HOME/hfc-cache")
    elif free < LEAST_FREE:
        yield Check(WARN, "cache", text, "hfc rm --unused, or export HFC_CACHE=/a/larger/disk")
    else:
        yield Check(PASS, "cache", text)


def _check_node(name: str, node: KfdNode, machine: KfdMachine, who: Who) -> Check:
    if node.mode is None:
        mend = "docker run --device /dev/kfd --device /dev/dri ..." if machine.is_container else "sudo modprobe amdgpu"
        return Check(FAIL, name, f"{node.path} is not there", mend)
    if not node.opens_for(who):
        group = _group(node.group)
        return Check(
            FAIL,
            name,
            f"{node.path} (mode {node.mode:o}, group {group}) does not open for you",
            f"sudo usermod -aG {group} $USER   # then log in again",
        )
    return Check(PASS, name, f"{node.path}, mode {node.mode:o}, group {_group(node.group)}")


def _check_gpu(gpu: Gpu, machine: KfdMachine) -> Iterator[Check]:
    memory = ", ".join(
        f"{n / GIB:.1f} GiB {name}" for n, name in ((gpu.vram, "VRAM"), (gpu.gtt, "GTT")) if n is not None
    )
    text = f"{gpu.arch}, {gpu.compute_units} CUs, {memory}"
    row = ROWS.get(target_for(gpu.arch))
    if row is None:
        others = any(target_for(other.arch) in ROWS for other in machine.gpus)
        mend = "nothing: the other card is taken" if others else "hfc run MODEL --device host"
        yield Check(WARN, "card", f"{text}: hfc has no kernels for it", mend)
        return
    yield Check(PASS, "card", f"{text}: {_capabilities(row)}")
    needed = KERNELS.get(gpu.arch)
    if needed and machine.kernel and machine.kernel < needed:
        wanted = ".".join(map(str, needed))
        yield Check(WARN, "kernel", f"{gpu.arch} needs Linux {wanted} or newer", _upgrade(machine))
    is_alone = all(other.is_integrated for other in machine.gpus)
    if gpu.is_integrated and is_alone and gpu.gtt and machine.memory and gpu.gtt < 0.7 * machine.memory:
        pages = int(0.85 * machine.memory) >> 12
        yield Check(
            WARN,
            "memory",
            f"{gpu.arch} shares the machine's {machine.memory / GIB:.0f} GiB and may use {gpu.gtt / GIB:.0f} of them",
            f"add ttm.pages_limit={pages} ttm.page_pool_size={pages} to the kernel's command line",
        )


def _capabilities(row: Arch) -> str:
    """The arch's row in short."""
    return f"waves of {row.wave}, {row.lds_bytes >> 10} KiB LDS, {' '.join(sorted(row.features))}"


def _install(machine: KfdMachine) -> str:
    names = [machine.release.get("ID", ""), *machine.release.get("ID_LIKE", "").split()]
    return next((RUNTIMES[n] for n in names if n in RUNTIMES), "install the HIP runtime of ROCm (libamdhip64)")


def _upgrade(machine: KfdMachine) -> str:
    if machine.release.get("ID") == "debian":
        codename = machine.release.get("VERSION_CODENAME", "stable")
        return f"sudo apt install -t {codename}-backports linux-image-amd64"
    return "install a newer kernel"


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name if grp else str(number)
    except KeyError:
        return str(number)


def _is_writable(folder: Path) -> bool:
    probe = folder / f".hfc-doctor-{id(folder)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True
