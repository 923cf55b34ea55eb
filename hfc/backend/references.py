"""What a plan has beside its buffers: weights in the layouts that kernels read, constants, states; and what a kernel's arguments point to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from hfc.backend.spec import Arg, Bound
from hfc.formats import KV_FORMATS
from hfc.ir.graph import Op, Value
from hfc.passes.settings import Settings
from hfc.plan import ConstRef, StateRef, WeightRef
from hfc.pointer import Pointer

Bindings = tuple[
    Sequence[Bound], Mapping[Value, Op]
]  # a graph's regions, and the source behind each value, see emit.storage


def each_once(found: Iterable) -> tuple:
    """Each once, by name; what two graphs share is equal."""
    return tuple({thing.name: thing for thing in found}.values())


def weight_refs(sources: list[Op], layouts: dict[str, tuple[str, ...]]) -> tuple[WeightRef, ...]:
    return each_once(
        WeightRef(
            _weight_name(op.attrs["name"], layout, layouts),
            op.attrs["recipe"],
            op.output.type.dtype,
            op.output.type.sizes(),
            layout,
        )
        for op in sources
        if op.is_weight
        for layout in layouts.get(op.attrs["name"], ())
    )


def layouts_of(parts: Iterable[Bindings], matrix_layout: str) -> dict[str, tuple[str, ...]]:
    """The layouts in which each weight is needed: a tied embedding is gathered by rows and multiplied in tiles."""
    found: dict[str, set[str]] = {}
    for bounds, sources in parts:
        for bound in (own for whole in bounds for own in (whole, *whole.region.members)):
            for arg in (a for a in bound.args if a.is_weight):
                matrix = any(a is arg for a in bound.region.matrix_args)
                found.setdefault(sources[arg.behind].attrs["name"], set()).add(matrix_layout if matrix else "rows")
    return {name: tuple(sorted(layouts)) for name, layouts in found.items()}


def _weight_name(name: str, layout: str, layouts: dict[str, tuple[str, ...]]) -> str:
    return name if len(layouts[name]) == 1 else f"{name}@{layout}"


def pointer_of(arg: Arg, bound: Bound, sources: Mapping[Value, Op], layouts: dict[str, tuple[str, ...]]) -> Pointer:
    attrs = sources[arg.behind].attrs if arg.behind in sources else {}
    match arg.kind:
        case "buffer":
            return Pointer.peer(attrs["name"], attrs["rank"]) if attrs else Pointer.buffer(arg.behind.name)
        case "weight":
            matrix = any(a is arg for a in bound.region.matrix_args)
            have = layouts[attrs["name"]]
            layout = next((x for x in have if (x != "rows") == matrix), have[0])
            return Pointer.weight(_weight_name(attrs["name"], layout, layouts))
        case "meeting":
            return Pointer.meeting(arg.behind.name)
        case "const":
            return Pointer.const(str(attrs["recipe"]))
        case _:
            assert arg.kind == "state", f"{arg.name} is what the runtime hands over, no value of a region"
            return Pointer.state(attrs["name"], arg.plane)


def const_ref(op: Op) -> ConstRef:
    return ConstRef(str(op.attrs["recipe"]), op.attrs["recipe"], op.output.type.shape)


def journals_of(bounds: Sequence[Bound], sources: Mapping[Value, Op]) -> dict[str, int]:
    """Recurrent state -> numbers that its journal keeps of a row."""
    journals = ((arg.value, numbers) for bound in bounds for arg, numbers in bound.region.journals)
    return {sources[state].attrs["name"]: numbers for state, numbers in journals}


def state_ref(op: Op, settings: Settings, journal: int) -> StateRef:
    """journal: numbers of a row."""
    type = op.output.type
    if type.dtype != "kv":
        planes = {"": 4 * math.prod(type.sizes(1))}
        if settings.journal_rows and journal:
            planes["journal"] = 4 * settings.journal_rows * journal
        return StateRef(op.attrs["name"], type.shape, planes, dict.fromkeys(planes, "f32"))
    heads, head = type.size(1), type.size(3)
    formats = {"k": op.attrs["k_format"], "v": op.attrs["v_format"]}
    places = type.places(settings.context)
    planes = {p: heads * places * KV_FORMATS[f].row_bytes(head) for p, f in formats.items()}
    return StateRef(op.attrs["name"], type.shape, planes, formats)
