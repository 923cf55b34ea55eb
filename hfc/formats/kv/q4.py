"""q4 KV cache, meant for values: 32 nibbles with f16 scale and minimum, 5 bits an element."""

from dataclasses import replace

from hfc.formats.kv_block import KvBlocks, KvStat
from hfc.formats.quant import q4_1

PUT = """const float low = -s1, d = (s0 - low) / 15.0f, inverse = d > 0.0f ? 1.0f / d : 0.0f;
  const int a = (int)((x0 - low) * inverse + 0.5f), b = (int)((x1 - low) * inverse + 0.5f);
  block[4 + j] = (uint8_t)((a < 15 ? a : 15) | (b < 15 ? b : 15) << 4);
  if (j == 0) {
    const uint16_t scale = hfc_f32_to_f16(d), minimum = hfc_f32_to_f16(low);
    block[0] = (uint8_t)scale, block[1] = (uint8_t)(scale >> 8);
    block[2] = (uint8_t)minimum, block[3] = (uint8_t)(minimum >> 8);
  }"""

FORMAT = KvBlocks(
    "q4",
    replace(q4_1.FORMAT, name="kv_q4_block"),
    unit=("j", "j + 16"),
    stats=(KvStat("max", "{x}", "r"), KvStat("max", "-({x})", "r")),
    put=PUT,
    sixteen="hfc_fma(__builtin_convertvector(hfc_load_u8(block + 4) >> part / 4 & 15, f32x16), hfc_load_half(block), hfc_load_half(block + 2))",
)
