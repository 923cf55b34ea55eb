// The products of one tile of codes in LDS (skeletons/linear/codes). S: sizes of the region and its cut:
//   ROWS, OUTPUTS: of the tile, 32 elements of K deep.  SCALES: of a weight row in these.  HAS_LOW: minimums multiply sums of inputs.
//   AHEAD: an output is read while the one before is multiplied.
#pragma once
template <class S> struct __attribute__((aligned(16))) hfc_code_tile {
  hfc_uint4 inputs[2][S::ROWS], weights[2][S::OUTPUTS];  // of 16 elements of K each
  hfc_chunk chunks[S::SCALES][S::ROWS];
  float scales[S::SCALES][S::OUTPUTS];
  float lows[S::HAS_LOW ? S::SCALES : 1][S::HAS_LOW ? S::OUTPUTS : 1];
};
// A sum of products that begins with the bits of this float is the bits of this float plus the sum.
constexpr float HFC_WHOLE = 0x1.8p23f;
// Four codes plus ZERO, as signed bytes.
template <int ZERO> HFC_FUNCTION uint32_t hfc_bytes_plus(uint32_t codes) {
  return ZERO == 0 ? codes : (codes + (uint32_t)(128 + ZERO) * 0x01010101u) ^ 0x80808080u;
}
// With the lowest two bits of a scale left out, HFC_WHOLE times it is exact.
template <class S> HFC_FUNCTION void hfc_put_scale(hfc_code_tile<S>& tile, int at, int output, float scale, float low) {
  tile.scales[at][output] = hfc_bits_to_f32(hfc_f32_to_bits(scale) & 0xfffffffcu);
  if constexpr (S::HAS_LOW) tile.lows[at][output] = low;
}
HFC_FUNCTION int hfc_dot16(const hfc_uint4& a, const hfc_uint4& b, int sum) {
  return hfc_dot4(a.w, b.w, hfc_dot4(a.z, b.z, hfc_dot4(a.y, b.y, hfc_dot4(a.x, b.x, sum))));
}
#if defined(HFC_WMMA_I8) && defined(HFC_WMMA_SPLIT)
typedef int hfc_int2 __attribute__((ext_vector_type(2)));
typedef int hfc_int8 __attribute__((ext_vector_type(8)));
// 16 rows of 16 bytes: the upper half of the wave holds k 8-15.
HFC_FUNCTION hfc_int2 hfc_code_operand(const hfc_uint4* rows) {
  return *((const hfc_int2*)(rows + hfc_lane() % 16) + hfc_lane() / 16);
}
// sum[a][b][v]: of accumulators v of the products of rows wave_row + 32 a and outputs wave_column + 16 b, see hfc_acc_row.
template <class S, int PART_COLUMNS, int PART_OUTPUTS>
HFC_FUNCTION void hfc_multiply_codes_by_units(const hfc_code_tile<S>& tile, int wave_row, int wave_column,
                                              float (&sum)[S::ROWS / 32][S::OUTPUTS / 64][8]) {
  const int whole = (int)hfc_f32_to_bits(HFC_WHOLE);
  const hfc_int8 wholes = {whole, whole, whole, whole, whole, whole, whole, whole};
  hfc_int2 second[S::OUTPUTS / 64][2];
  float scale[S::OUTPUTS / 64][S::SCALES], low[S::OUTPUTS / 64][S::SCALES];
#pragma unroll
  for (int b = 0; b < S::OUTPUTS / 64; b++) {
    const int output = b / PART_COLUMNS * PART_OUTPUTS + wave_column + b % PART_COLUMNS * 16;
#pragma unroll
    for (int h = 0; h < 2; h++) second[b][h] = hfc_code_operand(&tile.weights[h][output]);
#pragma unroll
    for (int g = 0; g < S::SCALES; g++) {
      scale[b][g] = tile.scales[g][output + hfc_lane() % 16];
      low[b][g] = S::HAS_LOW ? tile.lows[g][output + hfc_lane() % 16] : 0.0f;
    }
  }
#pragma unroll
  for (int a = 0; a < S::ROWS / 32; a++) {
    const int row = wave_row + 32 * a;
    const hfc_int2 first[2] = {hfc_code_operand(&tile.inputs[0][row]), hfc_code_operand(&tile.inputs[1][row])};
#pragma unroll
    for (int g = 0; g < S::SCALES; g++) {
      hfc_chunk chunk[8];
#pragma unroll
      for (int v = 0; v < 8; v++) chunk[v] = tile.chunks[g][row + hfc_acc_row(v)];
#pragma unroll
      for (int b = 0; b < S::OUTPUTS / 64; b++) {
        const float off = -HFC_WHOLE * scale[b][g];
        hfc_int8 dot = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, first[g], true, second[b][g], wholes, false);
        if constexpr (S::SCALES == 1) dot = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, first[1], true, second[b][1], dot, false);
#pragma unroll
        for (int v = 0; v < 8; v++) {
          sum[a][b][v] = __builtin_fmaf(__builtin_fmaf(hfc_bits_to_f32((uint32_t)dot[v]), scale[b][g], off), chunk[v].unit, sum[a][b][v]);
          if constexpr (S::HAS_LOW) sum[a][b][v] = __builtin_fmaf(low[b][g], chunk[v].sum, sum[a][b][v]);
        }
      }
    }
