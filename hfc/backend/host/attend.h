// Pieces of attention over one block of keys: transpose, scores, online softmax, weighted sum of values, merge.
// Every sum runs over k or over keys in order, so a query's result does not depend on the queries beside it.
#ifndef HFC_HOST_ATTEND_H
#define HFC_HOST_ATTEND_H
#include "hfc.h"

#define HFC_NONE (-__builtin_inff())  // the maximum of no scores

// 16 codes of `bits` (2, 3 or 4) each: 8 of them fill `bits` bytes. Both words are loads of 4 bytes within the 16 codes:
// loads of 3 bytes become SSE4a's extrq on AMD, which made asym3 ten times slower.
HFC_INLINE u32x16 hfc_codes16(const uint8_t* from, const int bits) {
  uint32_t a, b;
  memcpy(&a, from, 4);
  memcpy(&b, from + 2 * bits - 4, 4);
  b >>= 32 - 8 * bits;
  const u32x16 words = {a, a, a, a, a, a, a, a, b, b, b, b, b, b, b, b};
  const u32x16 place = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
  return words >> place * (uint32_t)bits & ((1u << bits) - 1);
}
// levels[code]; the table has room for 16.
HFC_INLINE f32x16 hfc_levels16(u32x16 code, const float* levels, const int count) {
#ifdef __AVX512F__
  return __builtin_ia32_permvarsf512(hfc_load_f32(levels), (i32x16)code);
#elif defined(__AVX2__)
  f32x16 x;
  HFC_UNROLL for (int half = 0; half < 2; half++) {
    f32x8 low, high, found;
    i32x8 place;
    memcpy(&low, levels, sizeof low);
    memcpy(&high, levels + 8, sizeof high);
    memcpy(&place, (const char*)&code + 32 * half, sizeof place);
    found = __builtin_ia32_permvarsf256(low, place);
    if (count > 8) found = place > 7 ? __builtin_ia32_permvarsf256(high, place) : found;
    memcpy((char*)&x + 32 * half, &found, sizeof found);
  }
  return x;
#else
  f32x16 x = levels[0];
  HFC_UNROLL for (int i = 1; i < count; i++) x = code == (uint32_t)i ? (f32x16)levels[i] : x;
  return x;
#endif
}

// hfc_exp of 16 lanes: the same operations.
HFC_INLINE f32x16 hfc_exp16(f32x16 x) {
  const f32x16 low = -87.4f, high = 88.73f;
  const f32x16 clamped = x < low ? low : x > high ? high : x;
  const f32x16 shifted = clamped * 1.44269504f + 12582912.0f, n = shifted - 12582912.0f;
  const f32x16 r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  f32x16 e = r * 1.9875691500e-4f + 1.3981999507e-3f;
  e = e * r + 8.3334519073e-3f;
  e = e * r + 4.1665795894e-2f;
  e = e * r + 1.6666665459e-1f;
  e = e * r + 5.0000001201e-1f;
  e = e * (r * r) + r + 1.0f;
  u32x16 bits, power;
  memcpy(&bits, &e, sizeof e);
  memcpy(&power, &shifted, sizeof e);
  bits += power << 23;
  memcpy(&e, &bits, sizeof e);
  e = x < -87.3f ? (f32x16)0.0f : e;
  e = x > 88.722835f ? (f32x16)__builtin_inff() : e;
  return x != x ? x : e;
}

// Transpose by halves: rows d apart exchange the lanes that are d apart.
#define HFC_EXCHANGE(d, low, high)                        \
  HFC_UNROLL for (int i = 0; i < 16; i++) if (!(i & d)) { \
    const f32x16 a = r[i], b = r[i + d];                  \
    r[i] = __builtin_shufflevector(a, b, low);            \
    r[i + d] = __builtin_shufflevector(a, b, high);       \
  }
#define HFC_L1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HFC_H1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define HFC_L2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HFC_H2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define HFC_L4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HFC_H4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define HFC_L8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HFC_H8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31

// out[j * stride + t] = rows[t][j] for 16 rows and 16 j
HFC_INLINE void hfc_transpose16(const float* rows, int row_stride, int count, float* out, int stride) {
  f32x16 r[16];
  HFC_UNROLL for (int i = 0; i < 16; i++) r[i] = i < count ? hfc_load_f32(rows + (size_t)i * row_stride) : (f32x16)0.0f;
  HFC_EXCHANGE(1, HFC_L1, HFC_H1)
  HFC_EXCHANGE(2, HFC_L2, HFC_H2)
  HFC_EXCHANGE(4, HFC_L4, HFC_H4)
  HFC_EXCHANGE(8, HFC_L8, HFC_H8)
  HFC_UNROLL for (int i = 0; i < 16; i++) hfc_store_f32(out + i * stride, r[i]);
}

