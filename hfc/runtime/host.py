"""The host device: memory of this process, kernels and launch tape in one shared library, one C call a step."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.base.system import thread_count
from hfc.formats.checkpoint import Checkpoint
from hfc.plan import Bundle, Plan, pointer_table
from hfc.pointer import RANKS, Pointer
from hfc.program import Program
from hfc.runtime.host_code import open_code
from hfc.runtime.limits import check_draft_step, check_step, tap_buffer
from hfc.runtime.memory import address, allocate
from hfc.runtime.pack import TilePacker
from hfc.runtime.ranks.meeting import Meeting
from hfc.runtime.weights import Progress, load_const, load_weights
from hfc.step import Step, step_words

# Rows of an embedding after which the file's pages are given back: with a row the system maps what lies around it, 64 KB to 2 MB,
# so that an answer of a hundred tokens would have most of a file of 0.5 GB resident.
ROWS_RESIDENT = 16


class HostModel:
    """A plan for the host with its weights loaded and its threads waiting."""

    def __init__(
        self,
        bundle: Bundle,
        plan: Plan,
        checkpoint: Checkpoint,
        threads: int | None = None,
        progress: Progress | None = None,
    ):
        self.plan = plan
        self.vocab, self.context, self.slots = plan.vocab, plan.context, plan.slots
        self.max_rows, self.max_outputs = plan.max_rows, plan.max_outputs
        self.threads = threads or thread_count()
        self._library, self._ranges = open_library(bundle, plan), launch_ranges(plan)
        self._memory = self._allocate(checkpoint, progress)
        self._mapped, self._rows_read = list(checkpoint.files), 0
        self._step = np.zeros(step_words(plan.max_rows), np.int32)
        self._tape = None
        if plan.rank is None:
            self._start()

    def connect(self, meeting: Meeting, ranks: Sequence[HostModel]) -> None:
        """The other ranks of a model, whose values are read where they lie."""
        assert self.plan.rank, "the plan is a whole model's"
        self._memory[RANKS] = meeting.memory_of(self.plan.rank.number)
        for pointer in pointer_table(self.plan):
            if pointer.kind == "peer":
                self._memory[pointer] = ranks[int(pointer.plane)]._memory[Pointer.buffer(pointer.name)]
        self._start()

    def _start(self) -> None:
        table = pointer_table(self.plan)
        addresses = (ctypes.c_void_p * len(table))(*(self._address(p) for p in table))
        self._tape = self._library.hfc_create(self.threads, addresses, len(table))
        if not self._tape:
            raise HfcError("the host device could not start: out of memory")

    def forward(self, step: Step) -> np.ndarray:
        """Run one step; returns a copy of the logits, f32 [R, vocab]."""
        check_step(step, self.plan)
        left_out = self.plan.draft.observing.get(Program.STEP, 0) if self.plan.draft and not step.observed else 0
        self._run(Program.STEP, step, left_out)
        return self._rows(self.plan.logits, len(step.output_rows)).copy()

    def advance(self, step: Step) -> None:
        """Run a step whose logits another rank gives out."""
        check_step(step, self.plan)
        self._run(Program.STEP, step)

    def receive(self, values: Mapping[str, np.ndarray]) -> None:
        """What the next step of a stage finds in its buffers, f32 [T, width] by name."""
        for name, rows in values.items():
            self._memory[Pointer.buffer(name)][: rows.nbytes] = rows.reshape(-1).view(np.uint8)

    def hand_on(self, step: Step) -> dict[str, np.ndarray]:
        """Run one step of a stage that is not the last; copies of what it leaves for the stages after it, f32 [T, width] by name."""
        check_step(step, self.plan)
        self._run(Program.STEP, step)
        return {name: self._rows(name, len(step.tokens)).copy() for name in self.plan.stage.sent}

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Guesses for the rows of a step that is to verify them: i32 [T] tokens and f32 [T, vocab] logits, see DraftPlan."""
        draft = check_draft_step(step, self.plan)
        self._run(Program.DRAFT_STEP, step)
        rows = len(step.tokens)
        return self._rows(draft.tokens, rows).view(np.int32).reshape(rows).copy(), self._rows(draft.logits, rows).copy()

    def _run(self, program: Program, step: Step, left_out: int = 0) -> None:
        """The launches of one program but the last `left_out`: the tape holds those of all, one after the other."""
        assert self._tape, "the model is closed"
        step.encode(self.max_rows, self._step)
        if len(self.plan.programs) > 1:
            first, end = self._ranges[program]
            self._library.hfc_range(self._tape, first, end - left_out)
        self._library.hfc_step(self._tape, self._step.ctypes.data)
        self._rows_read += len(step.tokens)
        if self._rows_read > ROWS_RESIDENT:
            for file in self._mapped:
                file.release()
            self._rows_read = 0

    def _rows(self, buffer: str, rows: int) -> np.ndarray:
        """The first rows of a buffer, f32 [rows, width]."""
        width = self.plan.buffer(buffer).row_bytes
        return self._memory[Pointer.buffer(buffer)][: rows * width].view(np.float32).reshape(rows, width // 4)

    def tap(self, name: str, first: int, count: int) -> np.ndarray:
        """A copy of rows [first, first + count) of a tap of the last step, f32 [count, width]."""
        buffer = tap_buffer(self.plan, name)
        rows = self._memory[buffer.pointer][first * buffer.row_bytes : (first + count) * buffer.row_bytes]
        return rows.view(np.float32).reshape(count, buffer.row_bytes // 4).copy()

    def state(self, name: str, plane: str = "") -> np.ndarray:
        """The bytes of a state plane, uint8 [slots, ...]."""
        return self._memory[Pointer.state(name, plane)].reshape(self.slots, -1)

    def close(self) -> None:
        """Stop the threads. The model cannot run afterwards."""
        if self._tape:
            self._library.hfc_destroy(self._tape)
            self._tape = None

    def __del__(self) -> None:
        if getattr(self, "_tape", None):
            self.close()

    def _allocate(self, checkpoint: Checkpoint, progress: Progress | None) -> dict[Pointer, np.ndarray]:
        plan, memory = self.plan, {}
        arena = allocate(plan.arena_bytes)
        for buffer in plan.buffers:
            memory[buffer.pointer] = arena[buffer.offset :]
        for state in plan.states:
            for pointer, nbytes in state.pointers.items():  # of many slots few become real, and of those some pieces
                memory[pointer] = allocate(nbytes * plan.slots, in_large_pages=plan.slots == 1)
        for const in plan.consts:
            memory[const.pointer] = load_const(const, checkpoint, plan.context)
        with TilePacker(self._library, self.threads) as pack:
            for name, raw in load_weights(plan, checkpoint, progress, pack).items():
                memory[Pointer.weight(name)] = raw
        return memory

    def _address(self, pointer: Pointer) -> int:
        return address(self._memory[pointer])


def launch_ranges(plan: Plan) -> dict[Program, tuple[int, int]]:
    """Program -> its first launch on the host's tape, and the one after its last."""
    found, first = {}, 0
    for name, launches in plan.programs.items():
        found[name] = first, first + len(launches)
        first += len(launches)
    return found


def open_library(bundle: Bundle, plan: Plan) -> ctypes.CDLL:
    """The plan's kernels and tape, see open_code."""
    library = open_code(bundle, plan)
    library.hfc_create.restype = ctypes.c_void_p
    library.hfc_create.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    library.hfc_step.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.hfc_destroy.argtypes = [ctypes.c_void_p]
    if len(plan.programs) > 1:
        library.hfc_range.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    return library
