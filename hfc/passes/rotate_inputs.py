"""Gives linears whose weights are rotated the rotated input: (R w) · (R x) = w · x."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.ir.roles import is_product, reads_as


def rotate_inputs(graph: Graph, table_format: str | None = None) -> Graph:
    """One hadamard for each value that such a linear reads. Until this has run, the graph does not mean the model.

    table_format: what an embedding table becomes that is declared as rotated, where there is no file that says so."""
    graph = _without_rotated_tables(graph, table_format)
    rotated: dict[Value, Value] = {}
    ops: list[Op] = []
    for op in graph.ops:
        if is_product(op) and weight_format(op.inputs[1].type.dtype).rotated:
            x = op.inputs[0]
            if x not in rotated:
                rotated[x] = Value(f"{x.name}_rotated", x.type)
                group = weight_format(op.inputs[1].type.dtype).block
                ops.append(Op("hadamard", (x,), (rotated[x],), {"group": group}, span=op.span))
            op = op.rewired({x: rotated[x]})
        ops.append(op)
    return graph.with_ops(ops)


def _without_rotated_tables(graph: Graph, table_format: str | None) -> Graph:
    tables = {v for op in graph.ops for v in reads_as(op, "gathered") if weight_format(v.type.dtype).rotated}
    if not tables:
        return graph
    if table_format is None:
        table = next(iter(tables))
        raise HfcError(
            f"an embedding table is stored as {table.type.dtype}, whose rows are rotated", hint="keep it in q8_0"
        )
    new = {v: Value(v.name, TensorType(table_format, v.type.shape)) for v in tables}
    return graph.with_ops(op.rewired(new) for op in graph.ops)
