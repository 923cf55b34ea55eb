"""Grows a set of ops along its edges: the question every fusion asks is which neighbours may join."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hfc.ir.element import row_size
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.roles import is_view, is_view_or_elementwise, keeps_order


class Neighbours:
    """Who makes and who reads each value of one level of a graph."""

    def __init__(self, graph: Graph):
        self.producers, self.readers, self.outlive = graph.producers(), graph.readers(), graph.live_out()

    def absorb_back(self, values: Iterable[Value], group: set[Op], allowed: Callable[[Op], bool]) -> None:
        """Add the producers of `values` that are allowed and read by the group alone, and theirs, until nothing changes."""
        values, absorbed, before = list(values), set[Op](), -1
        while before != len(absorbed):
            before = len(absorbed)
            self._sweep(values, group, absorbed, allowed)

    def _sweep(self, values: list[Value], group: set[Op], absorbed: set[Op], allowed: Callable[[Op], bool]) -> None:
        stack = values + [v for op in absorbed for v in op.inputs]
        while stack:
            op = self.producers.get(stack.pop())
            if op is None or op.body or op in group or not allowed(op) or not self.only_reader(op, group):
                continue
            group.add(op)
            absorbed.add(op)
            stack.extend(op.inputs)

    def only_reader(self, op: Op, group: set[Op]) -> bool:
        """Nothing outside the group reads any result of the op, and none outlives the graph but the new value of a state."""
        rows = [v for v in op.outputs if v.type.shape[:1] != ("S",)]
        return not any(v in self.outlive or any(r not in group for r in self.readers.get(v, ())) for v in rows)

    def sole_reader(self, value: Value) -> Op | None:
        found = self.readers.get(value, [])
        return found[0] if len(found) == 1 and value not in self.outlive else None

    def absorb_forward(
        self,
        value: Value,
        group: set[Op],
        allowed: Callable[[Op], bool],
        taken: set[Op],
        beside: Callable[[Op], bool] = lambda _: False,
    ) -> Value:
        """Follow sole readers while they are allowed; views count only when an allowed op follows. Returns the last value.

        beside: what else may make their other operands."""
        end, pending = value, []
        while True:
            reader = self.sole_reader(value)
            if reader is None or reader in taken or reader.body or len(reader.outputs) != 1:
                return end
            if keeps_order(reader):
                pending.append(reader)
            elif allowed(reader) and row_size(reader.output) == row_size(end):
                group.update(pending, [reader])
                pending = []
                self.absorb_back(
                    [v for v in reader.inputs if v is not value],
                    group,
                    lambda o: o not in taken and (is_view_or_elementwise(o) or beside(o)),
                )
                end = reader.output
            else:
                return end
            value = reader.output


def origin(value: Value, producers: dict[Value, Op]) -> tuple:
    """The value behind views, with the views: equal for the clones of one view."""
    op = producers.get(value)
    if op is None or not is_view(op):
        return (value,)
    return (*origin(op.inputs[0], producers), op.kind, op.outputs.index(value), *sorted(op.attrs.items()))
