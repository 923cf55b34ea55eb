"""A weight format -> C that packs its blocks into the CPU's tiles (formats/tile.py): numpy's packer, fifty times as fast."""

from __future__ import annotations

from hfc.backend.lanes.elements import code_of, field_declarations, float_of, number_of
from hfc.backend.render import render
from hfc.base.dataclass import dataclass
from hfc.formats import block_format
from hfc.formats.block import BlockFormat
from hfc.formats.tile import LANES, PANEL, TileLayout, scaled_twice, tile_layout


@dataclass(frozen=True)
class HeaderField:
    """value: C for the group of element `i`, stored as `ctype` from byte `offset` of the header on, once every `step` k.

    codes: the names in it that are codes of the block."""

    ctype: str
    value: str
    codes: tuple[tuple[str, str], ...]
    offset: int
    step: int


def pack_source(name: str) -> str:
    """The C text of `void hfc_pack_<name>(raw, out, n, k, first, last)`, which hfc.runtime.pack calls. host/pack.h comes before."""
    form = block_format(name)
    layout = tile_layout(form)
    if not form.quantized:
        return render("host/pack.c.j2", form=form, layout=layout)
    piece = min(form.block, layout.span * PANEL)
    return render(
        "host/pack.c.j2",
        form=form,
        layout=layout,
        piece=piece,
        code=code_of(form, "q"),
        numbers=field_declarations(form),
        fields=_header_fields(form, layout),
    )


def _header_fields(form: BlockFormat, layout: TileLayout) -> list[HeaderField]:
    """In the order of the header: scales, then minimums; where the format scales twice, the outer ones first."""
    groups = layout.span * PANEL // layout.group
    names = scaled_twice(form)
    if layout.scale_bytes == 1:
        assert names, f"{form.name}: a scale of one byte is a code times a factor"
        outer, inner = names
        kind = ("uint16_t", "hfc_f32_to_f16({})") if layout.outer_bytes == 2 else ("float", "{}")
        wanted = [(kind[0], kind[1].format(name), 1) for name in outer]
        wanted += [("int8_t", f"(int8_t)({number_of(form, name)})", groups) for name in inner]
    else:
        values = [factor.c for factor in (form.scale, form.min) if factor]
        kind = {2: ("uint16_t", "hfc_f32_to_f16({})"), 4: ("float", "{}")}[layout.scale_bytes]
        wanted = [(kind[0], kind[1].format(value), groups) for value in values]
    fields, offset = [], 0
    for ctype, value, count in wanted:
        codes = tuple((name, float_of(form, name)) for name in form.codes if name != "q" and ctype != "int8_t")
        fields.append(HeaderField(ctype, value, codes, offset, layout.span * PANEL // count))
        offset += count * LANES * {"uint16_t": 2, "int8_t": 1, "float": 4}[ctype]
    return fields
