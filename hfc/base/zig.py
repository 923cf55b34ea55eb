"""C to a shared library by the ziglang package, without what zig would build for itself first."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from hfc.base.cache import cache_folder, compiler_environment
from hfc.base.diagnostics import HfcError

UNDEFINED = "undefined symbol"  # what ld.lld says
FULL_DISK = ("No space left on device", "no space on device", "NoSpaceLeft")  # clang, clang on Windows, zig
# zig builds compiler-rt anew for each target: 5 s of CPU, and few sources need it. All that is used must be defined all the same.
WITHOUT_COMPILER_RT = ("-nostdlib", "-Wl,-z,defs", "-lc")


@cache
def zig_program() -> str:
    """The compiler of the package ziglang: started itself, not by `python -m ziglang`, which is another Python first."""
    spec = importlib.util.find_spec("ziglang")
    for name in ("zig", "zig.exe"):
        if spec and spec.origin and (program := Path(spec.origin).with_name(name)).exists():
            return str(program)
    raise HfcError("the Python package `ziglang` is not installed: there is no compiler", hint="pip install ziglang")


def compile_c(source: Path, out: Path, flags: Sequence[str], libraries: Sequence[str] = ()) -> str:
    """Run `zig cc` on one file. The messages if it failed, "" if it succeeded.

    flags: with -target where the library is not for this system, and with -shared where it is a library.  libraries: as in "-lm"."""
    command = [zig_program(), "cc", *flags, "-o", str(out), str(source), *libraries]
    if "-shared" not in flags or not is_for("linux", flags):
        return _run(command)
    message = _run([*command, *WITHOUT_COMPILER_RT])
    if UNDEFINED in message:  # compiler-rt has it: conversions of halves on a CPU that lacks them, say
        return _run(command)
    return message


def is_for(system: str, flags: Sequence[str]) -> bool:
    """system: "linux", "windows", "macos". Whether such flags compile for it: what -target names, else this system."""
    own = {"win32": "windows", "darwin": "macos"}.get(sys.platform, sys.platform)
    return system in (flags[flags.index("-target") + 1] if "-target" in flags else own)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env=compiler_environment())
    if not done.returncode:
        return ""
    refuse_full_disk(done.stderr)
    return done.stderr or f"exit code {done.returncode}"


def refuse_full_disk(message: str) -> None:
    """HfcError where a failed compiler says that it could not write: nothing is wrong with the source then."""
    if any(words in message for words in FULL_DISK):
        raise HfcError(
            f"the compiler has no space left on the disk of {cache_folder()} or of {tempfile.gettempdir()}; what it compiled before is kept",
            hint="free some space (`hfc rm --unused`), or set HFC_CACHE or TMPDIR to another disk, and run the same command again",
        )
