"""What each op makes of values that ranks share out: found by walking the graph until every product's share satisfies all who read it.

A product of rows that all ranks have is cut by its outputs ("by columns"), and one whose inputs are cut, by its inputs ("by rows"):
its results are then a term of a sum over the ranks. In between values stay cut along one axis. What an op cannot do with a
cut value, makes the products behind it whole again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from fractions import Fraction

from hfc.base.dataclass import dataclass
from hfc.base.diagnostics import HfcError
from hfc.formats import weight_format
from hfc.ir.element import is_row_value, row_shape
from hfc.ir.graph import Graph, Op, Value
from hfc.ir.roles import is_elementwise, is_product, is_view, of_experts, reduces
from hfc.passes.shares import (
    BLOCKS,
    HEADS,
    Share,
    cut,
    free_share,
    in_units,
    local_size,
    pieces,
    scaled,
    section,
    size_of,
    united,
)


@dataclass(eq=False)
class SharedProduct:
    """A product that is cut by its outputs. share: of them; None for one that every rank computes whole."""

    op: Op
    share: Share | None


@dataclass(frozen=True)
class Origin:
    """Elements of a product's outputs that an axis is made of: from `start` on, `per` of them for each of the axis."""

    product: SharedProduct
    start: int
    per: Fraction


@dataclass(frozen=True)
class Split:
    """A value cut along one axis (counted behind its rows, or behind the slots of a state)."""

    axis: int
    share: Share
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Term:
    """Every rank has a term of it; the value is their sum, in the order of the ranks."""


@dataclass(frozen=True)
class Unknown:
    """It hangs on a product whose share has just changed."""


WHOLE, TERM, UNKNOWN = None, Term(), Unknown()
Layout = Split | Term | Unknown | None
Rule = Callable[["Shares", Op], "Layout | tuple[Layout, ...]"]
LINEAR = ("add", "sub", "neg", "scale", "mul", "div")  # elementwise ops that may pass terms on


