"""A KV format -> the C that reads and writes its rows: scalars as they are, blocks with a scale, codes of a rotated direction."""

from __future__ import annotations

from hfc.backend.lanes.elements import element_source
from hfc.backend.lanes.kv_rotated import rotated_row
from hfc.backend.lanes.kv_row import KvNarrow, KvRow, KvStat
from hfc.formats.block import BlockFormat
from hfc.formats.dtype import SCALARS
from hfc.formats.kv_block import KvBlocks, KvRotated
from hfc.formats.kv_format import KvFormat


def row_of(form: KvFormat | KvBlocks | KvRotated, qualifier: str = "static inline") -> KvRow:
    """form: of a known head size where its levels depend on it."""
    if isinstance(form, KvRotated):
        return rotated_row(form, qualifier)
    return _block_row(form, qualifier) if isinstance(form, KvBlocks) else _scalar_row(form, qualifier)


def row_source(form: KvFormat | KvBlocks | KvRotated, qualifier: str = "static inline") -> str:
    row = row_of(form, qualifier)
    return row.reader + row.writer


def _scalar_row(form: KvFormat, qualifier: str) -> KvRow:
    """The conversions of formats/dtype.py belong to the including file; rows are aligned to the scalar."""
    scalar, name = SCALARS[form.scalar], form.name
    element, is_float = f"((const {scalar.c_element}*)(const void*)row)[d]", scalar.c_element == "float"
    value, bits = (element, "x") if is_float else (scalar.to_f32.format(element), scalar.from_f32.format("x"))
    return KvRow(
        f"{qualifier} float hfc_kv_{name}_at(const uint8_t* row, int d) {{\n  return {value};\n}}\n",
        f"{qualifier} void hfc_kv_{name}_put(uint8_t* row, int d, float x) {{\n"
        f"  (({scalar.c_element}*)(void*)row)[d] = {bits};\n}}\n",
        narrow=NARROW.get(form.scalar),
    )


NARROW = {"f16": KvNarrow(2, "hfc_wide_f16(hfc_load_f16(p))", "2 * d", "")}  # scalars that CPUs transpose as they lie


def _block_row(form: KvBlocks, qualifier: str) -> KvRow:
    """Every block of a row is a group."""
    block, name = form.form, form.name
    stored = _nibbles(block) if block.min else _signed_bytes(block)
    reader = (
        f"{element_source(block, qualifier)}{qualifier} float hfc_kv_{name}_at(const uint8_t* row, int d) {{\n"
        f"  return hfc_{block.name}_at(row + d / {block.block} * {block.block_bytes}, d % {block.block});\n}}\n"
    )
    values = [*(f"x{i}" for i in range(len(stored.unit))), *(f"s{i}" for i in range(len(stored.stats)))]
    writer = (
        f"{qualifier} void hfc_kv_{name}_put(uint8_t* row, int group, int j, {', '.join('float ' + v for v in values)}) {{\n"
        f"  uint8_t* block = row + group * {block.block_bytes};\n  {stored.writer}\n}}\n"
    )
    return KvRow(reader, writer, stored.unit, stored.stats, stored.sixteen, stored.narrow)


def _signed_bytes(block: BlockFormat) -> KvRow:
    """An f16 scale, the largest magnitude over 127, and signed bytes, rounded to the nearest. writer: the statements alone; blocks lie at
    even addresses, and a half is stored whole: see the gate "halves"."""
    assert [(f.dtype, f.count) for f in block.fields] == [("f16", 1), ("i8", block.block)], (
        f"{block.name}: no kernel writes it"
    )
    write = """const float d = s0 / 127.0f, inverse = d > 0.0f ? 1.0f / d : 0.0f;
  block[2 + j] = (uint8_t)(int)__builtin_roundf(x0 * inverse);
  if (j == 0) *(uint16_t*)(void*)block = hfc_f32_to_f16(d);"""
    sixteen = "__builtin_convertvector(hfc_load_i8(block + 2 + part), f32x16) * hfc_load_half(block)"
    narrow = KvNarrow(
        1,
        "__builtin_convertvector(hfc_load_i8(p), f32x16)",
        f"d / {block.block} * {block.block_bytes} + 2 + d % {block.block}",
        f"g * {block.block_bytes}",
        is_scale_half=True,
    )
    return KvRow("", write, ("j",), (KvStat("max", "__builtin_fabsf({x})", "r"),), sixteen, narrow)


def _nibbles(block: BlockFormat) -> KvRow:
    """An f16 scale and an f16 minimum, then nibbles, of which i and i + 16 share a byte: the range of a block in 15 steps. writer: the
    statements alone."""
    facts = [(f.dtype, f.count) for f in block.fields]
    assert facts == [("f16", 1), ("f16", 1), ("u8", 16)] and block.block == 32, f"{block.name}: no kernel writes it"
    write = """const float low = -s1, d = (s0 - low) / 15.0f, inverse = d > 0.0f ? 1.0f / d : 0.0f;
  const int a = (int)((x0 - low) * inverse + 0.5f), b = (int)((x1 - low) * inverse + 0.5f);
  block[4 + j] = (uint8_t)((a < 15 ? a : 15) | (b < 15 ? b : 15) << 4);
  if (j == 0) {
    uint16_t* numbers = (uint16_t*)(void*)block;
    numbers[0] = hfc_f32_to_f16(d), numbers[1] = hfc_f32_to_f16(low);
  }"""
    codes = "__builtin_convertvector(hfc_load_u8(block + 4) >> part / 4 & 15, f32x16)"
    stats = (KvStat("max", "{x}", "r"), KvStat("max", "-({x})", "r"))
    return KvRow("", write, ("j", "j + 16"), stats, f"hfc_fma({codes}, hfc_load_half(block), hfc_load_half(block + 2))")
