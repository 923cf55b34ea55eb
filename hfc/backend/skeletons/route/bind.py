"""route: scores over all experts, the best few, their shares."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.route.region import RouteRegion
from hfc.backend.spec import Bound
from hfc.ir.graph import Op
from hfc.ir.opdef import OPS
from hfc.ir.ops.experts import ranks_by_logits
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[RouteRegion]:
    (route,) = roots(region.inner, "route")
    logits, *bias = route.inputs
    attrs = OPS["route"].complete(route.attrs)
    made = RouteRegion(
        experts=logits.type.size(-1),
        logits=printer.element(logits, ("j",)),
        bias=printer.element(bias[0], ("j",)) if bias else "",
        by_logits=ranks_by_logits(bool(bias), attrs["groups"], attrs["group_best"]),
        weights=printer.arg(route.outputs[0], written=True),
        ids=printer.arg(route.outputs[1], written=True),
        **attrs,
    )
    return Bound("route", f"route_{made.top}of{made.experts}", tuple(printer.args), str(logits.type.shape[0]), made)
