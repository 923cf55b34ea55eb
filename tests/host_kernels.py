"""Runs one hand-made bound region on the host: builds the library, makes a step, calls it."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from hfc.backend.host.build import build_host_library
from hfc.backend.spec import Arg, Bound
from hfc.ir.graph import TensorType, Value
from hfc.step import Segment, Step

MAX_ROWS = 24
CONTEXT = 5000


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


class Kernel:
    """One region as a library of its own. Calling it runs one step on `arrays`, named as the region's arguments."""

    def __init__(
        self, bound: Bound, cpu: str = "native", context: int = CONTEXT, max_rows: int = MAX_ROWS, planes: int = 2
    ):
        self.bound, self.max_rows = bound, max_rows
        launches = [(bound.name, list(range(len(bound.args))))]
        self.library = open_library(build_host_library([bound], launches, max_rows, context, cpu, planes))

    def __call__(self, arrays: dict[str, np.ndarray], segments: tuple[Segment, ...], threads: int = 2, **step) -> None:
        words = step_words(segments, max_rows=self.max_rows, **step)
        ordered = [arrays[a.name] for a in self.bound.args]
        assert all(a.flags.c_contiguous for a in ordered)
        table = (ctypes.c_void_p * len(ordered))(*(a.ctypes.data for a in ordered))
        tape = self.library.hfc_create(threads, table, len(ordered))
        assert tape
        try:
            assert self.library.hfc_step(tape, words.ctypes.data) == threads
        finally:
            self.library.hfc_destroy(tape)
