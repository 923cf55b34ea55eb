"""attend: attention over the KV cache, shared by the query heads of a group, and what scales its output."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.attend.region import AttendRegion
from hfc.backend.skeletons.linear.bind import always_read
from hfc.backend.spec import Bound
from hfc.formats import kv_format
from hfc.ir.element import row_shape
from hfc.ir.graph import Op
from hfc.ir.index import flat, reindex
from hfc.ir.roles import roots
from hfc.target.profiles import EXACT


def bind(region: Op, printer: Printer) -> Bound[AttendRegion]:
    (attend,) = roots(region.inner, "attend")
    q, cache, *vectors = attend.inputs
    heads, size = q.type.sizes(1)
    state = printer.sources[cache]
    keys, values = (kv_format(state.attrs[f]).sized(size) for f in ("k_format", "v_format"))
    query = printer.element(q, ("g", "j"))
    if keys.rotates_pairs:
        query = f"hfc_kv_{keys.name}_rotate_pair(j, {query}, {printer.element(q, ('g', '(j ^ 1)'))})"
    printer.leaves[attend.output] = lambda _index: "y"
    stores, before = [], len(printer.reads)
    for value in region.outputs:
        shape = row_shape(value)
        index = reindex(("g", "j"), (heads, size), shape)
        expression = printer.element(value, index)
        target = printer.arg(value, written=True)
        stores.append(
            f"{target.name}[(size_t)row * {heads * size} + {flat(('g', 'j'), (heads, size))}] = {expression};"
        )
    bound = AttendRegion(
        heads=heads,
        kv_heads=state.output.type.size(1),
        size=size,
        capacity=printer.settings.context,
        scale=attend.attrs["scale"],
        window=attend.attrs["window"],
        softcap=attend.attrs["softcap"],
        causal=attend.attrs["causal"],
        first=attend.attrs["first"],
        q=query,
        walsh=keys.walsh,
        k=printer.arg(cache, plane="k"),
        v=printer.arg(cache, plane="v"),
        k_format=keys,
        v_format=values,
        store=" ".join(stores),
        store_reads=always_read(printer.reads[before:], *stores),
        sink=printer.element(vectors[0], ("g",)) if vectors else "",
        slope=printer.element(vectors[1], ("g",)) if len(vectors) > 1 else "",
        rounds=printer.settings.profile != EXACT,
    )
    name = f"attend_{keys.name}_h{heads}_kv{bound.kv_heads}_d{size}"
    return Bound("attend", name, tuple(printer.args), "T", bound)
