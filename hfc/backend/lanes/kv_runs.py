"""Runs of a KV row for GPUs: eight neighbouring elements as registers hold them, fetched from memory long before they are expanded.

The C calls what device/codes.h has. A run's values equal those of the format's loader, bit for bit.
"""

from __future__ import annotations

from hfc.backend.lanes.kv_row import c_number
from hfc.base.dataclass import dataclass
from hfc.formats.block import BlockFormat
from hfc.formats.kv_block import KvBlocks, KvRotated
from hfc.formats.kv_format import KvFormat
from hfc.formats.layout import stored

RUN = 8  # elements; the first is a multiple of it


@dataclass(frozen=True)
class KvRun:
    """words: registers of a run.  fetch: C statements in row, j and raw.  expand: in raw, j and x[8].  source: functions they call.

    pairs: how many pairs of codes there are; 0: these are no codes.  by: source of `hfc_kv_<name>_pair(codes, x)`, the levels of a pair, and of
    `hfc_kv_<name>_look_up(levels, raw, x)`, which expands by a table of them."""

    words: int
    fetch: str
    expand: str
    source: str = ""
    pairs: int = 0
    by: str = ""


def run_of(form: KvFormat | KvBlocks | KvRotated, head: int) -> KvRun:
    """The run of a KV format for heads of this size; single elements where a head is no whole number of runs, or its blocks are of a
    kind that no run is known for."""
    made = None
    if head % RUN == 0:
        if isinstance(form, KvRotated):
            made = _level_run(form)
        else:
            made = _block_run(form.form) if isinstance(form, KvBlocks) else _scalar_run(form.scalar)
    fetch = (
        f"for (int i = 0; i < 8; i++) raw[i] = hfc_f32_to_bits(hfc_kv_{form.name}_at(row, j + i < {head} ? j + i : 0));"
    )
    return made or KvRun(RUN, fetch, "for (int i = 0; i < 8; i++) x[i] = hfc_bits_to_f32(raw[i]);")


def run_source(form: KvFormat | KvBlocks | KvRotated, head: int, qualifier: str) -> str:
    """C source of `hfc_kv_<name>_fetch(row, j, raw)` and `hfc_kv_<name>_expand(raw, j, x)`."""
    run, name = run_of(form, head), form.name
    return (
        f"{run.source.replace('QUALIFIER', qualifier)}"
        f"{qualifier} void hfc_kv_{name}_fetch(const uint8_t* row, int j, uint32_t* raw) {{\n  {run.fetch}\n}}\n"
        f"{qualifier} void hfc_kv_{name}_expand(const uint32_t* raw, int j, float* x) {{\n  (void)j;\n  {run.expand}\n}}\n"
        f"{run.by.replace('QUALIFIER', qualifier)}"
    )


def _scalar_run(scalar: str) -> KvRun:
    """f16 or f32."""
    words = {"f16": 4, "f32": 8}[scalar]
    return KvRun(words, f"hfc_words<{words}, 16>(row + j * {words // 2}, raw);", f"hfc_run_of_{scalar}(raw, x);")


def _block_run(form: BlockFormat) -> KvRun | None:
    """Blocks of an f16 scale and signed bytes, or of an f16 scale, an f16 minimum and nibbles, of which i and i + half share a byte."""
    names, planes = [f.name for f in form.fields], form.codes["q"].planes
    whole = len(planes) == 1 and [f.dtype for f in form.fields[:-1]] == ["f16"] * (len(names) - 1)
    block, half, size = form.block, form.block // 2, form.block_bytes
    if whole and planes[0].bits == 8 and form.fields[-1].dtype == "i8" and len(names) == 2:
        return KvRun(
            3,
            f"const uint8_t* block = row + j / {block} * {size};\n  raw[0] = *(const uint16_t*)block;\n"
            f"  hfc_words<2, 2>(block + 2 + j % {block}, raw + 1);",
            "const float d = hfc_f16_to_f32((uint16_t)raw[0]);\n  for (int i = 0; i < 2; i++) hfc_floats<8>(raw[1 + i] ^ 0x80808080u, "
            "x + 4 * i);\n  for (int i = 0; i < 8; i++) x[i] = d * (x[i] - 128.0f);",
        )
    if (
        whole
        and planes[0].bits == 4
        and len(names) == 3
        and planes[0].byte == f"i % {half}"
        and form.min == stored(names[1])
    ):
        return KvRun(
            3,
            f"const uint8_t* block = row + j / {block} * {size};\n  hfc_words<1, 4>(block, raw);\n"
            f"  hfc_words<2, 4>(block + 4 + j % {half}, raw + 1);",
            "const float d = hfc_f16_to_f32((uint16_t)raw[0]), m = hfc_f16_to_f32((uint16_t)(raw[0] >> 16));\n"
            f"  for (int i = 0; i < 2; i++) hfc_floats<4>(raw[1 + i] >> (j % {block} / {half} * 4) & 0x0f0f0f0fu, x + 4 * i);\n"
            "  for (int i = 0; i < 8; i++) x[i] = d * (x[i] - hfc_floats_offset<4>) + m;",
        )
    return None


def _level_run(form: KvRotated) -> KvRun:
    """Codes of `bits` after an f32 norm; a code without its highest bit stands for the negative of a positive level."""
    name, bits = form.name, form.bits
    levels = [c_number(level) for level in form.levels(form.head)[2 ** (bits - 1) :]]  # the positive ones, rising
    half = len(levels)
    codes = {
        2: "raw[1] = *(const uint16_t*)(row + 4 + j / 4);",
        3: "raw[1] = hfc_last_three_bytes(row + 3 + j / 8 * 3);",  # shifted when they are used: nothing waits for them here
        4: "hfc_words<1, 2>(row + 4 + j / 2, raw + 1);",
    }[bits]
    source = (
        f"QUALIFIER float hfc_kv_{name}_value(uint32_t code) {{\n"
        f"  const uint32_t place = code & {half} ? code & {half - 1} : ~code & {half - 1};\n"
        f"  const float size = {_chosen(levels, half // 2)};\n  return code & {half} ? size : -size;\n}}\n"
    )
    unused = 8 if bits == 3 else 0
    expand = f"for (int i = 0; i < 8; i++) x[i] = hfc_kv_{name}_value(raw[1] >> {bits} * i + {unused} & {2**bits - 1}) * hfc_bits_to_f32(raw[0]);"
    by = (
        f"QUALIFIER void hfc_kv_{name}_pair(int codes, float* x) {{\n"
        f"  x[0] = hfc_kv_{name}_value(codes & {2**bits - 1}), x[1] = hfc_kv_{name}_value(codes >> {bits});\n}}\n"
        f"QUALIFIER void hfc_kv_{name}_look_up(const float* levels, const uint32_t* raw, float* x) {{\n"
        "  const float norm = hfc_bits_to_f32(raw[0]);\n  for (int i = 0; i < 4; i++) {\n"
        f"    const float* pair = levels + (raw[1] >> {2 * bits} * i + {unused} & {4**bits - 1}) * 2;\n"
        "    x[2 * i] = pair[0] * norm, x[2 * i + 1] = pair[1] * norm;\n  }\n}\n"
    )
    return KvRun(2, f"hfc_words<1, 2>(row, raw);\n  {codes}", expand, source, 4**bits, by)


def _chosen(levels: list[str], bit: int) -> str:
    """levels[place] as choices between pairs: registers, not memory."""
    if len(levels) == 1:
        return levels[0]
    half = len(levels) // 2
    return f"(place & {bit} ? {_chosen(levels[half:], bit // 2)} : {_chosen(levels[:half], bit // 2)})"
