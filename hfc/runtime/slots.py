"""The state of one slot as bytes: what a prefix cache takes out of a model and puts back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from hfc.base.dataclass import dataclass
from hfc.plan import Plan, StateRef
from hfc.pointer import Pointer
from hfc.runtime.driver import LEGACY_STREAM
from hfc.runtime.gpu import GpuModel
from hfc.runtime.host import HostModel
from hfc.runtime.pipeline.model import StagedModel
from hfc.runtime.pipeline.process import ProcessStage
from hfc.runtime.ranks.model import RankedModel

ALIGNED = 64  # positions: what is kept of a text, and has more behind it, begins and ends at multiples of it


class SlotStates(Protocol):
    """kv_bytes: of one position.  recurrent_bytes: of a slot's convolution windows and DeltaNet memories, 0 without any."""

    kv_bytes: int
    recurrent_bytes: int

    def read_kv(self, slot: int, start: int, end: int) -> np.ndarray:
        """Keys and values of positions [start, end), u8 [(end - start) * kv_bytes], plane by plane [heads, positions, row]."""
        ...

    def write_kv(self, slot: int, start: int, data: np.ndarray, positions: int, count: int) -> None:
        """Put the first `count` of `positions` positions that `read_kv` gave at `start` of a slot."""
        ...

    def read_recurrent(self, slot: int) -> np.ndarray:
        """All recurrent state as it stands, u8 [recurrent_bytes]. No row of the slot may wait to be committed: a segment
        without rows commits what counts of them."""
        ...

    def write_recurrent(self, slot: int, data: np.ndarray) -> None: ...


@dataclass(frozen=True)
class KvPlane:
    """A plane of u8 [slots, heads, of_head], where positions have `row` bytes each. Of a cache with a place for one position of so many these
    are parts of a place: all of its positions are kept together."""

    state: str
    name: str
    heads: int
    row: int
    of_head: int


