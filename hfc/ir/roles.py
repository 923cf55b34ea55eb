"""What passes and back ends ask about an op: answered by its definition, so that a new op is fused and bound without an edit there."""

from __future__ import annotations

from collections.abc import Iterable

from hfc.ir.element import is_row_value
from hfc.ir.graph import Op, Value
from hfc.ir.opdef import OPS, STORED


def is_elementwise(op: Op) -> bool:
    return op.kind in OPS and OPS[op.kind].elementwise


def is_view(op: Op) -> bool:
    return op.kind in OPS and OPS[op.kind].is_view


def keeps_order(op: Op) -> bool:
    """A view whose elements lie in memory as its operand's: another shape, nothing else."""
    return op.kind in OPS and OPS[op.kind].in_order


def is_view_or_elementwise(op: Op) -> bool:
    return is_view(op) or is_elementwise(op)


def is_pointwise(op: Op) -> bool:
    """An element of it is one of its operands', or arithmetic on one of each."""
    return op.kind in OPS and (OPS[op.kind].selects or OPS[op.kind].elementwise)


def is_constant(op: Op) -> bool:
    """Arithmetic on weights and tables alone: it has no rows, so no memory of a step; whoever reads it computes it."""
    return is_elementwise(op) and not is_row_value(op.output)


def is_beside(op: Op) -> bool:
    """An epilogue may compute it: what it reads of a table needs no format's loader."""
    tables = [v for v in op.inputs if not is_row_value(v)]
    return op.kind in OPS and OPS[op.kind].beside and all(v.type.dtype == "f32" for v in tables)


def is_of_own_row(op: Op) -> bool:
    """Printed element by element, from nothing but the row's own operands."""
    return op.kind in OPS and OPS[op.kind].element is not None and not OPS[op.kind].neighbours


def reduces(op: Op) -> bool:
    """It needs a whole vector for each element: a norm, a softmax, a sum."""
    return op.kind in OPS and OPS[op.kind].reduces


def roots(ops: Iterable[Op], stem: str) -> list[Op]:
    """The ops among them that such a skeleton computes."""
    return [op for op in ops if op.kind in OPS and OPS[op.kind].stem == stem]


def is_product(op: Op) -> bool:
    """It multiplies rows by a stored matrix."""
    return op.kind in OPS and OPS[op.kind].stem == "linear" and not is_rotation(op)


def is_rotation(op: Op) -> bool:
    """It rotates the input of products whose weights lie rotated; passes put it there."""
    return op.kind in OPS and OPS[op.kind].stem == "linear" and OPS[op.kind].internal


def reads_as(op: Op, way: str) -> list[Value]:
    """The operands that it reads so, see opdef.READS."""
    return [v for v, read in zip(op.inputs, OPS[op.kind].reads) if read == way] if op.kind in OPS else []


def reads_stored(op: Op) -> bool:
    """It reads what lies in memory beside activations: a weight in its storage format, a cache, a state."""
    return any(reads_as(op, way) for way in (*STORED, "state", "cache"))


def of_experts(op: Op) -> bool:
    """A product with the matrices of the experts that a row chose."""
    return bool(reads_as(op, "experts"))


def exchanges(op: Op) -> bool:
    """It reads values of other ranks."""
    return op.kind in OPS and OPS[op.kind].collective


def is_lookup(op: Op) -> bool:
    """It reads rows of a stored table, by tokens."""
    return bool(reads_as(op, "gathered"))


def writes_cache(op: Op) -> bool:
    """It carries on a cache of positions."""
    state = OPS[op.kind].state if op.kind in OPS else None
    return state is not None and op.outputs[state[1]].type.dtype == "kv"
