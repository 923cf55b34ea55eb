"""Bound regions and a launch list to one shared library: kernels, threads and tape as a single C file."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from hfc.backend.render import environment, render
from hfc.backend.spec import Bound
from hfc.base.cache import cached, key_of
from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.formats.tile import tile_layout

FLAGS = ("-O3", "-shared", "-fPIC", "-w", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=on", "-fno-sanitize=all", "-g0", "-s")
HEADERS = ("math.h", "hfc.h", "tile.h", "attend.h", "delta.h")
PLANES = 2  # bytes of an activation in integer dots: 2 keeps 15 bits, 1 is what other engines do
HERE = Path(__file__).parent

environment().filters["tile"] = tile_layout
environment().filters["weight_format"] = weight_format


def host_source(bound: Bound, context: int, planes: int = PLANES) -> str:
    """The C text of one region. context: tokens a slot of a KV cache holds."""
    variables = {"name": bound.name, "args": bound.args, "rows": bound.rows, **bound.extra}
    if bound.stem == "linear":
        variables["planes"] = planes
    if bound.stem == "attend":
        variables["context"] = context
    return render(f"host/{bound.stem}.c.j2", **variables)


def library_source(
    bounds: Iterable[Bound], launches: Sequence[tuple[str, Sequence[int]]], max_rows: int, context: int, planes: int = PLANES
) -> str:
    """One file that needs only the C library. launches: (kernel name, index of each pointer in the table given to hfc_create)."""
    bounds = list(bounds)
    headers = "\n".join(_without_includes((HERE / name).read_text()) for name in HEADERS)
    kernels = "\n".join(host_source(bound, context, planes) for bound in bounds)
    tape = render("host/tape.c.j2", launches=launches, names=[bound.name for bound in bounds])
    system = "#define _GNU_SOURCE\n#include <stdatomic.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n"
    return f"{system}#define MAX_ROWS {max_rows}\n{headers}\n{kernels}\n{tape}"


def build_host_library(
    bounds: Iterable[Bound],
    launches: Sequence[tuple[str, Sequence[int]]],
    max_rows: int,
    context: int,
    cpu: str = "native",
    planes: int = PLANES,
) -> Path:
    """The cached shared library. cpu: "native", or a name that clang knows (x86_64_v3)."""
    source = library_source(bounds, launches, max_rows, context, planes)
    return _library(source, (f"-mcpu={cpu}",), f"cpu {cpu!r}")


def build_library(source: str, target: str) -> bytes:
    """C source to a shared library for any machine of a zig target, e.g. "x86_64-linux-gnu.2.17"."""
    return _library(source, ("-target", target), target).read_bytes()


def _library(source: str, options: tuple[str, ...], what: str) -> Path:
    native = machine() if "-mcpu=native" in options else ""
    key = key_of(source, " ".join((*FLAGS, *options)), native, version("ziglang"))
    return cached(key, ".so", lambda: _compile(source, options, what))


def _without_includes(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith('#include "'))


def machine() -> str:
    """What `native` means here: a library built on one machine must not run on a lesser one that shares the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    kinds = ("model name", "flags", "Features", "CPU part")
    return platform.machine() + "\n".join(sorted({line for line in lines if line.startswith(kinds)}))


def _compile(source: str, options: tuple[str, ...], what: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="hfc-host-") as folder:
        path, out = Path(folder, "host.c"), Path(folder, "host.so")
        path.write_text(source)
        command = [sys.executable, "-m", "ziglang", "cc", *options, *FLAGS, "-o", str(out), str(path), "-lpthread"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            kept = Path(tempfile.gettempdir(), "hfc-host-failed.c")
            kept.write_text(source)
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:400])
            raise HfcError(f"the C compiler failed for {what}: {first}", hint=f"the source is in {kept}")
        return out.read_bytes()
