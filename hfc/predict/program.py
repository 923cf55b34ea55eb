"""A plan's program -> its launches with predicted times: every distinct launch is sampled once on random weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.isa.arena import Arena, Region
from hfc.isa.launch import Loaded, load_kernel
from hfc.plan import Bundle, ConstRef, Launch, Plan, WeightRef
from hfc.pointer import STEP, Pointer
from hfc.predict.launch import Predicted, Sample, Site, predict, sample
from hfc.runtime.launcher import grid_size
from hfc.runtime.random_weights import RandomWeights
from hfc.step import Step, step_words
from hfc.target.arch import Arch, find_arch

CACHED_BYTES = 1 << 16  # smaller weights stay in L2 from layer to layer
PATTERN = 1 << 16  # random numbers that a buffer repeats

Key = tuple[str, tuple[int, int, int]]  # kernel and grid: equal launches take equal times


@dataclass(frozen=True)
class SampledCall:
    """A launch and how often its program has it. weight_bytes: of weights that are read, of experts those that are chosen.

    operations: products and sums of one launch."""

    launch: Launch
    count: int
    sample: Sample
    weight_bytes: int
    operations: int

    @property
    def key(self) -> Key:
        return self.launch.kernel, self.sample.grid


@dataclass(frozen=True)
class Calls:
    """The distinct launches of one step, and all of them in order."""

    step: Step
    context: int
    distinct: tuple[SampledCall, ...]
    order: tuple[Key, ...]


@dataclass(frozen=True)
class Timed:
    """A launch on a card."""

    call: SampledCall
    time: Predicted

    @property
    def seconds(self) -> float:
        return self.call.count * self.time.seconds


@dataclass(frozen=True)
class Estimate:
    """A program on a card: its distinct launches, the order of all (keys of calls), and the gaps between them."""

    program: str
    tokens: int
    context: int
    launches: tuple[Timed, ...]
    order: tuple[Key, ...]
    gap_seconds: float

    @property
    def count(self) -> int:
        return sum(timed.call.count for timed in self.launches)

    @property
    def kernel_seconds(self) -> float:
        return sum(timed.seconds for timed in self.launches)

    @property
    def seconds(self) -> float:
        return self.kernel_seconds + self.count * self.gap_seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def step_of(tokens: int, context: int) -> Step:
    """The last `tokens` tokens of a context."""
    return Step.single(np.arange(1, tokens + 1), position=context - tokens, outputs="last")


class LaunchSampler:
    """Samples the launches of one plan."""

    def __init__(self, bundle: Bundle, name: str, blocks: int = 2):
        """name: of the plan in its bundle."""
        self._plan: Plan = bundle.plans[name]
        self._arch: Arch = find_arch(self._plan.arch)
        self._blocks = blocks
        self._code = {k.symbol: bundle.files[k.file] for k in self._plan.kernels if k.file}
        self._loaded: dict[str, Loaded] = {}
        self._data = _Data(self._plan)

    def calls(self, tokens: int, context: int, only: Callable[[Launch], bool] = lambda launch: True) -> Calls:
        """The launches of one step, equal ones together. only: which of them."""
        step, order = step_of(tokens, context), []
        found: dict[Key, SampledCall] = {}
        self._data.begin(step)
        for launch in self._plan.programs[step.rows_class]:
            grid = tuple(grid_size(size, step) for size in launch.grid)
            if launch.is_by_runtime or not math.prod(grid) or not only(launch):
                continue
            key = (launch.kernel, grid)
            order.append(key)
            if key in found:
                found[key] = replace(found[key], count=found[key].count + 1)
            else:
                found[key] = self._call(launch, grid, tokens, context)
        return Calls(step, context, tuple(found.values()), tuple(order))

    def _call(self, launch: Launch, grid: tuple[int, int, int], tokens: int, context: int) -> SampledCall:
        if launch.product:
            raise HfcError(f"{launch.kernel}: a product that rocBLAS does cannot be predicted")
        if launch.kernel not in self._loaded:
            self._loaded[launch.kernel] = load_kernel(self._code[launch.kernel], launch.kernel, launch.kernel)
        loaded, data = self._loaded[launch.kernel], self._data
        regions = data.regions(launch)
        arguments = [regions[STEP], *(regions[pointer] for pointer in launch.pointers)]
        if data.may_decide(launch):  # what it chooses is an index for others: all of it runs
            loaded.launch(grid, launch.block, arguments, launch.lds_bytes)
        found = sample(
            loaded,
            self._arch,
            grid,
            launch.block,
            arguments,
            launch.lds_bytes,
            data.streamed(launch, regions),
            self._blocks,
        )
        sizes = {p: regions[p].nbytes for p in launch.pointers if p.kind == "weight"}
        rows = 1 if any("R" in size for size in launch.grid) else tokens
        read = min(sum(sizes.values()), launch.bytes["step"] + launch.bytes["row"] * rows)
        seen = sum(range(context - tokens + 1, context + 1))  # rows x tokens that they see
        times = {"step": 1, "row": rows, "segment": 1, "context": seen}
        operations = sum(amount * times[kind] for kind, amount in launch.flops.items())
        return SampledCall(launch, 1, found, read, operations)


def estimate(calls: Calls, site: Site) -> Estimate:
    launches = tuple(Timed(call, predict(call.sample, site)) for call in calls.distinct)
    step, gap = calls.step, site.timing.launch_us * 1e-6
    return Estimate(step.rows_class, len(step.tokens), calls.context, launches, calls.order, gap)


class _Data:
    """Memory that sampled launches run on. Weights and states are made for each; buffers of indices live from launch to launch."""

    def __init__(self, plan: Plan):
        self._plan = plan
        self._source = RandomWeights(plan.context)
        self._refs: dict[Pointer, WeightRef | ConstRef] = {r.pointer: r for r in (*plan.weights, *plan.consts)}
        self._buffers = {b.pointer: b for b in plan.buffers}
        self._states = {pointer: n for s in plan.states for pointer, n in s.pointers.items()}
        self._kept: dict[Pointer, Region] = {}
        self._numbers = np.random.default_rng(1).standard_normal(PATTERN).astype(np.float32) * 0.5
        self._bytes = np.random.default_rng(2).integers(0, 60, PATTERN, np.uint8)

    def begin(self, step: Step) -> None:
        self._words = step.encode(self._plan.max_rows).view(np.uint8)
        assert self._words.nbytes == 4 * step_words(self._plan.max_rows)
        self._kept = {}

    def may_decide(self, launch: Launch) -> bool:
        """Whether nothing has written one of the launch's buffers of indices yet."""
        return any(not self._kept[p].view.any() for p in launch.pointers if self._is_index(p))

    def streamed(self, launch: Launch, regions: dict[Pointer, Region]) -> list[Region]:
        """What comes from memory: large weights, and states."""
        return [
            regions[p]
            for p in dict.fromkeys(launch.pointers)
            if p.kind == "state" or p.kind == "weight" and regions[p].nbytes > CACHED_BYTES
        ]

    def regions(self, launch: Launch) -> dict[Pointer, Region]:
        found = {p: self._kept[p] for p in launch.pointers if p in self._kept}
        wanted = [p for p in dict.fromkeys(launch.pointers) if p not in found]
        arena = Arena(
            [(STEP, self._words.nbytes, False), *((p, self._nbytes(p), self._changes(p)) for p in wanted)], False
        )
        made = {region.name: region for region in arena.regions}
        made[STEP].view[:] = self._words
        for pointer in wanted:
            self._fill(pointer, made[pointer].view)
            if self._is_index(pointer):
                self._kept[pointer] = made[pointer]
        return found | made

    def _is_index(self, pointer: Pointer) -> bool:
        return pointer in self._buffers and self._buffers[pointer].dtype == "i32"

    def _changes(self, pointer: Pointer) -> bool:
        return not pointer.is_read_only

    def _nbytes(self, pointer: Pointer) -> int:
        if pointer in self._buffers or pointer.kind == "peer":
            buffer = self._buffers[Pointer.buffer(pointer.name)]
            return buffer.row_bytes * (self._plan.max_rows if buffer.rows == "T" else self._plan.max_outputs)
        if pointer in self._states:
            return self._states[pointer] * self._plan.slots
        ref = self._refs[pointer]
        if pointer.kind == "const":
            return self._source.const(ref).nbytes
        return math.prod(ref.shape[:-1]) * weight_format(ref.format).row_bytes(ref.shape[-1])

    def _fill(self, pointer: Pointer, view: np.ndarray) -> None:
        if pointer.kind == "weight":
            self._source.fill(self._refs[pointer], view)
        elif pointer.kind == "const":
            view[:] = np.ascontiguousarray(self._source.const(self._refs[pointer])).reshape(-1).view(np.uint8)
        elif self._is_index(pointer):
            view[:] = 0
        else:
            view[:] = np.resize(self._bytes if pointer in self._states else self._numbers.view(np.uint8), len(view))
