"""x + norm(y), norms after sublayers: each projection that reads such a sum computes it again, and so does the next sum.

    x1 = x + norm(attention)            kernel linear { x1', norm(x1'), gate, up }
    gate, up = linear(norm(x1))   ->    ...
    x2 = x1 + norm(mlp)                 kernel map { x1, x2 }

Then no launch is needed for x1 alone. The sum after it is kept in memory, so that nothing is computed from further back; but a narrow
projection, which few thread blocks make, computes that one again, too: the gate of an input of each layer's own.
"""

from __future__ import annotations

from collections.abc import Callable

from hfc.ir.element import row_shape
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.roles import is_constant, is_elementwise, is_product, reduces
from hfc.passes.absorb import Neighbours

MOST_COPIES = 3  # projections that compute a sum again: more of them read more than the launch costs
NARROW = 4  # times as many inputs as outputs has a projection that computes two sums again


def clone_sums(graph: Graph, inputs_of: Callable[[Op], list[Value]]) -> tuple[Graph, frozenset[Op]]:
    """The graph with copies of sums in front of the linear regions that read them, and the ops of the copies.

    inputs_of: what a linear region reads as the input of its products."""
    copies: set[Op] = set()
    for candidate in [op for op in graph.ops if op.kind == "add" and not op.body]:
        near = Neighbours(graph)
        chain = _chain(candidate, near)
        readers = _projections(candidate.output, near, inputs_of) if chain else []
        if not readers or (sum(map(reduces, chain)) > 1 and not all(_is_narrow(near, reader) for reader in readers)):
            continue
        ops: list[Op] = []
        for op in graph.ops:
            if op in readers:
                made, copied = _copied(chain, candidate.output, op)
                ops += made
                copies.update(made)
                op = op.rewired({candidate.output: copied})
            ops.append(op)
        graph = graph.with_ops(ops)
    return graph, frozenset(copies)


def _chain(last: Op, near: Neighbours) -> list[Op]:
    """The sum with the one or two norms in it and what is elementwise around them, in order; empty if it is another kind of sum."""
    group = {last}
    near.absorb_back(last.inputs, group, lambda op: reduces(op) or is_elementwise(op) or is_constant(op))
    norms = [op for op in group if reduces(op)]
    flat = all(len(row_shape(v)) == 1 for op in group if not is_constant(op) for v in op.outputs)
    whole = all(norm.inputs[0].type.shape == last.output.type.shape for norm in norms)
    if len(norms) not in (1, 2) or not flat or not whole:
        return []
    return [op for op in near.producers.values() if op in group]


def _projections(value: Value, near: Neighbours, inputs_of: Callable[[Op], list[Value]]) -> list[Op]:
    """Whom to give a copy: linear regions, or the norm that one of them reads. Empty unless one more op, elementwise, reads the value."""

    def is_input(read: Value, reader: Op) -> bool:
        return reader.attrs.get("stem") == "linear" and read in inputs_of(reader)

    found: list[Op] = []
    others: list[Op] = []
    for reader in near.readers.get(value, []):
        next_reader = near.sole_reader(reader.output) if reduces(reader) else None
        fits = is_input(value, reader) or (next_reader is not None and is_input(reader.output, next_reader))
        (found if fits else others).append(reader)
    if value in near.outlive or len(others) != 1 or not is_elementwise(others[0]) or len(found) > MOST_COPIES:
        return []
    return found


def _is_narrow(near: Neighbours, reader: Op) -> bool:
    """The region that reads the value, or its norm, has few outputs."""
    region = reader if reader.body else near.sole_reader(reader.output)
    assert region, "a copy goes to a region or to the norm that one reads"
    products = [op.inputs[1].type for op in region.inner if is_product(op)]
    return all(NARROW * weight.size(-2) <= weight.size(-1) for weight in products)


def _copied(chain: list[Op], result: Value, reader: Op) -> tuple[list[Op], Value]:
    """The ops again with values of their own, and what stands for `result`."""
    own: dict[Value, Value] = {}
    made = []
    for op in chain:
        own |= {v: Value(f"{v.name}_{reader.outputs[0].name}", v.type) for v in op.outputs}
        made.append(op.rewired(own))
    return made, own[result]
