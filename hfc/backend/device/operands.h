// Products of few rows: 16 outputs x 16 elements of K from registers, times inputs that lie in memory as lanes take them.
// HFC_K_LANES lanes share the K of a weight row. A lane holds HFC_LANE_OUTPUTS weight rows, hfc_lane_output(l), and accumulators of
// each for HFC_LANE_COLUMNS rows of inputs, from hfc_lane_column() on; an MMA has HFC_COLUMNS rows. Inputs are pairs of f16 in units
// of 16 bytes, four for each MMA and row: hfc_unit says which a lane takes. `plane`: high parts or what is left.
#pragma once
#if defined(HFC_MMA_F16) || defined(HFC_WMMA_F16) || defined(HFC_MFMA_F16)
#if defined(HFC_MMA_F16)
enum { HFC_K_LANES = 4, HFC_LANE_OUTPUTS = 2, HFC_LANE_COLUMNS = 2, HFC_COLUMNS = 8 };
HFC_FUNCTION int hfc_k_lane() { return hfc_lane() % 4; }
HFC_FUNCTION int hfc_lane_output(int l) { return hfc_lane() / 4 + 8 * l; }
HFC_FUNCTION int hfc_lane_column() { return hfc_lane() % 4 * 2; }
HFC_FUNCTION int hfc_input_row() { return hfc_lane() / 4; }
HFC_FUNCTION int hfc_unit(int product, int rows, int row, int k_lane, int plane) { return (product * rows + row) * 4 + k_lane; }
#elif defined(HFC_MFMA_F16)
enum { HFC_K_LANES = 4, HFC_LANE_OUTPUTS = 1, HFC_LANE_COLUMNS = 4, HFC_COLUMNS = 16 };
HFC_FUNCTION int hfc_k_lane() { return hfc_lane() / 16; }
HFC_FUNCTION int hfc_lane_output(int l) { return hfc_lane() % 16; }
HFC_FUNCTION int hfc_lane_column() { return hfc_lane() / 16 * 4; }
HFC_FUNCTION int hfc_input_row() { return hfc_lane() % 16; }
HFC_FUNCTION int hfc_unit(int product, int rows, int row, int k_lane, int plane) { return (product * 4 + k_lane) * rows + row; }
#elif defined(HFC_WMMA_SPLIT)
enum { HFC_K_LANES = 2, HFC_LANE_OUTPUTS = 1, HFC_LANE_COLUMNS = 8, HFC_COLUMNS = 16 };
HFC_FUNCTION int hfc_k_lane() { return hfc_lane() / 16; }
HFC_FUNCTION int hfc_lane_output(int l) { return hfc_lane() % 16; }
HFC_FUNCTION int hfc_lane_column() { return hfc_lane() / 16 * 8; }
HFC_FUNCTION int hfc_input_row() { return hfc_lane() % 16; }
HFC_FUNCTION int hfc_unit(int product, int rows, int row, int k_lane, int plane) { return (product * 4 + k_lane * 2 + plane) * rows + row; }
#else  // sums of row i of the first operand lie in register i / 2 of half i % 2: rows are taken in that order
enum { HFC_K_LANES = 1, HFC_LANE_OUTPUTS = 1, HFC_LANE_COLUMNS = 8, HFC_COLUMNS = 16 };
HFC_FUNCTION int hfc_k_lane() { return 0; }
HFC_FUNCTION int hfc_lane_output(int l) { return hfc_lane() % 16; }
HFC_FUNCTION int hfc_lane_column() { return hfc_lane() / 16 * 8; }
HFC_FUNCTION int hfc_input_row() { return hfc_lane() % 16 / 2 + hfc_lane() % 2 * 8; }
HFC_FUNCTION int hfc_unit(int product, int rows, int row, int k_lane, int plane) { return (product * 4 + k_lane * 2 + plane) * rows + row; }
#endif
enum { HFC_WORDS = 8 / HFC_K_LANES };
typedef struct { uint32_t word[HFC_WORDS]; } hfc_lane_operand;
typedef struct { float sum[HFC_LANE_OUTPUTS][HFC_LANE_COLUMNS]; } hfc_lane_acc;

