"""route: softmax over all experts, the best few, their weights renormalised."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.route.region import RouteRegion
from hfc.backend.spec import Bound
from hfc.ir.graph import Op


def bind(region: Op, printer: Printer) -> Bound[RouteRegion]:
    (route,) = (op for op in region.inner if op.kind == "route")
    logits = route.inputs[0]
    made = RouteRegion(
        experts=logits.type.size(-1),
        top=route.attrs["top"],
        normalize=route.attrs["normalize"],
        logits=printer.element(logits, ("j",)),
        weights=printer.arg(route.outputs[0], written=True),
        ids=printer.arg(route.outputs[1], written=True),
    )
    return Bound("route", f"route_{made.top}of{made.experts}", tuple(printer.args), "T", made)
