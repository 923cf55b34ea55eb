"""top: the largest few of each row and where they stand."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.top.region import TopRegion
from hfc.backend.spec import Bound
from hfc.ir.graph import Op
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[TopRegion]:
    (root,) = roots(region.inner, "top")
    size, top = root.inputs[0].type.size(-1), root.attrs.get("top", 1)
    made = TopRegion(
        size=size,
        top=top,
        x=printer.element(root.inputs[0], ("j",)),
        ids=printer.arg(root.outputs[-1], written=True),
        values=printer.arg(root.outputs[0], written=True) if len(root.outputs) > 1 else None,
    )
    return Bound("top", f"top{top}of{size}", tuple(printer.args), str(root.outputs[0].type.shape[0]), made)
