"""A region that passes/host_experts made -> the pointers that the host's part of a step is handed."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.spec import Bound, KernelRegion
from hfc.base.dataclass import dataclass
from hfc.ir.element import is_row_value
from hfc.ir.graph import Op


@dataclass(frozen=True)
class HostedRegion(KernelRegion):
    """number: of the part of the host's plan."""

    number: int

    @property
    def host_part(self) -> int | None:
        return self.number


def bind(region: Op, printer: Printer) -> Bound[HostedRegion]:
    for value in filter(is_row_value, region.inputs):
        printer.arg(value)
    (made,) = region.outputs
    printer.arg(made, written=True)
    number = region.attrs["number"]
    return Bound("hosted", f"hosted_{number}", tuple(printer.args), str(made.type.rows), HostedRegion(number))
