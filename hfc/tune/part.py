"""A model's plan cut down to one linear region, multiplied in one way: what a card runs to time it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hfc.backend import gpu
from hfc.backend.emit import Emitted, RegionCall
from hfc.backend.shape import Geometry
from hfc.backend.skeletons import geometry
from hfc.backend.skeletons.linear.candidates import launches_as
from hfc.backend.skeletons.linear.choices import Candidate
from hfc.backend.spec import Bound
from hfc.base.dataclass import dataclass
from hfc.passes.settings import Settings
from hfc.plan import Bundle
from hfc.pointer import Pointer
from hfc.program import Program
from hfc.runtime.driver import Driver
from hfc.runtime.gpu import GpuModel
from hfc.runtime.random_weights import RandomWeights
from hfc.step import Segment, Step
from hfc.target.arch import Arch

BEYOND_CACHES = 256 << 20  # bytes of weights that a step reads, so that they come from memory
LAUNCHES = 64  # of a step, at least: the card must take longer than the host that launches it


@dataclass(frozen=True)
class Part:
    """The calls of a region, one behind the other. emitted: a model of them alone."""

    bound: Bound
    emitted: Emitted
    calls: tuple[RegionCall, ...]

    @property
    def read(self) -> list[Pointer]:
        """Buffers that the region reads."""
        return self._buffers(written=False)

    @property
    def written(self) -> list[Pointer]:
        """What the last call leaves, nothing behind which could write there."""
        last = self.calls[-1]
        pairs = zip(last.bound.args, last.pointers, strict=True)
        return [pointer for arg, pointer in pairs if arg.written and pointer.kind == "buffer"]

    def _buffers(self, written: bool) -> list[Pointer]:
        pairs = [pair for call in self.calls for pair in zip(call.bound.args, call.pointers, strict=True)]
        found = [
            pointer
            for arg, pointer in pairs
            if pointer.kind == "buffer" and arg.written == written and arg.ctype == "float"
        ]
        return list(dict.fromkeys(found))


def part_of(emitted: Emitted, name: str, beyond: int = BEYOND_CACHES) -> Part:
    """The region of this name in as many layers as read `beyond` bytes of weights, or in all, several times where those are few."""
    calls: list[RegionCall] = []
    for call in emitted.calls:
        if call.bound.name == name and sum(c.bytes["step"] for c in calls) < beyond:
            calls.append(call)
    used = {pointer for call in calls for pointer in call.pointers}
    weights = tuple(ref for ref in emitted.weights if ref.pointer in used)
    consts = tuple(ref for ref in emitted.consts if ref.pointer in used)
    read = sum(call.bytes["step"] for call in calls)
    calls *= max(1, min(-(-LAUNCHES // len(calls)), 4 * beyond // read))
    alone = replace(emitted, calls=tuple(calls), weights=weights, consts=consts, states=(), taps={})
    return Part(calls[0].bound, alone, tuple(calls))


def launches_of(bound: Bound, program: Program, arch: Arch, wanted: Candidate | None) -> tuple[Geometry, ...]:
    """In decode alone. wanted: in this way; None: as a compilation would."""
    if program is not Program.DECODE:
        return ()
    return geometry(bound, arch, "decode") if wanted is None else launches_as(bound, arch, wanted)


def open_part(
    part: Part, settings: Settings, driver: Driver, weights: RandomWeights, wanted: Candidate | None
) -> GpuModel:
    """Compile and load it. HfcError: the candidate breaks a gate."""
    arch = settings.arch
    plan, files = gpu.build(
        part.emitted, settings, lambda bound, program, arch: launches_of(bound, program, arch, wanted)
    )
    about = {"name": part.bound.name, "kind": "random", "weights": "", "context": settings.context}
    return GpuModel(Bundle(about, {arch.name: plan}, files), plan, driver, weights)


def step_of(rows: int) -> Step:
    """A step of decode."""
    every = np.arange(rows, dtype=np.int32)
    return Step(np.zeros(rows, np.int32), (Segment(0, 0, rows, 0),), every)


def fill(part: Part, model: GpuModel) -> None:
    """Numbers like those of a model in whatever the region reads; the same each time."""
    rng = np.random.default_rng(1)
    model.driver.make_current()
    for pointer in part.read:
        buffer = model.plan.buffer(pointer.name)
        numbers = rng.standard_normal(buffer.row_bytes // 4 * 16, np.float32)[: buffer.nbytes // 4]
        model.driver.copy_in(model.address(pointer), numbers)


def results(part: Part, model: GpuModel, rows: int) -> np.ndarray:
    """What a step leaves, f32: of the region's last call."""
    fill(part, model)
    model.run(step_of(rows), copy_logits=False)
    found = [
        model.read(pointer, rows * model.plan.buffer(pointer.name).row_bytes).view(np.float32)
        for pointer in part.written
    ]
    return np.concatenate(found)
