"""choose: scores of the keys of a cache, and the best positions."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.choose.region import ChooseRegion
from hfc.backend.spec import Bound
from hfc.formats import kv_format
from hfc.ir.graph import Op
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[ChooseRegion]:
    (root,) = roots(region.inner, "choose")
    q, weights, cache = root.inputs
    heads, size = q.type.sizes(1)
    keys = kv_format(printer.sources[cache].attrs["k_format"]).sized(size)
    query = printer.element(q, ("g", "j"))
    if keys.rotates_pairs:
        query = f"hfc_kv_{keys.name}_rotate_pair(j, {query}, {printer.element(q, ('g', '(j ^ 1)'))})"
    made = ChooseRegion(
        heads=heads,
        size=size,
        top=root.attrs["top"],
        every=cache.type.every,
        capacity=cache.type.places(printer.settings.context),
        q=query,
        weight=printer.element(weights, ("g",)),
        k=printer.arg(cache, plane="k"),
        k_format=keys,
        walsh=keys.walsh,
        ids=printer.arg(root.output, written=True),
    )
    return Bound("choose", f"choose{made.top}_h{heads}_d{size}", tuple(printer.args), "T", made)
