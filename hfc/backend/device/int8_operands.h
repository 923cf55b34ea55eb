// Operands of integer products: codes are bytes as they are, inputs whole numbers of 16 bits in two signed bytes, x / unit = 256 high + low,
// or of 8 bits in one, x / unit = high.
// Sixteen bytes hold eight inputs of a lane, those of two products: words 0 and 1 their high parts, 2 and 3 their low ones.
#pragma once
#if defined(HFC_MMA_I8)
typedef struct { int sum[HFC_LANE_OUTPUTS][HFC_LANE_COLUMNS]; } hfc_int_acc;
// The largest whole number is 32639, 127 high and 127 low. With the largest input times this, its exponent is that of a unit that holds it.
constexpr float HFC_HEADROOM = 32768.0f / 32638.0f;

// NaN where one of them is: an input that is no number makes the unit none, and with it what it multiplies.
HFC_FUNCTION float hfc_larger_or_nan(float x, float y) {
#if defined(__NVPTX__)
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(x), "f"(y));
  return r;
#else  // the tests of whole numbers on a CPU
  return x != x ? x : y != y ? y : hfc_larger(x, y);
#endif
}
template <int LANES> HFC_FUNCTION float hfc_largest_or_nan(float x) {
  if constexpr (LANES > 1) {
    x = hfc_largest_or_nan<LANES / 2>(x);
    x = hfc_larger_or_nan(x, hfc_other<LANES / 2>(x));
  }
  return x;
}

HFC_FUNCTION uint32_t hfc_low_bytes(const int* x) {
  return (uint32_t)(x[0] & 255) | (uint32_t)(x[1] & 255) << 8 | (uint32_t)(x[2] & 255) << 16 | (uint32_t)x[3] << 24;
}
// As hfc_put_inputs. x: whole numbers, |x| <= 32639, of one plane 127.
template <int RUN, int PLANES> HFC_FUNCTION void hfc_put_int8_inputs(hfc_uint4* inputs, int rows, int row, int at, const float (&x)[8]) {
  int high[8], low[8];
#pragma unroll
  for (int i = 0; i < 8; i++) {
    low[i] = (int)x[i];
    high[i] = PLANES == 1 ? low[i] : (low[i] + 128) >> 8;
  }
  const int product = hfc_product_of<RUN>(at), unit = hfc_unit(product / 2, rows, row, hfc_k_lane_of<RUN>(at), 0);
  if constexpr (RUN >= 8) {
    inputs[unit] = hfc_uint4{hfc_low_bytes(high), hfc_low_bytes(high + 4), hfc_low_bytes(low), hfc_low_bytes(low + 4)};
  } else {
    uint32_t* word = (uint32_t*)(inputs + unit) + product % 2;
    word[0] = hfc_low_bytes(high), word[2] = hfc_low_bytes(low), word[4] = hfc_low_bytes(high + 4), word[6] = hfc_low_bytes(low + 4);
  }
}
// Four codes plus ZERO, which a signed byte holds: where minimums are added, or ZERO is 0, they stay without a sign.
template <int ZERO> HFC_FUNCTION uint32_t hfc_signed_bytes(uint32_t codes) {
  return ZERO == 0 ? codes : (codes + (uint32_t)(128 + ZERO) * 0x01010101u) ^ 0x80808080u;
}
// 16 outputs times a column of inputs, over 16 elements of K or, where x has two words, 32.
template <bool SIGNED>
HFC_FUNCTION void hfc_multiply_int8(hfc_int_acc& c, const uint32_t (&first)[HFC_LANE_OUTPUTS],
                                    const uint32_t (&second)[HFC_LANE_OUTPUTS], uint32_t x, uint32_t y) {
  if constexpr (SIGNED) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 { %0, %1, %2, %3}, { %4, %5, %6, %7}, { %8, %9}, { %0, %1, %2, %3};"
        : "+r"(c.sum[0][0]), "+r"(c.sum[0][1]), "+r"(c.sum[1][0]), "+r"(c.sum[1][1])
        : "r"(first[0]), "r"(first[1]), "r"(second[0]), "r"(second[1]), "r"(x), "r"(y));
  } else {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 { %0, %1, %2, %3}, { %4, %5, %6, %7}, { %8, %9}, { %0, %1, %2, %3};"
        : "+r"(c.sum[0][0]), "+r"(c.sum[0][1]), "+r"(c.sum[1][0]), "+r"(c.sum[1][1])
        : "r"(first[0]), "r"(first[1]), "r"(second[0]), "r"(second[1]), "r"(x), "r"(y));
  }
}
template <bool SIGNED> HFC_FUNCTION void hfc_multiply_int8(hfc_int_acc& c, const uint32_t (&first)[HFC_LANE_OUTPUTS], uint32_t x) {
  if constexpr (SIGNED) {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 { %0, %1, %2, %3}, { %4, %5}, { %6}, { %0, %1, %2, %3};"
        : "+r"(c.sum[0][0]), "+r"(c.sum[0][1]), "+r"(c.sum[1][0]), "+r"(c.sum[1][1])
        : "r"(first[0]), "r"(first[1]), "r"(x));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.s32.u8.s8.s32 { %0, %1, %2, %3}, { %4, %5}, { %6}, { %0, %1, %2, %3};"
        : "+r"(c.sum[0][0]), "+r"(c.sum[0][1]), "+r"(c.sum[1][0]), "+r"(c.sum[1][1])
        : "r"(first[0]), "r"(first[1]), "r"(x));
  }
}