def kv_planes(plan: Plan) -> list[KvPlane]:
    """Of the caches that can be kept in pieces."""
    found = []
    for state in plan.states:
        for name, nbytes in state.planes.items() if "k" in state.planes else ():
            heads = int(state.shape[1])
            if _is_in_pieces(state, plan):
                row = nbytes // (heads * state.places(plan.context)) // state.every
                found.append(KvPlane(state.name, name, heads, row, nbytes // heads))
    return found


def _is_in_pieces(state: StateRef, plan: Plan) -> bool:
    """No place of the cache belongs to two pieces, and every position has a whole number of its bytes."""
    places = int(state.shape[1]) * state.places(plan.context)
    return ALIGNED % state.every == 0 and all(n // places % state.every == 0 for n in state.planes.values())


def recurrent_planes(plan: Plan) -> list[tuple[str, str, int]]:
    """(state, plane, bytes a slot) of every other state, which is kept as a whole; what waits in journals is no state."""
    caches = [s for s in plan.states if "k" in s.planes and not _is_in_pieces(s, plan)]
    return [(s.name, "", s.planes[""]) for s in plan.states if "" in s.planes] + [
        (s.name, name, nbytes) for s in caches for name, nbytes in s.planes.items()
    ]


class _Planes:
    def __init__(self, plan: Plan):
        self._kv, self._recurrent = kv_planes(plan), recurrent_planes(plan)
        self.kv_bytes = sum(p.heads * p.row for p in self._kv)
        self.recurrent_bytes = sum(nbytes for *_, nbytes in self._recurrent)

    def _split(self, data: np.ndarray, positions: int) -> Iterator[tuple[KvPlane, np.ndarray]]:
        """Each plane with its part of `data` as a view, u8 [heads, positions, row]."""
        at = 0
        for plane in self._kv:
            nbytes = plane.heads * positions * plane.row
            yield plane, data[at : at + nbytes].reshape(plane.heads, positions, plane.row)
            at += nbytes


class HostSlots(_Planes):
    """Slots of a model whose states are arrays of this process."""

    def __init__(self, model: HostModel):
        super().__init__(model.plan)
        self._arrays = {
            (p.state, p.name): model.state(p.state, p.name).reshape(model.slots, p.heads, p.of_head) for p in self._kv
        }
        self._whole = [model.state(state, plane) for state, plane, _ in self._recurrent]

    def read_kv(self, slot: int, start: int, end: int) -> np.ndarray:
        data = np.empty((end - start) * self.kv_bytes, np.uint8)
        for plane, part in self._split(data, end - start):
            found = self._arrays[plane.state, plane.name][slot, :, start * plane.row : end * plane.row]
            part[:] = found.reshape(part.shape)
        return data

    def write_kv(self, slot: int, start: int, data: np.ndarray, positions: int, count: int) -> None:
        for plane, part in self._split(data, positions):
            room = slice(start * plane.row, (start + count) * plane.row)
            self._arrays[plane.state, plane.name][slot, :, room] = part[:, :count].reshape(plane.heads, -1)

    def read_recurrent(self, slot: int) -> np.ndarray:
        return np.concatenate([array[slot] for array in self._whole]) if self._whole else np.empty(0, np.uint8)

    def write_recurrent(self, slot: int, data: np.ndarray) -> None:
        at = 0
        for array in self._whole:
            array[slot] = data[at : at + array.shape[1]]
            at += array.shape[1]


class GpuSlots(_Planes):
    """Slots in device memory: one copy for each head of each plane.

    Copies run on the driver's own stream, for which a model's does not wait: each call ends when its bytes have arrived."""

    def __init__(self, model: GpuModel):
        super().__init__(model.plan)
        self.driver, self._settle = model.driver, model.settle
        self._at = {(p.state, p.name): model.address(Pointer.state(p.state, p.name)) for p in self._kv}
        self._whole = [(model.address(Pointer.state(state, plane)), nbytes) for state, plane, nbytes in self._recurrent]

    def kv_runs(self, slot: int, start: int, positions: int, count: int) -> Iterator[tuple[int, int, int]]:
        """(offset in a copy of `positions` positions, device address, bytes) of the first `count` of them, head by head."""
        at = 0
        for plane in self._kv:
            for head in range(plane.heads):
                place = (slot * plane.heads + head) * plane.of_head + start * plane.row
                yield at, self._at[plane.state, plane.name] + place, count * plane.row
                at += positions * plane.row

    def recurrent_runs(self, slot: int) -> Iterator[tuple[int, int, int]]:
        """(offset in a copy, device address, bytes) of every state."""
        at = 0
        for address, nbytes in self._whole:
            yield at, address + slot * nbytes, nbytes
            at += nbytes

    def read_kv(self, slot: int, start: int, end: int) -> np.ndarray:
        data = np.empty((end - start) * self.kv_bytes, np.uint8)
        self._read(data, self.kv_runs(slot, start, end - start, end - start))
        return data

    def write_kv(self, slot: int, start: int, data: np.ndarray, positions: int, count: int) -> None:
        self._write(data, self.kv_runs(slot, start, positions, count))

    def read_recurrent(self, slot: int) -> np.ndarray:
        data = np.empty(self.recurrent_bytes, np.uint8)
        self._read(data, self.recurrent_runs(slot))
        return data

    def write_recurrent(self, slot: int, data: np.ndarray) -> None:
        self._write(data, self.recurrent_runs(slot))

    def _read(self, data: np.ndarray, runs: Iterator[tuple[int, int, int]]) -> None:
        self._settle()  # steps may be on their way
        for at, address, nbytes in runs:
            self.driver.copy_out(data[at : at + nbytes], address)

    def _write(self, data: np.ndarray, runs: Iterator[tuple[int, int, int]]) -> None:
        self._settle()
        for at, address, nbytes in runs:
            self.driver.copy_in(address, data[at : at + nbytes])
        self.driver.synchronize(LEGACY_STREAM)


class StagedSlots:
    """Slots of a pipeline, or of ranks: one stage's bytes after the other's.

    A slot is read and written between its own steps: those that nobody waits for have ended then."""

    def __init__(self, model: StagedModel | RankedModel):
        self._model = model
        stages = model.stages if isinstance(model, StagedModel) else model.ranks
        self._parts = [(stage, slot_states(stage)) for stage in stages]
        self.kv_bytes = sum(part.kv_bytes for _, part in self._parts)
        self.recurrent_bytes = sum(part.recurrent_bytes for _, part in self._parts)

    def read_kv(self, slot: int, start: int, end: int) -> np.ndarray:
        return np.concatenate([part.read_kv(slot, start, end) for part in self._settled()])

    def write_kv(self, slot: int, start: int, data: np.ndarray, positions: int, count: int) -> None:
        at = 0
        for part in self._settled():
            nbytes = positions * part.kv_bytes
            part.write_kv(slot, start, data[at : at + nbytes], positions, count)
            at += nbytes

    def read_recurrent(self, slot: int) -> np.ndarray:
        return np.concatenate([part.read_recurrent(slot) for part in self._settled()])

    def write_recurrent(self, slot: int, data: np.ndarray) -> None:
        at = 0
        for part in self._settled():
            part.write_recurrent(slot, data[at : at + part.recurrent_bytes])
            at += part.recurrent_bytes

    def _settled(self) -> Iterator[SlotStates]:
        if isinstance(self._model, StagedModel):
            self._model.settle()
        for stage, part in self._parts:
            use_from_this_thread(stage)
            yield part


def slot_states(model: HostModel | GpuModel | StagedModel | RankedModel | ProcessStage) -> SlotStates:
    if isinstance(model, StagedModel | RankedModel):
        return StagedSlots(model)
    if isinstance(model, ProcessStage):
        return model
    return GpuSlots(model) if isinstance(model, GpuModel) else HostSlots(model)


def use_from_this_thread(model: HostModel | GpuModel | StagedModel | RankedModel | ProcessStage) -> None:
    """A GPU's context belongs to threads: call this in the one that will run steps."""
    if (driver := getattr(model, "driver", None)) is not None:
        driver.make_current()
