"""A plan on a GPU: device memory, upload, and one tape call a step. Knows no vendor."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from hfc.base.diagnostics import DeviceLost, HfcError
from hfc.plan import Bundle, Plan, pointer_table
from hfc.pointer import PARAMETERS, STEP, TOKENS, Pointer
from hfc.program import Program
from hfc.runtime.ahead import LANES, Lane, Lanes, Queued
from hfc.runtime.driver import LEGACY_STREAM, Driver
from hfc.runtime.fit import check_fit
from hfc.runtime.gpu_tape import CAPTURE, DriverTable, open_tape
from hfc.runtime.hosted import HostedExperts
from hfc.runtime.limits import check_draft_step, check_step, tap_buffer
from hfc.runtime.not_finite import first_not_finite
from hfc.runtime.peer import DeviceRows, Outbox
from hfc.runtime.ranks.card import RANK_FAILED, CardRank
from hfc.runtime.ranks.cards import Follower
from hfc.runtime.ranks.meeting import Meeting
from hfc.runtime.rocblas import open_rocblas
from hfc.runtime.sampler import Sampler
from hfc.runtime.upload import WeightSource, upload_weights
from hfc.runtime.weights import Progress
from hfc.sampling import encode_rows, sampling_words
from hfc.step import Step, step_words
from hfc.target.arch import find_arch

MOST_PROGRAMS = 4  # of one tape call: PROGRAMS of gpu_tape.c.j2
ALIGNMENT = 256


class GpuModel:
    """A plan for one arch with its weights in device memory. `stream` orders everything it does."""

    def __init__(
        self, bundle: Bundle, plan: Plan, driver: Driver, weights: WeightSource, progress: Progress | None = None,
        threads: int | None = None,
    ):  # fmt: skip
        """threads: of the CPU, where it computes the plan's experts."""
        self.plan, self.driver = plan, driver
        self.vocab, self.context, self.slots = plan.vocab, plan.context, plan.slots
        self.max_rows, self.max_outputs = plan.max_rows, plan.max_outputs
        check_fit(plan, driver.info.name, driver.free_memory())
        self.stream = driver.create_stream()
        self._blocks: list[int] = []
        self._pinned: list[np.ndarray] = []
        self._outbox: Outbox | None = None
        self._tape, self._lanes = None, Lanes([])
        self._experts: HostedExperts | None = None
        self._rocblas = open_rocblas(self.stream) if Program.PREFILL_ROCBLAS in plan.programs else None
        self._prefill = Program.PREFILL_ROCBLAS if self._rocblas else Program.PREFILL
        self._bundle = bundle
        self._numbers = {program: i for i, program in enumerate(plan.programs)}  # on the tape
        self._words = step_words(plan.max_rows)
        try:
            self._library = open_tape(bundle, plan)
            beside = bundle.experts_of(plan)
            if beside:
                self._experts = HostedExperts(bundle, beside, weights, threads, progress, self._pin)
            self._memory = self._allocate(weights, progress)
            self._input = self._pin(4 * self._input_words()).view(np.int32)
            self.input_address = self._input.ctypes.data
            received, sent = _travelling(plan)
            self._output = self._pin(max(4 * plan.vocab * plan.max_outputs if plan.logits else 0, max(sent, default=0)))
            self.output_address = self._output.ctypes.data
            self._inbox = self._pin(sum(map(_aligned, received))) if received else None
            self.runs_ahead = _runs_ahead(plan) and hasattr(self._library, "hfc_gpu_queue")
            self._lanes = Lanes([self._lane() for _ in range(LANES if self.runs_ahead else 0)])
            if plan.rank is None:
                self._tape = self._create_tape(bundle)
            else:
                follower = Follower(
                    left_to_first=self._numbers.get(Program.SAMPLE, -1), words=self._words,
                    step=self._input.ctypes.data, to=self._output.ctypes.data,
                )  # fmt: skip
                self.on_card = CardRank(plan, driver, self.stream, self._block, self._pin, follower)
        except BaseException:
            self.close()
            raise

    def connect(self, meeting: Meeting, ranks: Sequence[GpuModel]) -> None:
        """The other ranks of a model: their values are read in their cards' memory, or copied from the host's."""
        self._memory |= self.on_card.connect(meeting, ranks)
        self._tape = self._create_tape(self._bundle)
        self.on_card.give(self._library, self._tape)

    def advance(self, step: Step) -> None:
        """Run a step whose logits another rank gives out."""
        self.run(step, copy_logits=False)

    def forward(self, step: Step) -> np.ndarray:
        """Run one step; returns a copy of the logits, f32 [R, vocab]."""
        rows = self.run(step, copy_logits=True)
        return self._output.view(np.float32)[: rows * self.vocab].reshape(rows, self.vocab).copy()

    def next_tokens(self, step: Step, samplers: Sequence[Sampler]) -> list[int]:
        """Run one step and choose a token for each wanted row on the device; only the tokens come back."""
        rows = self._encode(step, samplers)
        self._launch(
            (self._main(step), Program.SAMPLE),
            self._used,
            self._memory[TOKENS],
            4 * rows,
            left_out=self._left_out(step),
        )
        return [sampler.accept(t) for sampler, t in zip(samplers, self._output.view(np.int32)[:rows].tolist())]

    def queue(self, step: Step, samplers: Sequence[Sampler], follows: bool = False) -> Queued:
        """Begin a step that chooses tokens. One that follows the step queued before it finds its own on the device, where that chooses
        them: those that it names do not count."""
        latest, lane = self._lanes.latest, self._lanes.free()
        assert not follows or (latest and step.follows(latest)), "the tokens are not there"
        rows = self._encode(step, samplers, lane.input)
        queued = lane.queued = Queued(step, lane)
        self._launch(
            (self._main(step), Program.SAMPLE), self._used, self._memory[TOKENS], 4 * rows, False, self._left_out(step), lane, follows
        )  # fmt: skip
        self.driver.record(lane.event, self.stream)
        self._lanes.latest = step
        return queued

    def settle(self) -> None:
        """Wait until nothing is queued any more."""
        self._lanes.settle()

    def cycle(self, step: Step, samplers: Sequence[Sampler]) -> tuple[list[int], list[int]]:
        """Draft, run the step with the guesses, choose a token for each wanted row: the step's tokens [T], the chosen ones.

        What comes back is one copy of max_outputs + T words."""
        check_draft_step(step, self.plan)
        rows = len(step.tokens)
        self._encode(step, samplers)
        programs = (self._drafting(step), Program.ADOPT, self._main(step), Program.SAMPLE)
        words = self.max_outputs + rows
        self._launch(programs, self._used, self._memory[TOKENS], 4 * words)
        found = self._output.view(np.int32)[:words].tolist()
        return found[self.max_outputs :], [sampler.accept(t) for sampler, t in zip(samplers, found)]

    def run(self, step: Step, copy_logits: bool = True, wait: bool = True) -> int:
        """Launch one step; returns the number of logit rows. Without `wait` the caller synchronizes `stream`."""
        rows = self._encode(step)
        nbytes = 4 * rows * self.vocab if copy_logits else 0
        self._launch(
            (self._main(step),),
            self._words,
            self._memory[Pointer.buffer(self.plan.logits)],
            nbytes,
            wait,
            self._left_out(step),
        )
        return rows

    def keep_sent(self, names: Sequence[str], count: int) -> None:
        """Leave these of a stage's values in this card's memory, up to `count` of each, for cards that reach it."""
        self.driver.make_current()
        sizes = {name: self.plan.buffer(name).row_bytes * self.max_rows for name in names}
        self._outbox = Outbox(self.driver, self._block, sizes, count)

    def receive(self, values: Mapping[str, np.ndarray | DeviceRows]) -> None:
        """What the next step of a stage finds in its buffers, f32 [T, width] by name: copied before it on its stream."""
        self.driver.make_current()
        at = 0
        for name, rows in values.items():
            if isinstance(rows, DeviceRows):
                rows.copy_to(self.driver, self._memory[Pointer.buffer(name)], self.stream)
                continue
            staged = self._inbox[at : at + rows.nbytes]
            staged[:] = rows.reshape(-1).view(np.uint8)
            if rows.nbytes:
                self.driver.copy_in_async(self._memory[Pointer.buffer(name)], staged, self.stream)
            at += _aligned(rows.nbytes)

    def hand_on(self, step: Step) -> dict[str, np.ndarray | DeviceRows]:
        """Run one step of a stage that is not the last; what it leaves for the stages after it, f32 [T, width] by name: copies, on this card
        or in host memory."""
        self._encode(step)
        rows = len(step.tokens)
        sent = {name: rows * self.plan.buffer(name).row_bytes for name in self.plan.stage.sent}
        # the host's way is one copy of the step's own tape call
        first = next((name for name in sent if not self._outbox or not self._outbox.has_room(name)), None)
        source = self._memory[Pointer.buffer(first or next(iter(sent)))]
        self._launch((self._main(step),), self._words, source, sent[first] if first else 0)
        found: dict[str, np.ndarray | DeviceRows] = {}
        for name, nbytes in sent.items():
            if name == first:
                found[name] = self._output[:nbytes].view(np.float32).reshape(rows, -1).copy()
                continue
            at = self._memory[Pointer.buffer(name)]
            kept = self._outbox.send(name, at, nbytes, self.stream) if self._outbox else None
            found[name] = self._read_rows(at, rows, nbytes) if kept is None else kept
        return found

    def _read_rows(self, address: int, rows: int, nbytes: int) -> np.ndarray:
        """f32 [rows, width] of a step that has ended."""
        data = np.empty((rows, nbytes // (4 * rows)), np.float32)
        self.driver.copy_out(data.view(np.uint8).reshape(-1), address)
        return data

    def draft(self, step: Step) -> tuple[np.ndarray, np.ndarray]:
        """Guesses for the rows of a step that is to verify them: i32 [T] tokens and f32 [T, vocab] logits, see DraftPlan."""
        draft, rows = check_draft_step(step, self.plan), len(step.tokens)
        self._encode(step)
        self._launch((self._drafting(step),), self._words, self._memory[Pointer.buffer(draft.tokens)], 4 * rows)
        logits = np.empty((rows, self.vocab), np.float32)
        self.driver.copy_out(logits.view(np.uint8).reshape(-1), self._memory[Pointer.buffer(draft.logits)])
        return self._output.view(np.int32)[:rows].copy(), logits

    def _encode(self, step: Step, samplers: Sequence[Sampler] | None = None, into: np.ndarray | None = None) -> int:
        """Write the step, and a row of parameters for each sampler; the number of wanted rows."""
        assert self._tape, "the model is closed"
        check_step(step, self.plan)
        into = self._input if into is None else into
        step.encode(self.max_rows, into[: self._words])
        rows = len(step.output_rows)
        if samplers is not None:
            assert len(samplers) == rows, f"{len(samplers)} samplers for {rows} rows"
            self._used = self._words + encode_rows(into[self._words :], samplers, self.max_outputs, self.vocab)
        return rows

    def _main(self, step: Step) -> Program:
        """The program of the step."""
        return Program.DECODE if step.rows_class == "decode" else self._prefill

    def _drafting(self, step: Step) -> Program:
        """The draft's program for the step."""
        return Program(step.rows_class).of_draft

    def _left_out(self, step: Step) -> int:
        """Launches that the step does without, see DraftPlan.observing."""
        return self.plan.draft.observing.get(self._main(step), 0) if self.plan.draft and not step.observed else 0

    def _launch(
        self, programs: Sequence[Program], words: int, source: int, nbytes: int, wait: bool = True, left_out: int = 0,
        lane: Lane | None = None, follows: bool = False,
    ) -> None:  # fmt: skip
        """One tape call: `words` of the input, the programs one after the other but the last `left_out` launches of the first,
        `nbytes` of `source` back. lane: of a step that is queued.  follows: its tokens are on the device."""
        self.driver.make_current()  # a driver's context is current in one thread, and any may call
        unused = [-1] * (MOST_PROGRAMS - len(programs))
        numbers = (ctypes.c_int * MOST_PROGRAMS)(*(self._numbers[program] for program in programs), *unused)
        failed = (ctypes.c_int * 2)()
        self._lanes.latest = None
        call, last = (self._library.hfc_gpu_queue, follows) if lane else (self._library.hfc_gpu_step, wait)
        error = call(
            self._tape,
            (lane or self).input_address,
            words,
            numbers,
            left_out,
            (lane or self).output_address,
            source,
            nbytes,
            int(last),
            failed,
        )
        if error:
            began = self.on_card.first_failed() if self.plan.rank else None
            card, error, failed = began or (self, error, failed)
            raise _lost(card.device, error, list(self._numbers)[failed[0]], failed[1])

    def _input_words(self) -> int:
        """The step buffer, after it the sampling parameters of every output row, then their masks: one copy brings all."""
        return self._words + sampling_words(self.max_outputs, self.vocab)

    def tap(self, name: str, first: int, count: int) -> np.ndarray:
        """Rows [first, first + count) of a tap of the last step, f32 [count, width]."""
        buffer = tap_buffer(self.plan, name)
        rows = np.empty((count, buffer.row_bytes // 4), np.float32)
        self.driver.make_current()
        self.driver.copy_out(rows.view(np.uint8).reshape(-1), self._memory[buffer.pointer] + first * buffer.row_bytes)
        return rows

    def first_not_finite(self, step: Step) -> str | None:
        """See hfc.runtime.not_finite.Traced."""
        self.settle()
        return None if self.plan.rank else first_not_finite(self._bundle, self.plan, self.driver, self._memory, step)

    @property
    def device(self) -> str:
        return self.driver.info.name

    def address(self, pointer: Pointer) -> int:
        """Where a buffer, state or weight begins on the device."""
        return self._memory[pointer]

    def read(self, pointer: Pointer, nbytes: int) -> np.ndarray:
        """Bytes of a buffer, state or weight, for tests and selftest."""
        data = np.empty(nbytes, np.uint8)
        self.driver.make_current()
        self.driver.copy_out(data, self._memory[pointer])
        return data

    def close(self) -> None:
        """Free the memory, once. The model cannot run afterwards."""
        self.settle()
        tape, self._tape = self._tape, None
        if tape:
            self._library.hfc_gpu_destroy(tape)
        if self._experts:
            self._experts.close()
        if self._rocblas:
            self._rocblas.close()
        with suppress(HfcError):  # of a lost device nothing can be freed; its error has been told
            self.driver.make_current()
            while self._blocks:
                self.driver.free(self._blocks.pop())
            while self._pinned:
                self.driver.free_pinned(self._pinned.pop())

    def _allocate(self, weights: WeightSource, progress: Progress | None) -> dict[Pointer, int]:
        """One block for scratch and states, one for weights and tables; pointer -> device address."""
        plan, driver = self.plan, self.driver
        sizes = {pointer: n * plan.slots for s in plan.states for pointer, n in s.pointers.items()}
        scratch = plan.arena_bytes + sum(_aligned(n) for n in sizes.values())
        base = self._block(scratch + ALIGNMENT)
        driver.zero(base, scratch)
        driver.synchronize(LEGACY_STREAM)  # the model's stream does not wait for the driver's own
        memory = {b.pointer: base + b.offset for b in plan.buffers}
        at = base + plan.arena_bytes
        for pointer, nbytes in sizes.items():
            memory[pointer] = at
            at += _aligned(nbytes)
        self._step_device = memory[STEP] = self._block(4 * self._input_words())
        memory[PARAMETERS] = self._step_device + 4 * self._words
        # chosen, and after them the step's own
        memory[TOKENS] = self._block(4 * (self.max_outputs + self.max_rows))
        memory |= upload_weights(plan, driver, self._block, weights, self.stream, progress)
        return memory

    def _lane(self) -> Lane:
        step = self._pin(4 * self._input_words()).view(np.int32)
        return Lane(self.driver, step, self._pin(4 * self.max_outputs), self.driver.create_event())

    def _block(self, nbytes: int) -> int:
        self._blocks.append(self.driver.allocate(nbytes))
        return self._blocks[-1]

    def _pin(self, nbytes: int) -> np.ndarray:
        self._pinned.append(self.driver.allocate_pinned(nbytes))
        return self._pinned[-1]

    def _create_tape(self, bundle: Bundle) -> int:
        modules = [self.driver.load_module(bundle.files[k.file]) for k in self.plan.kernels]
        functions = [self.driver.function(m, k.symbol) for m, k in zip(modules, self.plan.kernels)]
        pointers = [self._memory[p] for p in pointer_table(self.plan)]
        entries = self.driver.entry_points()
        launch_early = entries.pop("launch_early", None)
        if not find_arch(self.plan.arch).has("graphs"):
            entries = {role: at for role, at in entries.items() if role not in CAPTURE}
        tape = self._library.hfc_gpu_create(
            ctypes.byref(DriverTable(**entries, stream=self.stream, **self._library_entries())),
            (ctypes.c_void_p * len(functions))(*functions),
            len(functions),
            (ctypes.c_uint64 * len(pointers))(*pointers),
            self._step_device,
        )
        if not tape:
            raise HfcError("the launch tape could not be made: out of memory")
        early = find_arch(self.plan.arch).has("early_launch") and launch_early
        if early and hasattr(self._library, "hfc_gpu_launch_early"):  # kernels of older bundles do not wait
            self._library.hfc_gpu_launch_early(tape, early)
        if self._experts:
            self._library.hfc_gpu_host(tape, ctypes.byref(self._experts.entry_points()))
        return tape

    def _library_entries(self) -> dict[str, int]:
        return {"multiply": self._rocblas.multiply, "library": self._rocblas.handle} if self._rocblas else {}


def _runs_ahead(plan: Plan) -> bool:
    """Whether steps that follow each other find their tokens on the device, with nothing of the host in between."""
    chooses = plan.programs.get(Program.SAMPLE)
    return bool(chooses) and STEP in chooses[0].pointers and not (plan.rank or plan.stage or plan.leaves_experts)


def _lost(device: str, error: int, program: Program, failed: int) -> DeviceLost:
    where = f" at launch {failed} of {program}" if failed >= 0 else ""
    if error == RANK_FAILED:
        return DeviceLost(f"device {device}: a step failed: another rank did not come{where}")
    return DeviceLost(f"device {device}: a step failed with driver error {error}{where}")


def _travelling(plan: Plan) -> tuple[list[int], list[int]]:
    """Most bytes of each value that a stage receives and sends."""
    names = (plan.stage.received, plan.stage.sent) if plan.stage else ((), ())
    received, sent = ([plan.buffer(name).row_bytes * plan.max_rows for name in group] for group in names)
    return received, sent


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
