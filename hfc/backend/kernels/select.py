"""select: one candidate a row, each judged with the one chosen for the row before."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.spec import Bound, KernelSpec
from hfc.ir.graph import Op


def bind(region: Op, printer: Printer) -> Bound:
    (root,) = (op for op in region.body.ops if op.kind == "select_candidates")
    scores, candidates, query, before, after, tokens = root.inputs
    top, rank = scores.type.shape[1], query.type.shape[1]
    tables = (before.type.dtype, after.type.dtype)
    extra = {
        "top": top,
        "rank": rank,
        "scores": printer.element(scores, ("c",)),
        "candidates": printer.element(candidates, ("c",)),
        "query": printer.element(query, ("r",)),
        "before": printer.load(before, ("last", "r"), "row"),
        "after": printer.load(after, ("id", "r"), "row"),
        "tokens": printer.element(tokens, ()),
        "chosen": printer.arg(root.output, written=True),
        "weight_formats": tuple(dict.fromkeys(name for name in tables if name != "f32")),
    }
    return Bound("select", f"select_{top}_r{rank}", printer.args, "T", extra)


KERNEL = KernelSpec("select", ("select_candidates",), bind)
