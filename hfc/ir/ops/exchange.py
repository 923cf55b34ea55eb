"""What ranks make of each other's values: a sum, or pieces side by side. Operands are in the order of the ranks, one of them this rank's own."""

from __future__ import annotations

import numpy as np

from hfc.ir.element import Elements
from hfc.ir.graph import Op, TensorType, Value
from hfc.ir.index import Index, group
from hfc.ir.opdef import require, row_local

MOST_RANKS = 8


def _given(*values: TensorType | None) -> list[TensorType]:
    return [value for value in values if value is not None]


def _reduce_type(x0: TensorType, x1: TensorType, x2=None, x3=None, x4=None, x5=None, x6=None, x7=None) -> TensorType:
    parts = _given(x0, x1, x2, x3, x4, x5, x6, x7)
    require(
        all(part == x0 for part in parts), f"all_reduce: operands are {', '.join(map(str, parts))}; they must be alike"
    )
    return x0


def _reduce_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    return f"({' + '.join(elements.element(part, index, row) for part in op.inputs)})"


@row_local(_reduce_type, reads=("rows",) * MOST_RANKS, element=_reduce_element, internal=True, collective=True)
def all_reduce(x0, x1, x2=None, x3=None, x4=None, x5=None, x6=None, x7=None):
    """((x0 + x1) + x2) + …: always in the order of the ranks, so that every rank has the same bits each time."""
    total = x0 + x1
    for part in (x2, x3, x4, x5, x6, x7):
        total = total if part is None else total + part
    return total


def _gather_type(x0: TensorType, x1: TensorType, x2=None, x3=None, x4=None, x5=None, x6=None, x7=None) -> TensorType:
    parts = _given(x0, x1, x2, x3, x4, x5, x6, x7)
    require(
        all(part.shape[:-1] == x0.shape[:-1] for part in parts),
        f"all_gather: operands are {', '.join(map(str, parts))}; they must agree in all axes but the last",
    )
    return x0.with_shape(*x0.shape[:-1], sum(part.size(-1) for part in parts))


def _gather_element(elements: Elements, op: Op, value: Value, index: Index, row: str) -> str:
    *lead, j = index
    end = value.type.size(-1)
    text = ""
    for part in reversed(op.inputs):
        begin = end - part.type.size(-1)
        own = elements.element(part, (*lead, f"({group(j)} - {begin})" if begin else j), row)
        text = f"({group(j)} < {end} ? {own} : {text})" if text else own
        end = begin
    return text


@row_local(_gather_type, reads=("rows",) * MOST_RANKS, element=_gather_element, internal=True, collective=True)
def all_gather(x0, x1, x2=None, x3=None, x4=None, x5=None, x6=None, x7=None):
    """The pieces of all ranks side by side: [T, ..., A], [T, ..., B], … -> [T, ..., A + B + …]"""
    return np.concatenate([part for part in (x0, x1, x2, x3, x4, x5, x6, x7) if part is not None], axis=-1)
