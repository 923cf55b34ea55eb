"""C source to a cached shared library, with the C compiler of the ziglang package."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hfc.base.cache import cached, key_of, record_made
from hfc.base.cpu import processor
from hfc.base.diagnostics import HfcError
from hfc.base.whole_file import keep_source
from hfc.base.zig import compile_c, is_for
from hfc.target.cpus import CPUS

# zig cc knows no level above -O2: it takes -O3 as that.
FLAGS = (
    "-O2", "-shared", "-fPIC", "-w", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=on", "-fno-sanitize=all", "-g0", "-s",
)  # fmt: skip


def build_library(source: str, target: str) -> bytes:
    """For any machine of a zig target, e.g. "x86_64-linux-gnu.2.17"; any machine can build for any."""
    return _library(source, ("-target", target), target).read_bytes()


def build_for_cpu(source: str, cpu: str, label: str = "library") -> Path:
    """For this kind of machine. cpu: "native", a row of CPUS (for all machines that have what it names), or a name that clang
    knows (x86_64_v3).  label: of the cache entry."""
    return _library(source, _options(cpu), f"cpu {cpu!r}", label)


def assembly_for_cpu(source: str, cpu: str = "native") -> str:
    """What `build_for_cpu` assembles: the same compiler with the same flags."""
    options = (*_options(cpu), "-S")
    key = _key(source, options)
    return cached(key, ".s", lambda: _compile(source, options, f"cpu {cpu!r}"), "host-library").read_text()


def _options(cpu: str) -> tuple[str, ...]:
    row = CPUS.get(cpu)
    return ("-target", row.target, f"-mcpu={row.clang}") if row else (f"-mcpu={cpu}",)


def _library(source: str, options: Sequence[str], what: str, label: str = "tape") -> Path:
    path = cached(_key(source, options), ".so", lambda: _compile(source, options, what), label)
    record_made(path.read_bytes())
    return path


def _key(source: str, options: Sequence[str]) -> str:
    native = processor() if "-mcpu=native" in options else ""
    return key_of(source, " ".join((*FLAGS, *options)), native, _compiler_version())


def _compiler_version() -> str:
    try:
        return version("ziglang")
    except PackageNotFoundError as error:
        raise HfcError(
            "no compiler for this CPU: the Python package `ziglang` is not installed",
            hint="pip install ziglang; or compile with --cpu on another machine, and run that bundle here with --trust",
        ) from error


def _compile(source: str, options: Sequence[str], what: str) -> bytes:
    """Run the compiler. On an error the source stays on disk and the HfcError names it."""
    with tempfile.TemporaryDirectory(prefix="hfc-c-") as folder:
        path, out = Path(folder, "library.c"), Path(folder, "library.so")
        path.write_text(source)
        flags = [flag for flag in FLAGS if "-S" not in options or flag not in ("-shared", "-s")]  # those of the linker
        waiting = ("-lapi-ms-win-core-synch-l1-2-0",) if is_for("windows", options) else ()  # WaitOnAddress
        message = compile_c(path, out, (*options, *flags), ("-lpthread", "-lm", *waiting))
        if message:
            first = next((line for line in message.splitlines() if "error" in line), message[:400])
            raise HfcError(
                f"the C compiler failed for {what}: {first}", hint=f"the source is in {keep_source(source, '.c')}"
            )
        return out.read_bytes()
