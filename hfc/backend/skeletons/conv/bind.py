"""conv: a causal depthwise convolution that stands alone, its window in place."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.conv.region import ConvRegion
from hfc.backend.spec import Bound
from hfc.ir.graph import Op
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[ConvRegion]:
    (conv,) = roots(region.inner, "conv")
    u, weight, window = conv.inputs
    channels, taps = weight.type.sizes()
    load = printer.element(u, ("j",))
    weights = printer.arg(weight)
    kept = printer.arg(window, written=True)
    printer.leaves[conv.outputs[0]] = lambda _index: "c"
    rows = printer.settings.journal_rows
    made = ConvRegion(
        channels=channels,
        taps=taps,
        u=load,
        conv=weights,
        window=kept,
        store=printer.stores(("j",), (channels,)),
        journal_rows=rows,
        inputs_journal=printer.arg(window, written=True, plane="journal") if rows else None,
    )
    return Bound("conv", f"conv_c{channels}_t{taps}", tuple(printer.args), "T", made)
