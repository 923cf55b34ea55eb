"""map: row-local vectors: embedding, norms, RoPE, the write into the KV cache, sums over experts."""

from __future__ import annotations

import math

from hfc.backend.body import Printer
from hfc.backend.lanes.kv_rows import row_of
from hfc.backend.skeletons.map.region import MapRegion, Task
from hfc.backend.spec import Bound, Stat
from hfc.formats import block_format, kv_format
from hfc.formats.kv_format import KvFormat
from hfc.ir.element import row_shape
from hfc.ir.graph import Op, Value
from hfc.ir.index import flat
from hfc.ir.roles import exchanges, is_view_or_elementwise, reads_as, writes_cache


def bind(region: Op, printer: Printer) -> Bound[MapRegion]:
    producers = {v: op for op in region.inner for v in op.outputs}
    tasks, formats = [], []
    for output in region.outputs:
        op = producers[output]
        if writes_cache(op):
            some = _cache_tasks(op, printer)
            source = printer.sources[op.inputs[0]]
            formats += [kv_format(source.attrs[f]).sized(source.output.type.size(3)) for f in ("k_format", "v_format")]
        else:
            some = [_task(output, printer)]
        tasks += some
    tables = [table.type.dtype for op in region.inner for table in reads_as(op, "gathered")]
    own = [v for op in region.inner if exchanges(op) for v in op.inputs if v not in printer.sources]
    meets = own and printer.settings.arch.watches_peers
    made = MapRegion(
        tuple(tasks),
        tuple(block_format(name) for name in dict.fromkeys(tables) if name != "f32"),
        tuple({f.name: f for f in formats}.values()),
        bool(own),
        printer.meeting(own[0]).name if meets else "",
    )
    words = [op.kind for op in region.inner if not is_view_or_elementwise(op)]
    name = "_".join(["map", *dict.fromkeys(words)])
    rows = "T" if formats else str(region.outputs[0].type.shape[0])
    return Bound("map", name, tuple(printer.args), rows, made)


def _task(value: Value, printer: Printer) -> Task:
    shape = row_shape(value)
    size = shape[-1] if shape else 1
    groups = math.prod(shape[:-1])
    printer.fresh_stats()
    index = _index(shape)
    expression = printer.element(value, index)
    target = printer.arg(value, written=True)
    place = f"(size_t)row * {groups * size} + {flat(index, shape)}"
    return Task(groups, size, tuple(printer.stats), f"{target.name}[{place}] = {expression};")


def _index(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Axes of a vector program: j runs over the last one, g over all before it."""
    if len(shape) <= 1:
        return ("j",) * len(shape)
    if len(shape) == 2:
        return ("g", "j")
    lead = [f"(g / {math.prod(shape[a + 1 : -1])}) % {shape[a]}" for a in range(len(shape) - 1)]
    return (*lead, "j")


def _cache_tasks(append: Op, printer: Printer) -> list[Task]:
    """Write k and v of each row and head at the row's position of its slot."""
    state, k, v = append.inputs
    heads, head = state.type.size(1), state.type.size(3)
    attrs, settings = printer.sources[state].attrs, printer.settings
    slot, position = printer.step_word("slot", "row"), printer.step_word("position", "row")
    tasks = []
    for plane, value, format in (("k", k, attrs["k_format"]), ("v", v, attrs["v_format"])):
        printer.fresh_stats()
        form = kv_format(format).sized(head)
        blocks = head // form.group(head)
        at = "g" if blocks == 1 else f"(g / {blocks})"
        if form.walsh:
            mixed = (printer.element(value, (at, "j")), head, form.walsh)
            printer.stats, stats = [], tuple(printer.stats)
        make = _elements if form.scalar else _units
        size, values = make(form, printer, value, at, head, blocks)
        target = printer.arg(state, written=True, plane=plane)
        every = state.type.every
        places, of_row = state.type.places(settings.context), position if every == 1 else f"{position} / {every}"
        place = f"(((size_t){slot} * {heads} + {at}) * {places} + {of_row}) * {form.row_bytes(head)}"
        store = f"hfc_kv_{format}_put({target.name} + {place}, {values});"
        store = store if every == 1 else f"if (({position} + 1) % {every} == 0) {store}"
        made = tuple(printer.stats)
        task = Task(heads, size, stats, store, *mixed, made) if form.walsh else Task(heads * blocks, size, made, store)
        tasks.append(task)
    return tasks


def _elements(form: KvFormat, printer: Printer, value: Value, at: str, head: int, blocks: int) -> tuple[int, str]:
    """One store an element: how many, and the arguments of the writer."""
    return head, f"j, {printer.element(value, (at, 'j'))}"


def _units(form, printer: Printer, value: Value, at: str, head: int, blocks: int) -> tuple[int, str]:
    """The same for formats that pack some elements at a time, after reductions over the group."""
    size, part = form.group(head), "0" if blocks == 1 else f"g % {blocks}"

    def element(j: str) -> str:
        d = f"({j})" if blocks == 1 else f"({part} * {size} + {j})"
        x = f"mixed[{d}]" if form.walsh else printer.element(value, (at, d))
        return (
            f"hfc_kv_{form.name}_rotate_pair({d}, {x}, {printer.element(value, (at, f'({d} ^ 1)'))})"
            if form.rotates_pairs
            else x
        )

    x = element("j")
    names: dict[str, str] = {}
    row = row_of(form)
    for number, stat in enumerate(row.stats):
        name = f"group{number}"
        printer.stats.append(
            Stat(name, size, stat.reduce, stat.element.format(x=x, **names), stat.finish.format(**names))
        )
        names[f"s{number}"] = name
    units = [element(j) for j in row.unit]
    return size // len(row.unit), ", ".join([part, "j", *units, *names.values()])