// Both planes of this lane's inputs. at: those of the product.
HFC_FUNCTION void hfc_inputs(const hfc_uint4* at, int rows, int row, hfc_lane_operand& high, hfc_lane_operand& low) {
  if constexpr (HFC_K_LANES == 4) {
    const hfc_uint4 both = at[hfc_unit(0, rows, row, hfc_k_lane(), 0)];
    high.word[0] = both.x, high.word[1] = both.y, low.word[0] = both.z, low.word[1] = both.w;
  } else {
#pragma unroll
    for (int i = 0; i < HFC_WORDS / 4; i++) {  // with one lane for all of K, `k_lane` tells its halves
      const int k_lane = HFC_K_LANES == 1 ? i : hfc_k_lane();
      const hfc_uint4 h = at[hfc_unit(0, rows, row, k_lane, 0)], l = at[hfc_unit(0, rows, row, k_lane, 1)];
      high.word[4 * i] = h.x, high.word[4 * i + 1] = h.y, high.word[4 * i + 2] = h.z, high.word[4 * i + 3] = h.w;
      low.word[4 * i] = l.x, low.word[4 * i + 1] = l.y, low.word[4 * i + 2] = l.z, low.word[4 * i + 3] = l.w;
    }
  }
}
// The exponent of the power of two over which inputs of at most `largest` lie between 2^14 and 2^15, or all near zero.
HFC_FUNCTION int hfc_unit_power(float largest) { return largest > 0x1p-100f ? (int)(hfc_f32_to_bits(largest) >> 23) - 127 - 14 : -114; }
// Which product takes element `at` of K, and which of four lanes, where each takes RUN neighbours.
template <int RUN> HFC_FUNCTION int hfc_product_of(int at) {
  return RUN == 32 ? at / 128 * 8 + at % 32 / 4 : RUN == 8 ? at / 32 * 2 + at % 8 / 4 : at / 16;
}
template <int RUN> HFC_FUNCTION int hfc_k_lane_of(int at) { return at / RUN % 4; }
// Eight inputs in a row, from element `at` (a multiple of 8) of `row`: where lanes that take RUN elements of weights in a row find them.
template <int RUN> HFC_FUNCTION void hfc_put_inputs(hfc_uint4* inputs, int rows, int row, int at, const float (&x)[8]) {
  uint32_t high[4], low[4];
#pragma unroll
  for (int i = 0; i < 4; i++) hfc_split(x[2 * i], x[2 * i + 1], high[i], low[i]);
  if constexpr (HFC_K_LANES == 4) {
    const int product = hfc_product_of<RUN>(at), k_lane = hfc_k_lane_of<RUN>(at);
    inputs[hfc_unit(product, rows, row, k_lane, 0)] = hfc_uint4{high[0], high[1], low[0], low[1]};
    inputs[hfc_unit(product + (RUN >= 8), rows, row, k_lane + (RUN < 8), 0)] = hfc_uint4{high[2], high[3], low[2], low[3]};
  } else {
    inputs[hfc_unit(at / 16, rows, row, at / 8 % 2, 0)] = hfc_uint4{high[0], high[1], high[2], high[3]};
    inputs[hfc_unit(at / 16, rows, row, at / 8 % 2, 1)] = hfc_uint4{low[0], low[1], low[2], low[3]};
  }
}
HFC_FUNCTION void hfc_multiply_from_registers(hfc_lane_acc& c, const hfc_lane_operand (&weights)[HFC_LANE_OUTPUTS], const hfc_lane_operand& x) {
#if defined(HFC_MMA_F16)
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 { %0, %1, %2, %3}, { %4, %5, %6, %7}, { %8, %9}, { %0, %1, %2, %3};"
      : "+f"(c.sum[0][0]), "+f"(c.sum[0][1]), "+f"(c.sum[1][0]), "+f"(c.sum[1][1])
      : "r"(weights[0].word[0]), "r"(weights[1].word[0]), "r"(weights[0].word[1]), "r"(weights[1].word[1]), "r"(x.word[0]), "r"(x.word[1]));
