"""What a region must move and compute, from its types alone: the floor that a kernel is measured against."""

from __future__ import annotations

import math

from hfc.formats import KV_FORMATS, weight_format
from hfc.ir.graph import Op, Value
from hfc.ir.opdef import OPS

KINDS = ("step", "row", "segment", "context")  # per step, per row, per segment, per row and token of context


def expected(region: Op, sources: dict[Value, Op]) -> tuple[dict[str, int], dict[str, int]]:
    """(bytes, flops) by KINDS. Each input is read once, each output written once."""
    moved, flops = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    assert region.body is not None
    readers = region.body.readers()
    for value in dict.fromkeys((*region.inputs, *region.outputs)):
        source = sources.get(value)
        if source is None or source.is_peer:
            moved["row"] += 4 * math.prod(value.type.sizes(1))
        elif source.is_weight:
            _weight(value, readers[value], moved)
        elif source.is_state:
            _state(value, source, region, moved)
    for op in region.inner:
        count = OPS[op.kind].flops
        for kind, number in (count(op) if count else {}).items():
            flops[kind] += number
    return moved, flops


def _read_as(value: Value, op: Op) -> str:
    """How an op reads a value, see opdef.READS."""
    return next(way for way, operand in zip(OPS[op.kind].reads, op.inputs) if operand is value)


def _weight(value: Value, readers: list[Op], moved: dict[str, int]) -> None:
    *rows, columns = value.type.sizes()
    row_bytes = weight_format(value.type.dtype).row_bytes(columns)
    ways = [_read_as(value, op) for op in readers]
    if set(ways) == {"gathered"}:
        moved["row"] += row_bytes
    elif "experts" in ways:
        top = readers[ways.index("experts")].output.type.size(1)
        moved["row"] += top * rows[1] * row_bytes
    else:
        moved["step"] += math.prod(rows) * row_bytes


def _state(value: Value, source: Op, region: Op, moved: dict[str, int]) -> None:
    type = source.output.type
    if type.dtype != "kv":
        if value in region.inputs:
            moved["segment"] += 2 * 4 * math.prod(type.sizes(1))
        return
    heads, head = type.size(1), type.size(3)
    token = heads * sum(KV_FORMATS[source.attrs[f]].row_bytes(head) for f in ("k_format", "v_format"))
    if "cache" in {_read_as(value, op) for op in region.inner if value in op.inputs}:
        moved["context"] += token // type.every
    elif value in region.outputs:
        moved["row"] += token // type.every
