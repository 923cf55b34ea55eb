"""Runs one hand-made bound region on the host: builds the library, makes a step, calls it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path

import numpy as np

from hfc.backend.host.build import build_host_library, library_source
from hfc.backend.spec import Arg, Bound
from hfc.base.zig import compile_c, is_for
from hfc.ir.graph import TensorType, Value
from hfc.step import Segment, Step
from hfc.target.cpus import CPUS

MAX_ROWS = 24
CONTEXT = 5000
QEMU = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")  # Debian: qemu-user
ARM_ROOT = Path("/usr/aarch64-linux-gnu")  # the C library of arm64. Debian: libc6-arm64-cross
WINE = shutil.which("wine")  # Debian: wine, wine64
# Runs one step of a library of another machine: LIBRARY THREADS STEP ARRAY..., each array a file that is read and written.
RUNNER = r"""
#ifdef _WIN32
#include <windows.h>
#include <malloc.h>
#define dlopen(name, flags) LoadLibraryA(name)
#define dlsym(library, name) (void*)GetProcAddress(library, name)
#define dlerror() "LoadLibrary failed"
#define aligned_alloc(alignment, bytes) _aligned_malloc(bytes, alignment)
#else
#include <dlfcn.h>
#endif
#include <stdio.h>
#include <stdlib.h>
static void* read_file(const char* path, size_t* size) {
  FILE* f = fopen(path, "rb");
  fseek(f, 0, SEEK_END);
  *size = ftell(f);
  rewind(f);
  void* p = aligned_alloc(64, (*size + 127) / 64 * 64);
  if (fread(p, 1, *size, f) != *size) exit(3);
  fclose(f);
  return p;
}
int main(int n, char** words) {
  void* library = dlopen(words[1], RTLD_NOW);
  if (!library) return fputs(dlerror(), stderr), 4;
  void* (*create)(int, void* const*, int) = dlsym(library, "hfc_create");
  int (*step)(void*, const void*) = dlsym(library, "hfc_step");
  const int threads = atoi(words[2]);
  void* arrays[64];
  size_t sizes[64], size;
  const void* step_words = read_file(words[3], &size);
  for (int i = 4; i < n; i++) arrays[i - 4] = read_file(words[i], &sizes[i - 4]);
  void* tape = create(threads, arrays, n - 4);
  if (!tape || step(tape, step_words) != threads) return 5;
  for (int i = 4; i < n; i++) {
    FILE* f = fopen(words[i], "wb");
    fwrite(arrays[i - 4], 1, sizes[i - 4], f);
    fclose(f);
  }
  fflush(0);
  _Exit(0);
}
"""


def pointer(
    name: str, kind: str = "buffer", ctype: str = "float", written: bool = False, shape=(), dtype: str = "f32"
) -> Arg:
    return Arg(name, kind, ctype, Value(name, TensorType(dtype, shape)), "", written)


@cache
def open_library(path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.hfc_create.restype = ctypes.c_void_p
    library.hfc_create.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    library.hfc_step.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.hfc_destroy.argtypes = [ctypes.c_void_p]
    return library


def segments_of(*lengths_and_positions: tuple[int, int], slots: tuple[int, ...] | None = None) -> tuple[Segment, ...]:
    """(rows, position) of each segment, one after the other; slot i unless `slots` says otherwise."""
    found, row = [], 0
    for i, (rows, position) in enumerate(lengths_and_positions):
        found.append(Segment(slots[i] if slots else i, row, rows, position))
        row += rows
    return tuple(found)


def step_words(segments: tuple[Segment, ...], tokens=None, output_rows=None, max_rows: int = MAX_ROWS) -> np.ndarray:
    rows = sum(s.rows for s in segments)
    tokens = np.zeros(rows, np.int32) if tokens is None else np.asarray(tokens, np.int32)
    output_rows = np.arange(rows, dtype=np.int32) if output_rows is None else np.asarray(output_rows, np.int32)
    step = Step(tokens, segments, output_rows)
    words = np.full(4 + 10 * max_rows, -1, np.int32)
    words[:4] = rows, len(segments), len(output_rows), 0
    words[4 : 4 + rows] = tokens
    words[4 + max_rows :][:rows] = step.positions
    words[4 + 2 * max_rows :][:rows] = np.repeat([s.slot for s in segments], [s.rows for s in segments])
    words[4 + 3 * max_rows :][: len(output_rows)] = output_rows
    encoded = [(s.slot, s.row, s.rows, s.position, s.replay, s.commit) for s in segments]
    words[4 + 4 * max_rows :][: 6 * len(segments)] = np.array(encoded).ravel()
    return words


class Machine:
    """What a test's kernels are compiled for and run on where it says nothing: this machine, an arm64 one under qemu, or Windows under wine."""

    cpu = "native"
    folder: Path  # of a foreign machine's program and files
    command: list = []  # what starts a foreign machine's program

    @classmethod
    def runner(cls) -> Path:
        path = cls.folder / "runner"
        if not path.exists():
            source = cls.folder / "runner.c"
            source.write_text(RUNNER)
            flags = ("-target", CPUS[cls.cpu].target, "-O1", "-w")
            assert not compile_c(source, path, flags, () if is_for("windows", flags) else ("-ldl",))
        return path


def run_elsewhere(library: Path, words: np.ndarray, arrays: list[np.ndarray], threads: int) -> None:
    """A step of a library by a process of the machine that it is for. What it writes is in the arrays afterwards."""
    files = [Machine.folder / f"array{i}" for i in range(len(arrays))]
    for file, array in zip(files, arrays):
        array.tofile(file)
    words.tofile(Machine.folder / "step")
    command = [*Machine.command, Machine.runner(), library, threads, Machine.folder / "step", *files]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr)
    for file, array in zip(files, arrays):
        array[...] = np.fromfile(file, array.dtype).reshape(array.shape)


def source_of(bound: Bound) -> str:
    return library_source([bound], [(bound.name, list(range(len(bound.args))))], MAX_ROWS, CONTEXT)


class Kernel:
    """One region as a library of its own. Calling it runs one step on `arrays`, named as the region's arguments."""

    def __init__(
        self, bound: Bound, cpu: str = "native", context: int = CONTEXT, max_rows: int = MAX_ROWS, planes: int = 2
    ):
        self.bound, self.max_rows = bound, max_rows
        launches = [(bound.name, list(range(len(bound.args))))]
        cpu = Machine.cpu if cpu == "native" else cpu
        self.path = build_host_library([bound], launches, max_rows, context, cpu, planes)
        self.is_foreign = bool(Machine.command)

    def __call__(self, arrays: dict[str, np.ndarray], segments: tuple[Segment, ...], threads: int = 2, **step) -> None:
        words = step_words(segments, max_rows=self.max_rows, **step)
        ordered = [arrays[a.name] for a in self.bound.args]
        assert all(a.flags.c_contiguous for a in ordered)
        if self.is_foreign:
            run_elsewhere(self.path, words, ordered, threads)
            return
        table = (ctypes.c_void_p * len(ordered))(*(a.ctypes.data for a in ordered))
        library = open_library(self.path)
        tape = library.hfc_create(threads, table, len(ordered))
        assert tape
        try:
            assert library.hfc_step(tape, words.ctypes.data) == threads
        finally:
            library.hfc_destroy(tape)
