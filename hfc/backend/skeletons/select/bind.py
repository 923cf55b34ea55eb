"""select: one candidate a row, each judged with the one chosen for the row before."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.select.region import SelectRegion
from hfc.backend.spec import Bound
from hfc.formats import block_format
from hfc.ir.graph import Op
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[SelectRegion]:
    (root,) = roots(region.inner, "select")
    scores, candidates, query, before, after, tokens = root.inputs
    top, rank = scores.type.size(1), query.type.size(1)
    tables = dict.fromkeys((before.type.dtype, after.type.dtype))
    made = SelectRegion(
        top=top,
        rank=rank,
        scores=printer.element(scores, ("c",)),
        candidates=printer.element(candidates, ("c",)),
        query=printer.element(query, ("r",)),
        before=printer.load(before, ("last", "r"), "row"),
        after=printer.load(after, ("id", "r"), "row"),
        tokens=printer.element(tokens, ()),
        chosen=printer.arg(root.output, written=True),
        tables=tuple(block_format(name) for name in tables if name != "f32"),
    )
    return Bound("select", f"select_{top}_r{rank}", tuple(printer.args), "T", made)
