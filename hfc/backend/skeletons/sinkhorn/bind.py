"""sinkhorn: a small matrix for each row."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.sinkhorn.region import SinkhornRegion
from hfc.backend.spec import Bound
from hfc.ir.graph import Op
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[SinkhornRegion]:
    (root,) = roots(region.inner, "sinkhorn")
    made = SinkhornRegion(
        size=root.output.type.size(1),
        rounds=root.attrs["rounds"],
        eps=root.attrs["eps"],
        x=printer.element(root.inputs[0], ("g", "j")),
        out=printer.arg(root.output, written=True),
    )
    return Bound("sinkhorn", f"sinkhorn_n{made.size}", tuple(printer.args), str(root.output.type.shape[0]), made)