@dataclass(eq=False)
class Shares:
    """The layout of every value of a graph for so many ranks. rules: of kinds of ops.  by_rows: products cut by their inputs."""

    graph: Graph
    ranks: int
    rules: Mapping[str, Rule]
    layouts: dict[Value, Layout] = field(default_factory=dict)
    by_rows: dict[Op, Split] = field(default_factory=dict)
    products: dict[Op, SharedProduct] = field(default_factory=dict)
    _changed: bool = False

    def find(self) -> Shares:
        """Walk until nothing changes, then check that the ranks can have what was found. HfcError that names what they cannot."""
        makers = self.graph.producers()
        roots = {new: state for state, new in self.graph.updates.items()}
        while True:
            self._changed = False
            self.layouts, self.by_rows = {}, {}
            for op in self.graph.ops:
                if not op.is_source:
                    self._visit(op)
            for value in self.graph.outputs:
                self._finish(value, makers.get(value))
            if not self._changed:
                break
        for new, state in roots.items():
            self.layouts[state] = self.layouts.get(new)
        self._check()
        return self

    def _visit(self, op: Op) -> None:
        found = [self.layouts.get(v) for v in op.inputs]
        made: Layout | tuple[Layout, ...]
        if any(layout is UNKNOWN for layout in found):
            made = UNKNOWN
        elif is_product(op):
            made = self._product(op)
        elif is_elementwise(op):
            made = self._elementwise(op)
        elif op.kind in self.rules:
            made = self.rules[op.kind](self, op)
        elif reduces(op):
            made = self.along(op, last=False)
        else:
            made = self.whole(op)
        self.layouts.update(zip(op.outputs, made if isinstance(made, tuple) else (made,) * len(op.outputs)))

    def splits(self, values: Iterable[Value]) -> list[Split]:
        return [layout for v in values if isinstance(layout := self.layouts.get(v), Split)]

    def keep_whole(self, splits: Iterable[Split]) -> Layout:
        """Every rank computes the products behind these values whole."""
        for split in splits:
            for origin in split.origins:
                if origin.product.share is not None:
                    origin.product.share = None
                    self._changed = True
        return UNKNOWN

    def ask(self, splits: list[Split], share: Share | None) -> Layout:
        """Have these values shared out so. None if they are; else they are found again, or are whole from now on."""
        if share is None:
            return self.keep_whole(splits)
        wanted = [split for split in splits if united(split.share, share) != split.share]
        for split in wanted:
            if not all(self._ask_origin(origin, share) for origin in split.origins):
                return self.keep_whole(splits)
        return UNKNOWN if wanted else None

    def _ask_origin(self, origin: Origin, share: Share) -> bool:
        own, start = scaled(share, origin.per), origin.start
        product = origin.product
        if own is None or product.share is None:
            return False
        end = start + size_of(own)
        before = product.share
        apart = cut(before, start)
        apart = apart and cut(apart, end)
        inner = apart and section(apart, start, end)
        if not apart or not inner:
            return False
        made = united(inner, own)
        if made is None:
            return False
        product.share = (*(section(apart, 0, start) or ()), *made, *(section(apart, end, size_of(apart)) or ()))
        self._changed |= product.share != before
        return True

    def whole(self, op: Op) -> Layout:
        """What cannot be cut: its operands must be whole, and sums are made before it."""
        splits = self.splits(op.inputs)
        return self.keep_whole(splits) if splits else WHOLE

    def _product(self, op: Op) -> Layout:
        x, w = op.inputs[:2]
        layout, last = self.layouts.get(x), len(row_shape(x)) - 1
        if self.splits(op.inputs[2:]):
            return self.whole(op)
        if isinstance(layout, Split):
            if layout.axis != last:
                return self.whole(op) if of_experts(op) else layout
            return self._by_rows(op, layout, w)
        size = op.output.type.size(-1)
        share = free_share(size, self.ranks) if size >= self.ranks else None
        product = self.products.setdefault(op, SharedProduct(op, share))
        if product.share is None:
            return WHOLE
        return Split(len(row_shape(op.output)) - 1, product.share, (Origin(product, 0, Fraction(1)),))

    def _by_rows(self, op: Op, split: Split, w: Value) -> Layout:
        asked = self.ask([split], in_units(split.share, weight_format(w.type.dtype).block, BLOCKS) or split.share)
        if asked is UNKNOWN:
            return UNKNOWN
        self.by_rows[op] = split
        return TERM

    def _elementwise(self, op: Op) -> Layout:
        rows = [v for v in op.inputs if is_row_value(v)]
        splits, terms = self.splits(rows), [v for v in rows if self.layouts.get(v) is TERM]
        if not splits:
            return TERM if terms and _passes_terms(op, rows, terms) else WHOLE
        axis, share = splits[0].axis, splits[0].share
        size = row_shape(op.output)[axis]
        whole = [v for v in rows if not isinstance(self.layouts.get(v), Split)]
        if any(split.axis != axis for split in splits) or any(row_shape(v)[axis] == size for v in whole):
            return self.keep_whole(splits)
        for split in splits[1:]:
            both = united(share, split.share)
            if both is None:
                return self.keep_whole(splits)
            share = both
        return self.ask(splits, share) or Split(
            axis, splits[0].share, tuple(dict.fromkeys(o for split in splits for o in split.origins))
        )

    def along(self, op: Op, last: bool) -> Layout:
        """An op that keeps the axis of its first operand. last: it may be the last one."""
        layout = self.layouts.get(op.inputs[0])
        if not isinstance(layout, Split):
            return WHOLE
        if (not last and layout.axis == len(row_shape(op.inputs[0])) - 1) or self.splits(op.inputs[1:]):
            return self.whole(op)
        return layout

    def _finish(self, value: Value, maker: Op | None) -> None:
        """What the graph gives out is put together, if it lies in memory in equal pieces."""
        layout = self.layouts.get(value)
        if not isinstance(layout, Split):
            return
        if maker is None or is_view(maker):
            self.keep_whole([layout])
            return
        sizes = {local_size(layout.share, rank, self.ranks) for rank in range(self.ranks)}
        is_last = layout.axis == len(row_shape(value)) - 1
        if len(layout.share) > 1 or len(sizes) > 1 or layout.share[0].is_repeated(self.ranks) or not is_last:
            self.keep_whole([layout])

    def _check(self) -> None:
        for product in self.products.values():
            for run in product.share or ():
                if not run.fits(self.ranks):
                    what = "heads" if run.kind == HEADS else f"parts of {run.unit}"
                    self._refuse(
                        product.op, f"has {run.units} {what}, which {self.ranks} devices cannot share out evenly"
                    )
        for op, split in self.by_rows.items():
            block = weight_format(op.inputs[1].type.dtype).block
            if any(run.is_repeated(self.ranks) for run in split.share):
                self._refuse(op, f"reads {split.share[0].units} heads, fewer than {self.ranks} devices")
            borders = [
                at for rank in range(self.ranks) for piece in pieces(split.share, rank, self.ranks) for at in piece
            ]
            if any(at % block for at in borders):
                dtype = op.inputs[1].type.dtype
                self._refuse(
                    op,
                    f"is {dtype}, whose blocks of {block} would be cut at {next(at for at in borders if at % block)}",
                )
        if not self.by_rows:
            raise HfcError(f"--tensor-parallel {self.ranks}: nothing of {self.graph.name} can be shared out")

    def _refuse(self, op: Op, why: str) -> None:
        made = next(o for o in self.graph.ops if o.is_weight and o.output is op.inputs[1])
        raise HfcError(
            f"--tensor-parallel {self.ranks}: {made.attrs['name']} {why}",
            op.span,
            "take fewer devices, or a pipeline: --stages",
        )


def _passes_terms(op: Op, rows: list[Value], terms: list[Value]) -> bool:
    """The same op on every rank's term gives terms of its result."""
    if op.kind not in LINEAR:
        return False
    if op.kind in ("add", "sub"):
        return len(terms) == len(op.inputs)
    return len(terms) == 1 and op.inputs[0 if op.kind == "div" else op.inputs.index(terms[0])] is terms[0]
