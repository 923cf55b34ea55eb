"""Where AMD's HIP runtime lies: libamdhip64 under every name and in every place that an installation uses."""

from __future__ import annotations

import ctypes
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from hfc.base.dataclass import dataclass

NAMES = tuple(f"libamdhip64.so{version}" for version in (".7", "", ".6", ".5"))
WINDOWS_NAMES = ("amdhip64_7.dll", "amdhip64_6.dll", "amdhip64.dll")
VARIABLES = ("ROCM_PATH", "HIP_PATH", "ROCM_HOME")
WHEEL = "_rocm_sdk_core"  # the folder of the package rocm-sdk-core
SYSTEM_FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib")


@dataclass(frozen=True)
class HipLibrary:
    """path: what was loaded, or None.  failed: files that are there but do not load, with the loader's words."""

    path: str | None
    failed: tuple[str, ...] = ()

    @property
    def why_not(self) -> str:
        """Why none was loaded."""
        return "no HIP runtime (libamdhip64)" + "".join(f"; {text}" for text in self.failed)


@cache
def find_hip_library() -> HipLibrary:
    """The first library that loads. It stays loaded, so that who asks for it by name later gets the same."""
    failed = []
    for place in candidates(os.environ, Path("/"), sys.platform, Path(sysconfig.get_path("purelib"))):
        try:
            ctypes.CDLL(place, **({} if sys.platform == "win32" else {"mode": ctypes.RTLD_GLOBAL}))
        except OSError as error:
            if Path(place).is_absolute():
                failed.append(str(error))
            continue
        return HipLibrary(place, tuple(failed))
    return HipLibrary(None, tuple(failed))


def candidates(environment: Mapping[str, str], root: Path, platform: str, packages: Path) -> Iterator[str]:
    """Paths that exist, and bare names for the system's loader: what the user named, wheels, the loader, usual folders."""
    names = WINDOWS_NAMES if platform == "win32" else NAMES
    inside = ("bin", "lib") if platform == "win32" else ("lib", "lib64")
    chosen = [Path(environment[v]) / part for v in VARIABLES if environment.get(v) for part in inside]
    yield from _existing([*chosen, *(packages / WHEEL / part for part in inside)], names)
    yield from names
    if platform != "win32":
        installed = sorted((root / "opt").glob("rocm*"), key=_version, reverse=True)
        yield from _existing([folder / part for folder in installed for part in inside], names)
        yield from _existing([root / folder for folder in SYSTEM_FOLDERS], names)


def _existing(folders: list[Path], names: tuple[str, ...]) -> Iterator[str]:
    return (str(folder / name) for folder in folders for name in names if (folder / name).exists())


def _version(folder: Path) -> tuple[bool, list[int]]:
    """/opt/rocm itself first, it is the chosen one; then the newest."""
    return folder.name == "rocm", [int(number) for number in re.findall(r"\d+", folder.name)]