// Vectors of 16 that one pass of scores or values keeps for each of 4 queries: what fits the machine's registers.
#ifdef __AVX512F__
#define HFC_ATTEND_COLUMNS 4
#else
#define HFC_ATTEND_COLUMNS 1
#endif

// s[r][16 c + lane] = q[r] . k[16 c + lane] for `rows` queries and `columns` (both constants) vectors of 16 keys
HFC_INLINE void hfc_scores(const float* q, int q_stride, const float* kt, int size, const int rows, const int columns,
                           float* s, const int block) {
  f32x16 sum[4][4];
  HFC_UNROLL for (int r = 0; r < rows; r++) HFC_UNROLL for (int c = 0; c < columns; c++) sum[r][c] = 0.0f;
  for (int j = 0; j < size; j++, kt += block) {
    f32x16 k[4];
    HFC_UNROLL for (int c = 0; c < columns; c++) k[c] = hfc_load_f32(kt + c * 16);
    HFC_UNROLL for (int r = 0; r < rows; r++) {
      const f32x16 x = q[r * q_stride + j];
      HFC_UNROLL for (int c = 0; c < columns; c++) sum[r][c] = hfc_fma(x, k[c], sum[r][c]);
    }
  }
  HFC_UNROLL for (int r = 0; r < rows; r++) HFC_UNROLL for (int c = 0; c < columns; c++) hfc_store_f32(s + r * block + c * 16, sum[r][c]);
}

// o[r][16 c + lane] = o * rescale[r] + sum over t < count, in order, of p[r][t] * v[t][16 c + lane]
HFC_INLINE void hfc_values(const float* p, const int block, const float* v, int v_stride, int count, const int rows,
                           const int columns, const float* rescale, float* o, int o_stride) {
  f32x16 sum[4][4];
  HFC_UNROLL for (int r = 0; r < rows; r++)
    HFC_UNROLL for (int c = 0; c < columns; c++) sum[r][c] = hfc_load_f32(o + r * o_stride + c * 16) * rescale[r];
  for (int t = 0; t < count; t++, v += v_stride) {
    f32x16 x[4];
    HFC_UNROLL for (int c = 0; c < columns; c++) x[c] = hfc_load_f32(v + c * 16);
    HFC_UNROLL for (int r = 0; r < rows; r++) {
      const f32x16 w = p[r * block + t];
      HFC_UNROLL for (int c = 0; c < columns; c++) sum[r][c] = hfc_fma(w, x[c], sum[r][c]);
    }
  }
  HFC_UNROLL for (int r = 0; r < rows; r++)
    HFC_UNROLL for (int c = 0; c < columns; c++) hfc_store_f32(o + r * o_stride + c * 16, sum[r][c]);
}

// One query's part of a chunk: maximum m, sum l (16 lanes), output o before the division.
// Scores of keys [first, last) of the block become weights, the others 0; returns what to scale o by.
HFC_INLINE float hfc_soften(float* s, const int block, int first, int last, float* m, float* l) {
  if (first >= last) {
    memset(s, 0, block * sizeof(float));
    return 1.0f;
  }
  for (int t = 0; t < first; t++) s[t] = HFC_NONE;
  for (int t = last; t < block; t++) s[t] = HFC_NONE;
  f32x16 top = hfc_load_f32(s);
  HFC_UNROLL for (int c = 16; c < block; c += 16) {
    top = hfc_larger(top, hfc_load_f32(s + c));
  }
  const float highest = hfc_max(*m, hfc_max16(top)), rescale = hfc_exp(*m - highest);
  f32x16 sum = hfc_load_f32(l) * rescale;
  HFC_UNROLL for (int c = 0; c < block; c += 16) {
    const f32x16 w = hfc_exp16(hfc_load_f32(s + c) - highest);
    hfc_store_f32(s + c, w);
    sum += w;
  }
  hfc_store_f32(l, sum);
  *m = highest;
  return rescale;
}

// Adds a chunk's (m, l, o) to those of the chunks before it. `size` is a multiple of 16.
HFC_INLINE void hfc_merge(float* m, float* l, float* o, float part_m, float part_l, const float* part_o, int size) {
  const float highest = hfc_max(*m, part_m), a = hfc_exp(*m - highest), b = hfc_exp(part_m - highest);
  *l = *l * a + part_l * b;
  for (int j = 0; j < size; j += 16) hfc_store_f32(o + j, hfc_load_f32(o + j) * a + hfc_load_f32(part_o + j) * b);
  *m = highest;
}
#endif
