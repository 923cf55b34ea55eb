"""The IR: a graph is a list of ops in SSA form; a kernel region is an op with a body.

    %h: f32[T, 576] = rms_norm(%x, %w) {eps=1e-05}

Symbolic sizes: T rows of the step, R rows whose logits are wanted, S slots, C context. All objects compare by identity.
A kernel region (`kind == "kernel"`) groups ops that become one device function. Its body uses the surrounding values by
name and its outputs are values that its body defines, so inlining a region is just removing its braces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import Span

REGION = "kernel"
INPUT = "input"  # stands for the op of a graph's inputs where every value needs one
SOURCES = ("weight", "state", "const", "peer")  # ops without inputs, never inside a region


@dataclass(frozen=True)
class TensorType:
    """dtype: a scalar type (f32, i32), a weight format name (q4_k, bf16) or "kv"; shape: ints and symbols."""

    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    def size(self, axis: int) -> int:
        """An axis whose size is a number; TypeError for a symbol, which a type rule did not expect there."""
        (size,) = self.sizes(axis, axis + 1 or None)
        return size

    @property
    def every(self) -> int:
        """Of a cache: of how many positions one has a place. kv[S, heads, C, head]: each; kv[S, heads, C4, head]: the last of four."""
        return int(str(self.shape[2])[1:] or 1)

    def places(self, context: int) -> int:
        """Of a cache, in a slot of so many positions."""
        return -(-context // self.every)

    @property
    def rows(self) -> str:
        """The symbol of the first axis of what a step computes: T, R."""
        assert isinstance(self.shape[0], str), f"{self} has no rows"
        return self.shape[0]

    def sizes(self, start: int = 0, stop: int | None = None) -> tuple[int, ...]:
        """Some axes whose sizes are numbers."""
        found = self.shape[start:stop]
        if not all(isinstance(n, int) for n in found):
            raise TypeError(f"{self}: a size that is known only at run time stands where a number must be")
        return tuple(int(n) for n in found)

    def with_shape(self, *shape: int | str) -> "TensorType":
        return TensorType(self.dtype, tuple(shape))


@dataclass(eq=False)
class Value:
    """A typed result. Immutable; memory is a buffer, which is the plan's business."""

    name: str
    type: TensorType

    def __repr__(self) -> str:
        return f"%{self.name}"


@dataclass(eq=False)
class Op:
    """One operation. `attrs` holds plain data only (numbers, strings, bools, tuples of them, recipes)."""

    kind: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    body: "Graph | None" = None
    span: Span | None = None

    @property
    def is_region(self) -> bool:
        return self.kind == REGION

    @property
    def is_source(self) -> bool:
        return self.kind in SOURCES

    @property
    def is_input(self) -> bool:
        return self.kind == INPUT

    @property
    def is_weight(self) -> bool:
        return self.kind == "weight"

    @property
    def is_state(self) -> bool:
        return self.kind == "state"

    @property
    def is_const(self) -> bool:
        return self.kind == "const"

    @property
    def is_peer(self) -> bool:
        return self.kind == "peer"

    @property
    def inner(self) -> "list[Op]":
        """The ops of a region."""
        assert self.body is not None, f"{self} is no region"
        return self.body.ops

    @property
    def output(self) -> Value:
        assert len(self.outputs) == 1, f"{self.kind} has {len(self.outputs)} outputs"
        return self.outputs[0]

    def rewired(self, new: "Mapping[Value, Value]") -> "Op":
        """The op on other values: `new` stands in for its operands and results, inside of a region too."""
        if not any(v in new for v in (*self.inputs, *self.outputs)):
            return self
        if self.body is not None:
            body = [op.rewired(new) for op in self.body.ops]
            return region(body, [new.get(v, v) for v in self.outputs], self.attrs)
        inputs, outputs = (tuple(new.get(v, v) for v in values) for values in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)

    def with_attrs(self, **attrs: Any) -> "Op":
        return replace(self, attrs={**self.attrs, **attrs})

    def __repr__(self) -> str:
        return f"<{', '.join(map(repr, self.outputs))} = {self.kind}>"


@dataclass(eq=False)
class Graph:
    """`inputs` (tokens), `ops` in execution order, `outputs` (logits, taps), `updates`: state value -> its new value."""

    name: str
    inputs: list[Value]
    ops: list[Op]
    outputs: list[Value]
    updates: dict[Value, Value] = field(default_factory=dict)

    def walk(self) -> Iterator[Op]:
        """Every op, region bodies included, in execution order; a kernel op comes before its body."""
        for op in self.ops:
            yield op
            if op.body:
                yield from op.body.walk()

    def ops_of(self, *kinds: str) -> list[Op]:
        return [op for op in self.walk() if op.kind in kinds]

    def producers(self) -> dict[Value, Op]:
        """The op of this level (not of bodies) that defines each value."""
        return {value: op for op in self.ops for value in op.outputs}

    def readers(self) -> dict[Value, list[Op]]:
        """The ops of this level that read each value, in order, each once."""
        found: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in dict.fromkeys(op.inputs):
                found.setdefault(value, []).append(op)
        return found

    def live_out(self) -> set[Value]:
        """Values that outlive the graph: outputs and new states."""
        return {*self.outputs, *self.updates.values()}

    def with_ops(self, ops: Iterable[Op]) -> "Graph":
        """The same graph with another op list."""
        return Graph(self.name, self.inputs, list(ops), self.outputs, dict(self.updates))


def region(ops: list[Op], outputs: list[Value], attrs: dict[str, Any]) -> Op:
    """A kernel region around `ops`: its inputs are the outside values they read, in order of first use."""
    inside = {v for op in ops for v in op.outputs}
    inputs = tuple(dict.fromkeys(v for op in ops for v in op.inputs if v not in inside))
    body = Graph("kernel", list(inputs), list(ops), list(outputs))
    return Op(REGION, inputs, tuple(outputs), dict(attrs), body, next((op.span for op in ops if op.span), None))
