"""q8 KV cache: 32 signed bytes and an f16 scale, 8.5 bits an element."""

from dataclasses import replace

from hfc.formats.kv_block import KvBlocks, KvStat
from hfc.formats.quant import q8_0

PUT = """const float d = s0 / 127.0f, inverse = d > 0.0f ? 1.0f / d : 0.0f;
  block[2 + j] = (uint8_t)(int)__builtin_roundf(x0 * inverse);
  if (j == 0) {
    const uint16_t bits = hfc_f32_to_f16(d);
    block[0] = (uint8_t)bits, block[1] = (uint8_t)(bits >> 8);
  }"""

FORMAT = KvBlocks(
    "q8",
    replace(q8_0.FORMAT, name="kv_q8_block"),
    unit=("j",),
    stats=(KvStat("max", "__builtin_fabsf({x})", "r"),),
    put=PUT,
    sixteen="__builtin_convertvector(hfc_load_i8(block + 2 + part), f32x16) * hfc_load_half(block)",
)
