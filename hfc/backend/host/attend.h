// Pieces of attention over one block of keys: scores, online softmax, weighted sum of values, merge.
// Every sum runs over k or over keys in order, so a query's result does not depend on the queries beside it.
#ifndef HFC_HOST_ATTEND_H
#define HFC_HOST_ATTEND_H
#include "hfc.h"
#include "transpose.h"

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
// The same as bytes, 16 or 32 `codes`: 8 of them lie in a word of 64 bits and are spread by halves.
HFC_INLINE void hfc_code_bytes(const uint8_t* from, const int bits, const int codes, uint8_t* to) {
  const int last = codes / 8 - 1;
  u64x4 x = {hfc_load_u32_at(from), hfc_load_u32_at(from + bits)};
  if (codes == 32) x[2] = hfc_load_u32_at(from + 2 * bits);
  x[last] = hfc_load_u32_at(from + codes / 8 * bits - 4) >> (32 - 8 * bits);
  x &= (1ull << 8 * bits) - 1;
  x = (x | x << 4 * (8 - bits)) & ((1ull << 4 * bits) - 1) * 0x0000000100000001;
  x = (x | x << 2 * (8 - bits)) & ((1ull << 2 * bits) - 1) * 0x0001000100010001;
  x = (x | x << (8 - bits)) & ((1ull << bits) - 1) * 0x0101010101010101;
  memcpy(to, &x, codes);
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

// Vectors of 16 that one pass of scores or values keeps for each of `rows` queries: what fits the machine's registers.
#ifdef __AVX512F__
#define HFC_ATTEND_COLUMNS(rows) 4
#else
#define HFC_ATTEND_COLUMNS(rows) 1
#endif
// CALL(R) with the constant R = some, 1 to 4.
#define HFC_FOR_ROWS(some, CALL) \
  if ((some) == 4) { CALL(4) } else if ((some) == 3) { CALL(3) } else if ((some) == 2) { CALL(2) } else { CALL(1) }

// 16 elements that lie side by side as floats, without the scale of their group.
typedef f32x16 HfcWide(const void* p);

// About `bytes` bytes of the next block, asked for while this one is multiplied: a core waits for 10 to 16 lines at a time, and one that
// asks for all of a block at once stands still meanwhile (f16 at 8,000 tokens 29.3 -> 23.3 ms; into the first cache 24.9). 0: nothing.
HFC_INLINE void hfc_read_ahead(const uint8_t* from, const int bytes) {
  HFC_UNROLL for (int line = 0; line < (bytes < 64 ? bytes > 0 : (bytes + 32) / 64); line++) __builtin_prefetch(from + 64 * line, 0, 2);
}

// s[r][16 c + lane] = q[r] . k[16 c + lane] for `rows` queries and `columns` (both constants) vectors of 16 keys. kt: transposed,
// elements of `bytes`; scale[g * block + t] of key t and its group g of `group` elements; NULL: none. ahead: what an element brings
// `ahead_bytes` of.
HFC_INLINE void hfc_scores(const float* q, int q_stride, const uint8_t* kt, HfcWide* wide, const int bytes, const int size,
                           const int group, const float* scale, const int rows, const int columns, float* s, const int block,
                           const uint8_t* ahead, const int ahead_bytes) {
  for (int at = 0; at < size; at += group) {
    f32x16 sum[4][4];
    HFC_UNROLL for (int r = 0; r < rows; r++) HFC_UNROLL for (int c = 0; c < columns; c++) sum[r][c] = 0.0f;
    for (int j = at; j < at + group; j++, kt += block * bytes) {
      hfc_read_ahead(ahead + j * ahead_bytes, ahead_bytes);
      HFC_UNROLL for (int c = 0; c < columns; c++) {
        const f32x16 k = wide(kt + c * 16 * bytes);
        HFC_UNROLL for (int r = 0; r < rows; r++) sum[r][c] = hfc_fma(q[r * q_stride + j], k, sum[r][c]);
      }
    }
    HFC_UNROLL for (int c = 0; c < columns; c++) HFC_UNROLL for (int r = 0; r < rows; r++) {
      float* to = s + r * block + c * 16;
      f32x16 one = sum[r][c];
      if (scale) one *= hfc_load_f32(scale + at / group * block + c * 16);
      hfc_store_f32(to, at ? hfc_load_f32(to) + one : one);
    }
  }
}

// o[r][16 c + lane] = o * rescale[r] + sum over t < count, in order, of p[r][t] * v[t][16 c + lane]; elements of v of `bytes`.
// ahead: from v to what a row of it brings `ahead_bytes` of.
HFC_INLINE void hfc_values(const float* p, const int p_stride, const uint8_t* v, HfcWide* wide, const int bytes, int v_stride, int count,
                           const int rows, const int columns, const float* rescale, float* o, int o_stride,
                           const int ahead, const int ahead_bytes) {
  f32x16 sum[4][4];
  HFC_UNROLL for (int r = 0; r < rows; r++)
    HFC_UNROLL for (int c = 0; c < columns; c++) sum[r][c] = hfc_load_f32(o + r * o_stride + c * 16) * rescale[r];
  for (int t = 0; t < count; t++, v += v_stride) {
    hfc_read_ahead(v + ahead, ahead_bytes);
    HFC_UNROLL for (int c = 0; c < columns; c++) {
      const f32x16 x = wide(v + c * 16 * bytes);
      HFC_UNROLL for (int r = 0; r < rows; r++) sum[r][c] = hfc_fma(p[r * p_stride + t], x, sum[r][c]);
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
