"""conv: a causal depthwise convolution that stands alone, its window in place."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.conv.region import ConvRegion
from hfc.backend.spec import Bound
from hfc.ir.element import row_shape
from hfc.ir.graph import Op
from hfc.ir.index import reindex


def bind(region: Op, printer: Printer) -> Bound[ConvRegion]:
    (conv,) = (op for op in region.inner if op.kind == "causal_conv")
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
        store=_store(region, channels, printer),
        journal_rows=rows,
        inputs_journal=printer.arg(window, written=True, plane="journal") if rows else None,
    )
    return Bound("conv", f"conv_c{channels}_t{taps}", tuple(printer.args), "T", made)


def _store(region: Op, channels: int, printer: Printer) -> str:
    """Channel j of what follows the convolution."""
    stores = []
    for value in region.outputs:
        if value.type.shape[:1] == ("T",):  # the new window lies in place
            made = printer.element(value, reindex(("j",), (channels,), row_shape(value)))
            stores.append(f"{printer.arg(value, written=True).name}[(size_t)row * {channels} + j] = {made};")
    return " ".join(stores)
