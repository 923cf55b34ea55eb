"""What a launch left behind against what the interpreter computed."""

from __future__ import annotations

import numpy as np

from hfc.backend.skeletons import SKELETONS
from hfc.base.dataclass import dataclass
from hfc.formats import KV_FORMATS
from hfc.ir.graph import Op, Value
from hfc.ir.interpret import KvCache
from hfc.plan import StateRef
from hfc.pointer import Pointer
from hfc.selftest.scene import Scene, Stage
from hfc.target.platform import TURBO

# One wrong element among thousands hides in a norm: none may be off by more than this many bounds of the typical size, or of its
# own where that is more. A gated product of weights with outliers has elements of 45 times the typical size, rounded as their size is.
WORST = 10


@dataclass(frozen=True)
class Deviation:
    """error: relative L2.  worst: largest difference of an element, over what was expected or its root mean square, whichever is more."""

    error: float
    worst: float

    def within(self, bound: float) -> bool:
        return self.error <= bound and self.worst <= WORST * bound  # false for NaN

    def __or__(self, other: "Deviation") -> "Deviation":
        """The larger of each; NaN is larger than numbers."""
        return Deviation(*np.maximum((self.error, self.worst), (other.error, other.worst)).tolist())


def bound_of(stem: str, profile: str) -> float:
    """Relative L2 that a correct kernel of a stem stays below; the skeletons say why."""
    skeleton = SKELETONS[stem]
    return skeleton.of_bytes if profile == TURBO and skeleton.of_bytes is not None else skeleton.tolerance


def deviation(found: np.ndarray, expected: np.ndarray) -> Deviation:
    """Equal numbers that are no floats count as 0, others as 1. What was never written counts as NaN."""
    assert found.shape == expected.shape, f"{found.shape} beside {expected.shape}"
    if not expected.size:
        return Deviation(0.0, 0.0)
    if expected.dtype.kind == "i":
        wrong = float((found != expected).mean())
        return Deviation(wrong, float(wrong > 0))
    difference, magnitude = (found - expected).astype(np.float64), np.abs(expected.astype(np.float64))
    size = float(np.sqrt(np.mean(magnitude**2))) or 1.0
    worst = float((np.abs(difference) / np.maximum(magnitude, size)).max())
    return Deviation(float(np.sqrt(np.mean(difference**2))) / size, worst)


def compare(stage: Stage, region: Op, scene: Scene, values: dict[Value, object]) -> Deviation:
    """All outputs of the region: rows of buffers, and the whole of the states that it carries on."""
    total = Deviation(0.0, 0.0)
    for value in region.outputs:
        state = stage.state_of(value)
        for found, expected in _state(scene, state, values[value]) if state else [_buffer(scene, value, values[value])]:
            total |= deviation(found, expected)
    return total


def _buffer(scene: Scene, value: Value, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    raw = scene.memory[Pointer.buffer(value.name)]
    return raw.view(expected.dtype)[: expected.size].reshape(expected.shape), expected


def _state(scene: Scene, ref: StateRef, expected: np.ndarray | KvCache) -> list[tuple[np.ndarray, np.ndarray]]:
    if not isinstance(expected, KvCache):
        return [(scene.memory[Pointer.state(ref.name)].view(np.float32).reshape(expected.shape), expected)]
    pairs = []
    for plane, cache in (("k", expected.k), ("v", expected.v)):
        form = KV_FORMATS[ref.formats[plane]]
        slots, heads, used, head = cache.shape
        raw = scene.memory[Pointer.state(ref.name, plane)].reshape(slots, heads, -1, form.row_bytes(head))
        pairs.append((np.asarray(form.unpack(np.ascontiguousarray(raw[:, :, :used])), np.float32), cache))
    return pairs
