"""Gives linears whose weights are rotated the rotated input: (R w) · (R x) = w · x."""

from __future__ import annotations

from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.ir.graph import Graph, Op, TensorType, Value
from hfc.passes.fuse_linear import LINEAR


def rotate_inputs(graph: Graph, table_format: str | None = None) -> Graph:
    """One hadamard for each value that such a linear reads. Until this has run, the graph does not mean the model.

    table_format: what an embedding table becomes that is declared as rotated, where there is no file that says so."""
    graph = _without_rotated_tables(graph, table_format)
    rotated: dict[Value, Value] = {}
    ops: list[Op] = []
    for op in graph.ops:
        if op.kind in LINEAR and weight_format(op.inputs[1].type.dtype).rotated:
            x = op.inputs[0]
            if x not in rotated:
                rotated[x] = Value(f"{x.name}_rotated", x.type)
                ops.append(
                    Op(
                        "hadamard",
                        (x,),
                        (rotated[x],),
                        {"group": weight_format(op.inputs[1].type.dtype).block},
                        span=op.span,
                    )
                )
            op = Op(op.kind, (rotated[x], *op.inputs[1:]), op.outputs, op.attrs, span=op.span)
        ops.append(op)
    return graph.with_ops(ops)


def _without_rotated_tables(graph: Graph, table_format: str | None) -> Graph:
    tables = {v for op in graph.ops if op.kind == "gather" and weight_format((v := op.inputs[0]).type.dtype).rotated}
    if not tables:
        return graph
    if table_format is None:
        table = next(iter(tables))
        raise HfcError(
            f"an embedding table is stored as {table.type.dtype}, whose rows are rotated", hint="keep it in q8_0"
        )
    new = {v: Value(v.name, TensorType(table_format, v.type.shape)) for v in tables}
    swap = lambda values: tuple(new.get(v, v) for v in values)  # noqa: E731
    return graph.with_ops(
        Op(op.kind, swap(op.inputs), swap(op.outputs), op.attrs, op.body, op.span) for op in graph.ops
    )
