"""GPTQ over a whole model: texts run through it once; a linear's weights are packed when its inputs are there, and go on packed.

So every linear makes up for its own rounding on inputs that bear the rounding of all linears before. One weight is unpacked at a
time; what stays are the activations of all texts at one place of the graph. Experts see few rows each: they are packed as without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from hfc.calibrate.names import linears
from hfc.calibrate.prepare import unrotated_rows
from hfc.calibrate.stream import stream
from hfc.compiler import CompilerInput
from hfc.formats import BlockFormat, weight_format
from hfc.formats.checkpoint import Checkpoint, TensorInfo
from hfc.formats.rotation import rotate, rotate_back
from hfc.ir.graph import Op
from hfc.ir.roles import is_product
from hfc.quantize.convert import Put
from hfc.quantize.feedback import factor, pack_with_feedback
from hfc.quantize.treatment import UNTREATED, Treatment

MOST_BITS = 8.0  # with as many, rounding is not what limits a weight


def pack_linears(
    source: CompilerInput,
    pieces: Sequence[np.ndarray],
    formats: Mapping[str, str],
    treatments: Mapping[str, Treatment],
    put: Put,
    update: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Pack every matrix with error feedback. formats: what each tensor is to be stored in.  put: takes the packed rows."""
    graph = source.graph()
    named = {linear.op.output.name: linear for linear in linears(source, graph)}
    left = Counter(name for linear in named.values() for name in linear.tensors)  # readers that have not run
    total, seen = sum(map(is_product, graph.walk())), 0
    weights, factors = Packed(source.checkpoint), Factors()

    def watch(op: Op, x: np.ndarray, experts: np.ndarray | None) -> None:
        nonlocal seen
        seen += 1
        update(seen, total)
        weights.forget(name for name, count in left.items() if count == 0)
        linear = named.get(op.output.name)
        if linear is None or experts is not None:
            return
        (name,) = linear.tensors
        left[name] -= 1
        form, treatment = weight_format(formats[name]), treatments.get(name, UNTREATED)
        if (
            name in weights.done
            or not isinstance(form, BlockFormat)
            or not form.quantized
            or form.bits_per_weight >= MOST_BITS
        ):
            return
        values = treatment.apply(unrotated_rows(source.checkpoint, name), 0)
        raw = pack_with_feedback(
            form, rotate(values) if form.rotated else values, factors.of(x, form, treatment.columns)
        )
        put(name, raw)
        found = form.unpack(raw)
        weights.replace(name, treatment.undo(rotate_back(found) if form.rotated else found))

    stream(source, pieces, watch, weights)


class Packed:
    """A checkpoint, some of whose tensors are replaced by what they became."""

    def __init__(self, checkpoint: Checkpoint):
        self._checkpoint = checkpoint
        self._values: dict[str, np.ndarray] = {}
        self.done: set[str] = set()

    def replace(self, name: str, values: np.ndarray) -> None:
        """values: f32, not rotated."""
        values = rotate(values) if weight_format(self.info(name).format).rotated else values
        self._values[name] = np.ascontiguousarray(values, np.float32)
        self.done.add(name)

    def forget(self, names: Iterable[str]) -> None:
        """Nobody reads these again."""
        for name in names:
            self._values.pop(name, None)

    def info(self, name: str) -> TensorInfo:
        return self._checkpoint.info(name)

    def loaded(self, name: str) -> tuple[str, np.ndarray]:
        if name in self._values:
            return "f32", self._values[name].view(np.uint8)
        return self._checkpoint.loaded(name)

    def release(self) -> None:
        self._checkpoint.release()


class Factors:
    """factor() of the inputs that several linears share, made once."""

    def __init__(self):
        self._inputs: np.ndarray | None = None
        self._hessian: np.ndarray | None = None
        self._made: list[tuple[bool, np.ndarray | None, np.ndarray]] = []

    def of(self, x: np.ndarray, form: BlockFormat, scale: np.ndarray | None) -> np.ndarray:
        """x: f32 [T, …, K], before scale and rotation; the inputs are x / scale, rotated where the format is."""
        if x is not self._inputs:
            rows = x.reshape(-1, x.shape[-1])
            self._inputs, self._hessian, self._made = x, rows.T @ rows / np.float32(len(rows)), []
        for rotated, other, made in self._made:
            if rotated == form.rotated and other is scale:
                return made
        hessian = self._hessian if scale is None else self._hessian / scale[:, None] / scale
        upper = factor(rotate(np.ascontiguousarray(rotate(hessian).T)) if form.rotated else hessian)
        self._made.append((form.rotated, scale, upper))
        return upper
