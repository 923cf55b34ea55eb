"""entries: attention over the last positions of a cache and over entries of another one."""

from __future__ import annotations

from hfc.backend.body import Printer
from hfc.backend.skeletons.entries.region import CacheRead, EntriesRegion
from hfc.backend.spec import Bound
from hfc.formats import kv_format
from hfc.ir.element import row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.index import flat, reindex
from hfc.ir.roles import roots


def bind(region: Op, printer: Printer) -> Bound[EntriesRegion]:
    (attend,) = roots(region.inner, "entries")
    q, kv, entries, *more = attend.inputs
    heads, size = q.type.sizes(1)
    near = cache_read(kv, q, printer) if attend.attrs["window"] else None
    read = cache_read(entries, q, printer)
    sink = printer.element(more[0], ("g",)) if more else ""
    chosen = printer.element(more[1], ("i",)) if len(more) > 1 else ""
    printer.leaves[attend.output] = lambda _index: "y"
    stores = []
    for value in region.outputs:
        expression = printer.element(value, reindex(("g", "j"), (heads, size), row_shape(value)))
        place = f"(size_t)row * {heads * size} + {flat(('g', 'j'), (heads, size))}"
        stores.append(f"{printer.arg(value, written=True).name}[{place}] = {expression};")
    made = EntriesRegion(
        heads=heads,
        kv_heads=kv.type.size(1),
        size=size,
        scale=attend.attrs["scale"],
        window=attend.attrs["window"],
        every=entries.type.every,
        top=more[1].type.size(1) if chosen else 0,
        near=near,
        entries=read,
        chosen=chosen,
        sink=sink,
        store=" ".join(stores),
    )
    name = f"entries_h{heads}_kv{made.kv_heads}_d{size}" + (f"_top{made.top}" if chosen else "")
    return Bound("entries", name, tuple(printer.args), "T", made)


def cache_read(cache: Value, q: Value, printer: Printer) -> CacheRead:
    state, size = printer.sources[cache], q.type.size(2)
    keys, values = (kv_format(state.attrs[f]).sized(size) for f in ("k_format", "v_format"))
    query = printer.element(q, ("g", "j"))
    if keys.rotates_pairs:
        query = f"hfc_kv_{keys.name}_rotate_pair(j, {query}, {printer.element(q, ('g', '(j ^ 1)'))})"
    places = cache.type.places(printer.settings.context)
    k, v = (printer.arg(cache, plane=plane) for plane in "kv")
    return CacheRead(k, v, places, keys, values, query, keys.walsh)
