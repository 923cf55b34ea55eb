"""map: row-local vectors: embedding, norms, RoPE, the write into the KV cache, sums over experts."""

from __future__ import annotations

import math

from hfc.backend.body import Printer, row_shape
from hfc.backend.index import flat
from hfc.backend.spec import Bound, KernelSpec, Task
from hfc.formats import KV_FORMATS, kv_format
from hfc.ir.graph import Op, Value


def bind(region: Op, printer: Printer) -> Bound:
    producers = {v: op for op in region.body.ops for v in op.outputs}
    tasks, formats, tables = [], [], []
    for output in region.outputs:
        op = producers[output]
        if op.kind == "kv_append":
            made = _cache_tasks(op, printer)
            source = printer.sources[op.inputs[0]]
            formats += [source.attrs["k_format"], source.attrs["v_format"]]
        else:
            made = [_task(output, printer)]
        tasks += made
    for op in region.body.ops:
        if op.kind == "gather":
            tables.append(op.inputs[0].type.dtype)
    extra = {
        "tasks": tasks,
        "weight_formats": tuple(dict.fromkeys(t for t in tables if t != "f32")),
        "kv_formats": tuple(kv_format(f) for f in dict.fromkeys(formats)),
    }
    words = [op.kind for op in region.body.ops if op.kind in ("gather", "rms_norm", "rope", "kv_append", "weighted_sum")]
    name = "_".join(["map", *dict.fromkeys(words)])
    return Bound("map", name, printer.args, region.outputs[0].type.shape[0] if not formats else "T", extra)


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
    _slots, heads, _context, head = state.type.shape
    attrs, settings = printer.sources[state].attrs, printer.settings
    slot, position = (f"step[{4 + n * settings.max_rows} + row]" for n in (2, 1))
    tasks = []
    for plane, value, format in (("k", k, attrs["k_format"]), ("v", v, attrs["v_format"])):
        printer.fresh_stats()
        expression = printer.element(value, ("g", "j"))
        target = printer.arg(state, written=True, plane=plane)
        place = f"(((size_t){slot} * {heads} + g) * {settings.context} + {position}) * {KV_FORMATS[format].row_bytes(head)}"
        tasks.append(Task(heads, head, tuple(printer.stats), f"hfc_kv_{format}_put({target.name} + {place}, j, {expression});"))
    return tasks


KERNEL = KernelSpec("map", (), bind)
