"""C source to a cached shared library, with the C compiler of the ziglang package."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from hfc.base.cache import cached, key_of
from hfc.base.diagnostics import HfcError


def build_library(source: str, target: str, flags: Sequence[str] = ("-O2", "-w")) -> bytes:
    """The library for a zig target triple such as "x86_64-linux-gnu.2.17"; any machine can build for any."""
    arguments = ["-target", target, *flags]
    key = key_of(source, " ".join(arguments), version("ziglang"))
    return cached(key, ".so", lambda: compile_c(source, arguments)).read_bytes()


def compile_c(source: str, arguments: Sequence[str]) -> bytes:
    """Run the compiler. On an error the source stays on disk and the HfcError names it."""
    with tempfile.TemporaryDirectory(prefix="hfc-c-") as folder:
        path, out = Path(folder, "library.c"), Path(folder, "library.so")
        path.write_text(source)
        command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-fno-sanitize=all", *arguments, "-o", str(out), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "ZIG_PROGRESS": "0"})
        if done.returncode:
            kept = Path(tempfile.gettempdir(), "hfc-failed.c")
            kept.write_text(source)
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:400])
            raise HfcError(f"C code of ours does not compile: {first}", hint=f"the source is in {kept}")
        return out.read_bytes()