#elif defined(HFC_MFMA_F16)
  const hfc_float4 sum = __builtin_amdgcn_mfma_f32_16x16x16f16(__builtin_bit_cast(hfc_half4, x), __builtin_bit_cast(hfc_half4, weights[0]),
                                                               __builtin_bit_cast(hfc_float4, c), 0, 0, 0);
  c = __builtin_bit_cast(hfc_lane_acc, sum);
#elif defined(HFC_WMMA_SPLIT)
  const hfc_float8 sum = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(
      __builtin_bit_cast(hfc_half8, x), __builtin_bit_cast(hfc_half8, weights[0]), __builtin_bit_cast(hfc_float8, c));
  c = __builtin_bit_cast(hfc_lane_acc, sum);
#else
  const hfc_float8 sum = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(
      __builtin_bit_cast(hfc_half16, x), __builtin_bit_cast(hfc_half16, weights[0]), __builtin_bit_cast(hfc_float8, c));
  c = __builtin_bit_cast(hfc_lane_acc, sum);
#endif
}

// Four codes of BITS bits, one in each byte, to four f16: each plus hfc_halves_offset, by its place in the mantissa.
template <int BITS> constexpr float hfc_halves_offset = (float)(1024 >> (8 - BITS));
template <int BITS> HFC_FUNCTION void hfc_halves(uint32_t codes, uint32_t& first, uint32_t& second) {
  constexpr uint32_t exponent = (0x64u - 4u * (8 - BITS)) * 0x01010101u;
  const uint32_t mantissa = codes << (8 - BITS);
#if defined(__HIP__)
  first = __builtin_amdgcn_perm(exponent, mantissa, 0x04010400u), second = __builtin_amdgcn_perm(exponent, mantissa, 0x04030402u);
#else
  first = hfc_permute(mantissa, exponent, 0x4140u), second = hfc_permute(mantissa, exponent, 0x4342u);
#endif
}
// The same, each plus `zero`, which is a small integer: exact.
template <int BITS> HFC_FUNCTION void hfc_numbers(uint32_t codes, int zero, uint32_t& first, uint32_t& second) {
  hfc_halves<BITS>(codes, first, second);
  const _Float16 more = (_Float16)((float)zero - hfc_halves_offset<BITS>);
  first = __builtin_bit_cast(uint32_t, __builtin_bit_cast(hfc_half2, first) + hfc_half2{more, more});
  second = __builtin_bit_cast(uint32_t, __builtin_bit_cast(hfc_half2, second) + hfc_half2{more, more});
}
// The largest of LANES neighbouring lanes, at most 32, in each of them.
template <int LANES> HFC_FUNCTION float hfc_largest_lanes(float x) {
  if constexpr (LANES >= 2) x = hfc_larger(x, hfc_other<1>(x));
  if constexpr (LANES >= 4) x = hfc_larger(x, hfc_other<2>(x));
  if constexpr (LANES >= 8) x = hfc_larger(x, hfc_other<4>(x));
  if constexpr (LANES >= 16) x = hfc_larger(x, hfc_other<8>(x));
  if constexpr (LANES >= 32) x = hfc_larger(x, hfc_other<16>(x));
  return x;
}
HFC_FUNCTION uint32_t hfc_pair_of_f16(uint32_t word) { return word; }
HFC_FUNCTION uint32_t hfc_pair_of_bf16(uint32_t word) {
  const hfc_half2 pair = {(_Float16)hfc_bits_to_f32(word << 16), (_Float16)hfc_bits_to_f32(word & 0xffff0000u)};
  return __builtin_bit_cast(uint32_t, pair);
}
#endif
