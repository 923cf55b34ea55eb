"""Experts in host memory: the plan that computes them between two launches of a card, by all threads of the CPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.base.system import thread_count
from hfc.plan import Bundle, HostedPart, Plan, WeightRef, pointer_table
from hfc.pointer import Pointer
from hfc.runtime.host import open_library
from hfc.runtime.memory import address, allocate
from hfc.runtime.pack import TilePacker
from hfc.runtime.upload import WeightSource
from hfc.runtime.weights import RELEASE_EVERY, Progress, TileArena
from hfc.step import Step

HOST_POINTERS = 8  # of a part: HOST_POINTERS of gpu_tape_types.h


class _PartTable(ctypes.Structure):
    _fields_ = [
        ("first", ctypes.c_int),
        ("end", ctypes.c_int),
        ("pointers", ctypes.c_int),
        ("places", ctypes.c_void_p * HOST_POINTERS),
        ("row_bytes", ctypes.c_uint64 * HOST_POINTERS),
    ]


class _HostTable(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("tape", "range", "run", "parts")]


class HostedExperts:
    """A plan of parts (Plan.parts) with its weights in host memory and its threads waiting.

    pin: gives memory that a card copies to and from without a detour."""

    def __init__(
        self, bundle: Bundle, plan: Plan, source: WeightSource, threads: int | None = None, progress: Progress | None = None,
        pin: Callable[[int], np.ndarray] = allocate,
    ):  # fmt: skip
        self.plan, self.threads = plan, threads or thread_count()
        self._library = open_library(bundle, plan)
        self._library.hfc_range.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
        arena = pin(plan.arena_bytes)
        self._memory = {buffer.pointer: arena[buffer.offset :] for buffer in plan.buffers}
        self._memory |= {const.pointer: source.const(const).reshape(-1).view(np.uint8) for const in plan.consts}
        self._load(source, progress)
        table = pointer_table(plan)
        addresses = (ctypes.c_void_p * len(table))(*(address(self._memory[p]) for p in table))
        self._tape = self._library.hfc_create(self.threads, addresses, len(table))
        if not self._tape:
            raise HfcError("the experts on the host could not start: out of memory")
        self._parts = (_PartTable * len(plan.parts))(*map(self._table, plan.parts))

    def compute(self, number: int, step: Step, read: Sequence[np.ndarray]) -> np.ndarray:
        """One part: what it makes of rows of u8, as a step's launch hands them over; for devices that have no tape."""
        part = self.plan.parts[number]
        for name, rows in zip(part.reads, read, strict=True):
            self._memory[Pointer.buffer(name)][: rows.nbytes] = rows.reshape(-1).view(np.uint8)
        words = step.encode(self.plan.max_rows)
        self._library.hfc_range(self._tape, part.first, part.end)
        self._library.hfc_step(self._tape, words.ctypes.data)
        made = self.plan.buffer(part.writes)
        return self._memory[made.pointer][: made.row_bytes * len(step.tokens)].copy()

    def entry_points(self) -> _HostTable:
        """What a card's launch tape needs to run a part: hfc_gpu_host of gpu_tape.h."""
        functions = (self._library.hfc_range, self._library.hfc_step)
        at = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
        return _HostTable(self._tape, *at, ctypes.addressof(self._parts))

    def close(self) -> None:
        """Stop the threads, once."""
        tape, self._tape = self._tape, None
        if tape:
            self._library.hfc_destroy(tape)

    def _load(self, source: WeightSource, progress: Progress | None) -> None:
        tiles, read = TileArena(self.plan), 0
        with TilePacker(self._library, self.threads) as pack:
            for done, ref in enumerate(self.plan.weights):
                self._memory[ref.pointer] = self._placed(ref, source, tiles, pack)
                read += self._memory[ref.pointer].nbytes
                if read > RELEASE_EVERY:
                    source.release()
                    read = 0
                if progress:
                    progress(done + 1, len(self.plan.weights))
        source.release()

    def _placed(self, ref: WeightRef, source: WeightSource, tiles: TileArena, pack: TilePacker) -> np.ndarray:
        raw = source.weight(replace(ref, layout="rows"))
        return raw if ref.layout == "rows" else pack(ref.format, raw, ref.shape, tiles.take(ref.name))

    def _table(self, part: HostedPart) -> _PartTable:
        buffers = [self.plan.buffer(name) for name in (*part.reads, part.writes)]
        places = (ctypes.c_void_p * HOST_POINTERS)(*(address(self._memory[b.pointer]) for b in buffers))
        sizes = (ctypes.c_uint64 * HOST_POINTERS)(*(b.row_bytes for b in buffers))
        return _PartTable(part.first, part.end, len(buffers), places, sizes)
