"""route: softmax over all experts, the best few, their weights renormalised."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.spec import Bound, KernelSpec
from hfc.ir.graph import Op


def bind(region: Op, printer: Printer) -> Bound:
    (route,) = (op for op in region.body.ops if op.kind == "route")
    logits = route.inputs[0]
    extra = {
        "experts": logits.type.shape[-1],
        "top": route.attrs["top"],
        "normalize": route.attrs["normalize"],
        "logits": printer.element(logits, ("j",)),
        "weights": printer.arg(route.outputs[0], written=True),
        "ids": printer.arg(route.outputs[1], written=True),
    }
    return Bound("route", f"route_{extra['top']}of{extra['experts']}", printer.args, "T", extra)


KERNEL = KernelSpec("route", ("route",), bind)
