"""Grows a set of ops along its edges: the question every fusion asks is which neighbours may join."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hfc.ir.element import row_size
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.roles import is_elementwise, is_view, is_view_or_elementwise, keeps_order

MOST_USES = 16  # of a value in one expression that is printed for an element


class Neighbours:
    """Who makes and who reads each value of one level of a graph."""

    def __init__(self, graph: Graph):
        self.producers, self.readers, self.outlive = graph.producers(), graph.readers(), graph.live_out()
        self.place = {op: at for at, op in enumerate(graph.ops)}

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
        """Follow sole readers while they are allowed, or several that meet again; views count only when an allowed op follows.
        Returns the last value.

        beside: what else may make their other operands."""
        end, pending = value, list[Op]()
        while True:
            reader = self.sole_reader(value)
            if reader is None:
                members = self.meeting(value, allowed, taken)
                if not members:
                    return end
            elif reader in taken or reader.body or len(reader.outputs) != 1:
                return end
            elif keeps_order(reader):
                pending.append(reader)
                value = reader.output
                continue
            elif allowed(reader) and row_size(reader.output) == row_size(end):
                members = [reader]
            else:
                return end
            made = {value, *(v for op in members for v in op.outputs)}
            group.update(pending, members)
            pending = []
            self.absorb_back(
                [v for op in members for v in op.inputs if v not in made],
                group,
                lambda o: o not in taken and (is_view_or_elementwise(o) or beside(o)),
            )
            end = value = members[-1].output

    def meeting(self, value: Value, allowed: Callable[[Op], bool], taken: set[Op]) -> list[Op]:
        """The ops through which all readers of a value meet again in one result, the last one's: x * sigmoid(x).  []: they do not."""
        uses, members = {value: 1}, list[Op]()  # how often an expression of each would name the value
        while True:
            waiting = {v: [r for r in self.readers.get(v, ()) if r not in members] for v in uses}
            ready = {v: readers for v, readers in waiting.items() if readers or v in self.outlive}
            if members and [*ready] == [members[-1].output]:
                return members
            op = min((r for readers in ready.values() for r in readers), key=self.place.__getitem__, default=None)
            if op is None or op in taken or op.body or not (keeps_order(op) or is_elementwise(op) and allowed(op)):
                return []
            uses[op.output] = sum(uses.get(v, 0) for v in op.inputs)
            if uses[op.output] > MOST_USES or row_size(op.output) != row_size(value):
                return []
            members.append(op)


def origin(value: Value, producers: dict[Value, Op]) -> tuple:
    """The value behind views, with the views: equal for the clones of one view."""
    op = producers.get(value)
    if op is None or not is_view(op):
        return (value,)
    return (*origin(op.inputs[0], producers), op.kind, op.outputs.index(value), *sorted(op.attrs.items()))
