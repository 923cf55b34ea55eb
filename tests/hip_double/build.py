"""The table of calls -> a shared library that any program can load as libamdhip64.so."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from hfc.base.cache import cached, key_of
from hfc.base.zig import zig_program
from hip_double.signatures import SIGNATURES

TESTS = Path(__file__).resolve().parents[1]
C_TYPES = {
    ctypes.c_void_p: "void*",
    ctypes.c_size_t: "size_t",
    ctypes.c_int: "int",
    ctypes.c_uint: "unsigned",
}
# The calls are answered by the Python that loaded the library: its symbols are there, no header is needed.
HEAD = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

static int started;
static int start(void) {
  int (*take)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
  int (*run)(const char*) = (int (*)(const char*))dlsym(RTLD_DEFAULT, "PyRun_SimpleString");
  void (*give)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "PyGILState_Release");
  if (!take || !run || !give) return 3;  // hipErrorNotInitialized: no Python in this process
  const int state = take();
  if (!started) started = run("import sys\\nsys.path.insert(0, FOLDER)\\nimport hip_double.register\\nsys.path.remove(FOLDER)") ? -1 : 1;
  give(state);
  return started > 0 ? 0 : 3;
}
"""


def source() -> str:
    parts = [HEAD.replace("FOLDER", repr(str(TESTS)))]
    for name, types in SIGNATURES.items():
        parameters = ", ".join(f"{C_TYPES[t]} a{i}" for i, t in enumerate(types)) or "void"
        arguments = ", ".join(f"a{i}" for i in range(len(types)))
        result = "const char*" if name.startswith("hipGetError") else "int"
        failed = "0" if result != "int" else "error"
        parts.append(
            f"{result} (*double_{name})({parameters});\n"
            f"{result} {name}({parameters}) {{\n"
            f"  const int error = started > 0 ? 0 : start();\n"
            f"  return error ? {failed} : double_{name}({arguments});\n}}\n"
        )
    return "\n".join(parts)


def library_folder(folder: Path, name: str = "libamdhip64.so") -> Path:
    """`folder` with the library in it, for LD_LIBRARY_PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(cached(key_of("hip double 2", source()), ".so", _compile), folder / name)
    return folder


def environment(folder: Path, devices: str = "gfx1100:4G", faults: str = "") -> dict[str, str]:
    """The variables of a process whose GPUs are in software."""
    path = os.pathsep.join([str(library_folder(folder)), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
    return {**os.environ, "LD_LIBRARY_PATH": path, "HIP_DOUBLE_DEVICES": devices, "HIP_DOUBLE_FAULTS": faults}


def _compile() -> bytes:
    with tempfile.TemporaryDirectory(prefix="hfc-") as folder:
        text, library = Path(folder) / "hip.c", Path(folder) / "hip.so"
        text.write_text(source())
        command = [
            zig_program(),
            "cc",
            "-O1",
            "-shared",
            "-fPIC",
            "-Wl,-soname,libamdhip64.so",
            "-nostdlib",  # Python brings the C library
            "-o",
            str(library),
            str(text),
        ]
        subprocess.run(command, check=True)
        return library.read_bytes()