#pragma unroll
    for (int b = 0; b < S::OUTPUTS / 64; b++) {
#pragma unroll
      for (int v = 0; v < 8; v++) hfc_not_before(sum[a][b][v]);
    }
    hfc_in_order();
  }
}
#endif
// The codes of one output, and its scales.
template <class S> struct hfc_tile_output {
  hfc_uint4 codes[2];
  float scale[S::SCALES], low[S::SCALES];
};
template <class S> HFC_FUNCTION hfc_tile_output<S> hfc_output_of(const hfc_code_tile<S>& tile, int output) {
  hfc_tile_output<S> r;
  r.codes[0] = tile.weights[0][output], r.codes[1] = tile.weights[1][output];
#pragma unroll
  for (int g = 0; g < S::SCALES; g++) {
    r.scale[g] = tile.scales[g][output];
    r.low[g] = S::HAS_LOW ? tile.lows[g][output] : 0.0f;
  }
  return r;
}
// sum[a][b]: of row ty + 16 a and output tx + 16 b. One output after the other: the compiler would ask for all at once, in registers that
// waves need.
template <class S>
HFC_FUNCTION void hfc_multiply_codes(const hfc_code_tile<S>& tile, int tx, int ty, float (&sum)[S::ROWS / 16][S::OUTPUTS / 16]) {
  const int whole = (int)hfc_f32_to_bits(HFC_WHOLE);
  hfc_uint4 x[S::ROWS / 16][2];
  hfc_chunk chunk[S::ROWS / 16][S::SCALES];
#pragma unroll
  for (int a = 0; a < S::ROWS / 16; a++) {
#pragma unroll
    for (int h = 0; h < 2; h++) x[a][h] = tile.inputs[h][ty + 16 * a];
#pragma unroll
    for (int g = 0; g < S::SCALES; g++) chunk[a][g] = tile.chunks[g][ty + 16 * a];
  }
  hfc_tile_output<S> next = hfc_output_of(tile, tx);
#pragma unroll
  for (int b = 0; b < S::OUTPUTS / 16; b++) {
    const hfc_tile_output<S> w = S::AHEAD || b == 0 ? next : hfc_output_of(tile, tx + 16 * b);
    if (S::AHEAD && b + 1 < S::OUTPUTS / 16) next = hfc_output_of(tile, tx + 16 * (b + 1));
    hfc_in_order();
#pragma unroll
    for (int g = 0; g < S::SCALES; g++) {
      const float off = -HFC_WHOLE * w.scale[g];
#pragma unroll
      for (int a = 0; a < S::ROWS / 16; a++) {
        int dot = hfc_dot16(w.codes[g], x[a][g], whole);
        if constexpr (S::SCALES == 1) dot = hfc_dot16(w.codes[1], x[a][1], dot);
        sum[a][b] = __builtin_fmaf(__builtin_fmaf(hfc_bits_to_f32((uint32_t)dot), w.scale[g], off), chunk[a][g].unit, sum[a][b]);
        if constexpr (S::HAS_LOW) sum[a][b] = __builtin_fmaf(w.low[g], chunk[a][g].sum, sum[a][b]);
      }
    }
#pragma unroll
    for (int a = 0; a < S::ROWS / 16; a++) hfc_not_before(sum[a][b]);  // else all products move behind the loop's last branch
    hfc_in_order();
  }
}
