"""The ISA emulator as a device: a GPU plan's machine code, launch by launch, with every check that a card lacks.

Each buffer is memory of its own that ends with the step's last row, weights and tables are read-only, and what no
kernel has written is NaN: a read or write beside its rows is a named fault, or shows in the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from hfc.base.diagnostics import HfcError
from hfc.bundles.contract import pointer_sizes
from hfc.isa.arena import Arena, Region
from hfc.isa.launch import LaunchOptions, launch_kernel
from hfc.isa.result import Result
from hfc.plan import Bundle, Launch, Plan
from hfc.pointer import STEP, Pointer
from hfc.program import Program
from hfc.runtime.hosted import HostedExperts
from hfc.runtime.launcher import grid_size
from hfc.runtime.limits import check_draft_step, tap_buffer
from hfc.runtime.ranks.meeting import Meeting
from hfc.runtime.upload import WeightSource
from hfc.step import Step, step_words

NAN_BYTE = 0xFF  # f16, bf16, f32 and f64 of all ones are NaN
DEFAULT = LaunchOptions()


class EmulatedModel:
    """A plan for one AMD arch. options: the schedule and checks of every launch (see isa.launch.Options).

    watch: called after each launch with it and its Result, e.g. to add up traffic.  threads: of the CPU, where it has the experts.
    """

    def __init__(
        self,
        bundle: Bundle,
        arch: str,
        weights: WeightSource,
        options: LaunchOptions = DEFAULT,
        watch: Callable[[Launch, Result], None] | None = None,
        threads: int = 1,
    ):
        if arch not in bundle.plans:
            raise HfcError(
                f"the bundle has no plan for {arch}, only for {', '.join(bundle.plans)}",
                hint=f"compile it with --arch {arch}",
            )
        self.plan: Plan = bundle.plans[arch]
        self.options, self.watch = options, watch
        self.vocab, self.context, self.slots = self.plan.vocab, self.plan.context, self.plan.slots
        self.max_rows, self.max_outputs = self.plan.max_rows, self.plan.max_outputs
        self._code = {k.symbol: bundle.files[k.file] for k in self.plan.kernels if k.file}
        self._received: dict[str, np.ndarray] = {}
        self._turn: AbstractContextManager[object] = nullcontext()
        beside = bundle.experts_of(self.plan)
        self._experts = HostedExperts(bundle, beside, weights, threads) if beside else None
        self._regions = self._allocate(weights)
        self._rows = {b.pointer: (b.row_bytes, b.rows) for b in self.plan.buffers}
        self._rows |= {
            p: self._rows[Pointer.buffer(p.name)] for p in self._regions if isinstance(p, Pointer) and p.kind == "peer"
        }

    def connect(self, meeting: Meeting, ranks: Sequence[EmulatedModel]) -> None:
        """The other ranks of a model, each in a thread of its own: what they exchange is copied where they meet."""
        self._meeting, self._others, self._turn = meeting, ranks, meeting.turn

    def advance(self, step: Step) -> None:
        """Run a step whose logits another rank gives out."""
        self._run_program(Program(step.rows_class), step)

    def forward(self, step: Step) -> np.ndarray:
        """Run one step; returns a copy of the logits, f32 [R, vocab]. Raises KernelFault at the first wrong access."""
        wanted = len(step.output_rows)
        if wanted > self.max_outputs:
            raise HfcError(f"{wanted} rows of logits asked for, the plan holds {self.max_outputs}")
        regions = self._run_program(Program(step.rows_class), step)
        logits = regions[Pointer.buffer(self.plan.logits)].view.view(np.float32)
        return logits.reshape(wanted, self.vocab).copy()

    def receive(self, values: Mapping[str, np.ndarray]) -> None:
        """What the next step of a stage finds in its buffers, f32 [T, width] by name."""
        self._received = dict(values)

    def hand_on(self, step: Step) -> dict[str, np.ndarray]:
        """Run one step of a stage that is not the last; copies of what it leaves for the stages after it, f32 [T, width] by name."""
        regions = self._run_program(Program(step.rows_class), step)
        sent = {name: regions[Pointer.buffer(name)].view.view(np.float32) for name in self.plan.stage.sent}
        return {name: rows.reshape(len(step.tokens), -1).copy() for name, rows in sent.items()}

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Guesses for the rows of a step that is to verify them: i32 [T] tokens and f32 [T, vocab] logits, see DraftPlan."""
        draft = check_draft_step(step, self.plan)
        regions = self._run_program(Program(step.rows_class).of_draft, step)
        tokens, logits = (regions[Pointer.buffer(name)].view for name in (draft.tokens, draft.logits))
        return tokens.view(np.int32).copy(), logits.view(np.float32).reshape(-1, self.vocab).copy()

    def _run_program(self, program: Program, step: Step) -> dict[Pointer, Region]:
        """Run the launches of a program for a step; the regions of memory that they ran on."""
        step.encode(self.max_rows, self._regions[STEP].view.view(np.int32))
        rows = len(step.tokens)
        regions = self._step_regions({"T": rows, "R": len(step.output_rows), "G": len(step.segments)})
        for call in self.plan.programs[program]:
            self._launch(call, step, regions)
        return regions

    def tap(self, name: str, first: int, count: int) -> np.ndarray:
        """A copy of rows [first, first + count) of a tap of the last step, f32 [count, width]."""
        buffer = tap_buffer(self.plan, name)
        rows = self._regions[buffer.pointer].view.view(np.float32).reshape(-1, buffer.row_bytes // 4)
        return rows[first : first + count].copy()

    def state(self, name: str, plane: str = "") -> np.ndarray:
        """The bytes of a state plane, uint8 [slots, ...]."""
        return self._regions[Pointer.state(name, plane)].view.reshape(self.slots, -1)

    def close(self) -> None:
        """Nothing of the emulator's to release; of the host's experts the threads."""
        if self._experts:
            self._experts.close()

    def _allocate(self, weights: WeightSource) -> dict[Pointer, Region]:
        plan = self.plan
        fixed = {ref.pointer: weights.weight(ref) for ref in plan.weights}
        fixed |= {ref.pointer: weights.const(ref) for ref in plan.consts}
        rows = {"T": self.max_rows, "R": self.max_outputs}
        changing = {b.pointer: b.row_bytes * rows[b.rows] for b in plan.buffers}
        changing |= {p: n for p, n in pointer_sizes(plan).items() if p.kind == "peer"}
        changing |= {pointer: n * plan.slots for s in plan.states for pointer, n in s.pointers.items()}
        wanted = [(name, raw.nbytes, False) for name, raw in fixed.items()] + [
            (name, n, True) for name, n in changing.items()
        ]
        arena = Arena([*wanted, (STEP, 4 * step_words(self.max_rows), False)])
        regions = {region.name: region for region in arena.regions}
        for name, raw in fixed.items():
            regions[name].view[:] = np.ascontiguousarray(raw).reshape(-1).view(np.uint8)
        for name in changing:
            regions[name].view[:] = NAN_BYTE  # states too: a sequence's first step must not read what its slot held
        return regions

    def _step_regions(self, counts: dict[str, int]) -> dict[Pointer, Region]:
        """Buffers cut to this step's rows and poisoned again: nothing may live from step to step but states."""
        regions = dict(self._regions)
        for name, (row_bytes, rows) in self._rows.items():
            regions[name] = regions[name].part(0, row_bytes * counts[rows])
            regions[name].view[:] = NAN_BYTE
        for name, rows in self._received.items():
            regions[Pointer.buffer(name)].view[:] = rows.reshape(-1).view(np.uint8)
        return regions

    def _launch(self, call: Launch, step: Step, regions: dict[Pointer, Region]) -> None:
        if call.hosted is not None:
            assert self._experts, "a plan that leaves experts has one that computes them beside it"
            *read, made = (regions[pointer].view for pointer in call.pointers)
            made[:] = self._experts.compute(call.hosted, step, read)
            return
        if call.exchange:
            self._exchange(call, regions)
            return
        with self._turn:  # equal kernels of several ranks are one machine
            result = _run(self._code[call.kernel], call, step, regions, self.options)
        if self.watch and result:
            self.watch(call, result)

    def _exchange(self, call: Launch, regions: dict[Pointer, Region]) -> None:
        """Nobody goes on and writes before all have copied."""
        own, *peers = call.pointers
        self.given = regions[own].view
        self._meeting.wait()
        for peer in peers:
            regions[peer].view[:] = self._others[int(peer.plane)].given
        self._meeting.wait()


class EmulatedLauncher:
    """Single launches of a GPU plan (runtime.launcher.Launcher), each pointer a region that ends with the step's last row."""

    def __init__(self, bundle: Bundle, plan: Plan, options: LaunchOptions = DEFAULT):
        self._plan, self.options = plan, options
        self._code = {k.symbol: bundle.files[k.file] for k in plan.kernels if k.file}
        self._rows = {b.pointer: (b.row_bytes, b.rows) for b in plan.buffers}

    def run(self, program: Program, number: int, memory: dict[Pointer, np.ndarray], step: Step) -> None:
        launch, words = self._plan.programs[program][number], step.encode(self._plan.max_rows)
        counts = {"T": len(step.tokens), "R": len(step.output_rows)}
        used = {pointer: data.nbytes for pointer, data in memory.items()}
        used |= {p: counts[rows] * n for p, (n, rows) in self._rows.items() if p in memory}
        wanted = {STEP: (words.nbytes, STEP in launch.pointers)} | {p: (n, not p.is_read_only) for p, n in used.items()}
        arena = Arena([(pointer, *facts) for pointer, facts in wanted.items()])
        regions = {region.name: region for region in arena.regions}
        regions[STEP].view[:] = words.view(np.uint8)
        for pointer, data in memory.items():
            regions[pointer].view[:] = data.reshape(-1)[: used[pointer]]
        _run(self._code[launch.kernel], launch, step, regions, self.options)
        for pointer, data in memory.items():
            if not pointer.is_read_only:
                data.reshape(-1)[: used[pointer]] = regions[pointer].view


def _run(
    code: bytes, call: Launch, step: Step, regions: dict[Pointer, Region], options: LaunchOptions
) -> Result | None:
    """One launch; None where its grid is empty."""
    grid = tuple(grid_size(expression, step) for expression in call.grid)
    if not math.prod(grid):
        return None
    arguments = [regions[STEP], *(regions[pointer] for pointer in call.pointers)]
    return launch_kernel(code, call.kernel, grid, call.block, arguments, call.lds_bytes, options, call.kernel)
