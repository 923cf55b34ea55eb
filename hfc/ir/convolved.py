"""What a gated delta rule must look like for the kernels that begin at its convolution: q, k and v are pieces of one."""

from __future__ import annotations

from collections.abc import Mapping

from hfc.base.dataclass import dataclass
from hfc.ir.element import is_row_value
from hfc.ir.graph import Op, Value
from hfc.ir.opdef import OPS


@dataclass(frozen=True)
class ConvolvedPiece:
    """q, k or v. activated: the value that it is split from.  first: its first channel.  scale, eps: of the norm on it.
    ops: that make it of `activated`."""

    activated: Value
    first: int
    scale: float
    eps: float | None
    ops: tuple[Op, ...]


@dataclass(frozen=True)
class Convolved:
    """conv: the convolution.  activated: its result after an activation.  q, k, v: pieces of that.  ops: everything between
    the convolution and the recurrence."""

    conv: Op
    activated: Value
    q: ConvolvedPiece
    k: ConvolvedPiece
    v: ConvolvedPiece
    ops: frozenset[Op]


def convolved(recurrence: Op, producers: Mapping[Value, Op]) -> Convolved | None:
    """None where it is another recurrence, or its operands come from elsewhere."""
    if not recurrence.attrs["delta"] or recurrence.inputs[3].type.shape != recurrence.inputs[4].type.shape:
        return None
    pieces = [_piece(value, producers) for value in recurrence.inputs[:3]]
    q, k, v = pieces
    if q is None or k is None or v is None:
        return None
    if q.eps is None or q.eps != k.eps or v.eps is not None or (k.scale, v.scale) != (1.0, 1.0):
        return None
    sizes = [value.type.size(1) * value.type.size(2) for value in recurrence.inputs[:3]]
    placed = sorted((piece.first, size) for piece, size in zip((q, k, v), sizes))
    ends = [0, *(first + size for first, size in placed)]
    if [first for first, _ in placed] != ends[:3] or q.activated.type.shape != ("T", ends[3]):
        return None
    if not q.activated is k.activated is v.activated:
        return None
    found = _convolution(q.activated, producers)
    if found is None:
        return None
    conv, between = found
    return Convolved(conv, q.activated, q, k, v, frozenset((*q.ops, *k.ops, *v.ops, *between)))


def _piece(value: Value, producers: Mapping[Value, Op]) -> ConvolvedPiece | None:
    """Back over reshape, a scale and the norm of each head to the split."""
    scale, eps, ops, head = 1.0, None, [], value.type.size(2)
    while (op := producers.get(value)) is not None:
        ops.append(op)
        if op.kind == "split":
            first = sum(op.attrs["sizes"][: op.outputs.index(value)])
            return (
                ConvolvedPiece(op.inputs[0], first, scale, eps, tuple(ops))
                if len(op.inputs[0].type.shape) == 2
                else None
            )
        if op.kind == "scale" and eps is None:
            scale *= op.attrs["by"]
        elif op.kind == "l2_norm" and eps is None and value.type.size(-1) == head:
            eps = op.attrs["eps"]
        elif op.kind != "reshape":
            return None
        value = op.inputs[0]
    return None


def _convolution(value: Value, producers: Mapping[Value, Op]) -> tuple[Op, list[Op]] | None:
    """The convolution after an activation: arithmetic of nothing but the element itself and weights."""
    between: list[Op] = []
    while (op := producers.get(value)) is not None and op.kind != "causal_conv":
        rows = [v for v in op.inputs if is_row_value(v)]
        if not OPS[op.kind].elementwise or len(rows) != 1 or rows[0].type != value.type:
            return None
        if any(not producers[v].is_weight for v in op.inputs if v is not rows[0] and v in producers):
            return None
        between.append(op)
        value = rows[0]
    return (op, between) if op is not None else None