template <class S> HFC_FUNCTION float hfc_whole_number(int high, int low) { return (float)(S::PLANES == 1 ? high : high * 256 + low); }

// The products of one scale group, as whole numbers below 2^31: nothing is rounded but their sum.
template <class W, class S, int BATCH>
HFC_FUNCTION void hfc_int8_group(const uint32_t (&codes)[HFC_LANE_OUTPUTS][W::BATCH_WORDS], int group, const hfc_uint4* inputs, int begin,
                                 const int (&column)[S::COLUMN_TILES], hfc_lane_acc (&dot)[S::COLUMN_TILES]) {
  constexpr int first = BATCH * W::BATCH_WORDS, zero = W::HAS_LOW ? 0 : W::ZERO;
  hfc_int_acc high[S::COLUMN_TILES] = {}, low[S::COLUMN_TILES] = {};
#pragma unroll
  for (int p = first; p < first + W::BATCH_WORDS; p++) {
    if (p >= W::PRODUCTS || W::group_of(p) != group) continue;
    const bool pair = p % 2 == 0 && p + 1 < W::PRODUCTS && W::group_of(p + 1) == group;
    if (p % 2 == 1 && W::group_of(p - 1) == group) continue;  // went with the one before
    uint32_t one[HFC_LANE_OUTPUTS], two[HFC_LANE_OUTPUTS] = {};
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
      one[l] = hfc_signed_bytes<zero>(codes[l][p - first]);
      if (pair) two[l] = hfc_signed_bytes<zero>(codes[l][p + 1 - first]);
    }
#pragma unroll
    for (int h = 0; h < S::COLUMN_TILES; h++) {
      const hfc_uint4 x = inputs[hfc_unit(begin / 32 + W::place_of(p) / 2, S::ROWS, column[h], hfc_k_lane(), 0)];
      if (pair) {
        hfc_multiply_int8<zero != 0>(high[h], one, two, x.x, x.y);
        if constexpr (S::PLANES == 2) hfc_multiply_int8<zero != 0>(low[h], one, two, x.z, x.w);
      } else {
        hfc_multiply_int8<zero != 0>(high[h], one, p % 2 ? x.y : x.x);
        if constexpr (S::PLANES == 2) hfc_multiply_int8<zero != 0>(low[h], one, p % 2 ? x.w : x.z);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < S::COLUMN_TILES; h++) {
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
#pragma unroll
      for (int v = 0; v < S::LANE_COLUMNS; v++) dot[h].sum[l][v] = hfc_whole_number<S>(high[h].sum[l][v], low[h].sum[l][v]);
    }
  }
}
#endif
