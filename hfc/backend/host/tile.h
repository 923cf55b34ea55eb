// Dot products of weight tiles (hfc/formats/tile.py: 16 rows streaming along K) with rows of activations.
//
// A row becomes, per panel of 64 k, whole numbers X with x = a * X, |X| <= 127 * 128 (two planes of 8 bits) or 127 (one
// plane), and an `a` per 32. Codes times X is exact in int32, so the result of a row depends neither on the rows beside it
// nor on the width of the machine: y = sum over groups, in order of k, of scale * (a * dot) + min * (a * sum X).
#ifndef HFC_HOST_TILE_H
#define HFC_HOST_TILE_H
#include "hfc.h"
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__) || defined(__ARM_FEATURE_DOTPROD) || defined(__ARM_FEATURE_MATMUL_INT8)
#define HFC_BYTE_DOT 1  // u8 x s8 -> s32 in one instruction: X is kept as planes of bytes
#else
#define HFC_BYTE_DOT 0  // s16 x s16 -> s32 pairs: X is kept as 16 bits, in the order k0 k2 k1 k3
#endif

enum { HFC_PANEL = 64, HFC_X_BYTES = 160 };
typedef struct {
  union {
    int8_t plane[2][64];  // high, low: X = 128 * high + low; with one plane X = high
    int16_t whole[64];
  };
  float a[2];       // per 32 k
  float sum32[2];   // a * sum of X
  float sum16[4];
} HfcX;
_Static_assert(sizeof(HfcX) == HFC_X_BYTES, "size of a panel of activations");

// Halves of a and b that meet in a tree of sums or maxima: the low and high 8 lanes of each, or pairs of 4.
#define HFC_LOW8(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23)
#define HFC_HIGH8(a, b) __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31)
#define HFC_LOW4(a, b) __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define HFC_HIGH4(a, b) __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
#define HFC_SWAP4(a) __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)
#define HFC_SWAP2(a) __builtin_shufflevector(a, a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)
#define HFC_SWAP1(a) __builtin_shufflevector(a, a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)

HFC_INLINE f32x16 hfc_as_f32(u32x16 bits) {
  f32x16 v;
  memcpy(&v, &bits, sizeof v);
  return v;
}
HFC_INLINE u32x16 hfc_as_u32(f32x16 v) {
  u32x16 bits;
  memcpy(&bits, &v, sizeof v);
  return bits;
}

// x: [panels * 64] floats, padded with zeros. A NaN or infinity anywhere in a group makes the group's `a` NaN.
HFC_INLINE void hfc_quantize(const float* x, int panels, const int planes, HfcX* out) {
  typedef int8_t i8x16 __attribute__((ext_vector_type(16)));
  typedef int16_t i16x16 __attribute__((ext_vector_type(16)));
  const float steps = planes == 2 ? 127.0f * 128.0f : 127.0f;
  for (int p = 0; p < panels; p++, out++, x += 64) {
    f32x16 v[4];
    u32x16 most[4];  // as bits: a NaN is above infinity, which is above all numbers
    HFC_UNROLL for (int i = 0; i < 4; i++) {
      v[i] = hfc_load_f32(x + i * 16);
      most[i] = hfc_as_u32(v[i]) & 0x7fffffff;
    }
    const u32x16 m0 = __builtin_elementwise_max(most[0], most[1]), m1 = __builtin_elementwise_max(most[2], most[3]);
    u32x16 m = __builtin_elementwise_max(HFC_LOW8(m0, m1), HFC_HIGH8(m0, m1));  // lanes 0-7: first group, 8-15: second
    m = __builtin_elementwise_max(m, HFC_SWAP4(m));
    m = __builtin_elementwise_max(m, HFC_SWAP2(m));
    m = __builtin_elementwise_max(m, HFC_SWAP1(m));
    const f32x16 top = hfc_as_f32(m > 0x0da24260 ? m : 0x7f7fffff);  // below 1e-30 a group counts as zero
    const f32x16 inverse = steps / top;
    const f32x16 a = hfc_as_f32(m > 0x0da24260 ? hfc_as_u32(top / steps + (top - top)) : 0);

    i32x16 X[4];
    HFC_UNROLL for (int i = 0; i < 4; i++) {
      const f32x16 shifted = v[i] * inverse[i / 2 * 8] + 12582912.0f;  // rounds to nearest even
      memcpy(&X[i], &shifted, sizeof shifted);
      X[i] -= 0x4b400000;
#if HFC_BYTE_DOT
      const i32x16 high = planes == 2 ? (X[i] + 64) >> 7 : X[i];
      const i8x16 h = __builtin_convertvector(high, i8x16), l = __builtin_convertvector(X[i] - (high << 7), i8x16);
      memcpy(out->plane[0] + i * 16, &h, 16);
      if (planes == 2) memcpy(out->plane[1] + i * 16, &l, 16);
#else
      const i16x16 w = __builtin_convertvector(X[i], i16x16);
      const i16x16 s = __builtin_shufflevector(w, w, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
      memcpy(out->whole + i * 16, &s, 32);
#endif
    }
    const i32x16 s0 = HFC_LOW8(X[0], X[1]) + HFC_HIGH8(X[0], X[1]), s1 = HFC_LOW8(X[2], X[3]) + HFC_HIGH8(X[2], X[3]);
    i32x16 sum = HFC_LOW4(s0, s1) + HFC_HIGH4(s0, s1);  // 4 lanes for each 16 k
    sum += HFC_SWAP2(sum);
    sum += HFC_SWAP1(sum);
    HFC_UNROLL for (int half = 0; half < 2; half++) {
      out->a[half] = a[half * 8];
      out->sum32[half] = a[half * 8] * (float)(sum[half * 8] + sum[half * 8 + 4]);
      out->sum16[half * 2] = a[half * 8] * (float)sum[half * 8];
      out->sum16[half * 2 + 1] = a[half * 8] * (float)sum[half * 8 + 4];
    }
  }
}

HFC_INLINE int32_t hfc_int_at(const void* p) {
  int32_t v;
  memcpy(&v, p, 4);
  return v;
}

// Operands of clang's builtins. <immintrin.h> has names for them, and takes longer to read than a small model to compile.
typedef char HfcB16 __attribute__((vector_size(16))), HfcB32 __attribute__((vector_size(32))), HfcB64 __attribute__((vector_size(64)));
typedef short HfcH8 __attribute__((vector_size(16))), HfcH16 __attribute__((vector_size(32))), HfcH32 __attribute__((vector_size(64)));
typedef int HfcI8 __attribute__((vector_size(32))), HfcI16 __attribute__((vector_size(64)));

#if HFC_BYTE_DOT
// acc[lane] += sum of 4 codes of the lane times 4 bytes of x
HFC_INLINE i32x16 hfc_dot4(i32x16 acc, u8x64 w, int32_t x) {
#if defined(__AVX512VNNI__)
  return (i32x16)__builtin_ia32_vpdpbusd512((HfcI16)acc, (HfcI16)w, (HfcI16)(i32x16)x);
#elif defined(__aarch64__)
  const int8x16_t wide = vreinterpretq_s8_s32(vdupq_n_s32(x));
  int32x4_t a[4];
  uint8x16_t b[4];
  memcpy(a, &acc, 64);
  memcpy(b, &w, 64);
#if defined(__ARM_FEATURE_MATMUL_INT8)
  for (int i = 0; i < 4; i++) a[i] = vusdotq_s32(a[i], b[i], wide);
#else  // both signed: codes less 128, and 128 times the sum of x
  const int32x4_t above = vshlq_n_s32(vdotq_s32(vdupq_n_s32(0), vdupq_n_s8(64), wide), 1);
  for (int i = 0; i < 4; i++)
    a[i] = vdotq_s32(vaddq_s32(a[i], above), vreinterpretq_s8_u8(veorq_u8(b[i], vdupq_n_u8(128))), wide);
#endif
  memcpy(&acc, a, 64);
  return acc;
#else
  HfcI8 a[2], b[2], x8 = {x, x, x, x, x, x, x, x};
  memcpy(a, &acc, 64);
  memcpy(b, &w, 64);
  for (int i = 0; i < 2; i++) a[i] = __builtin_ia32_vpdpbusd256(a[i], b[i], x8);
  memcpy(&acc, a, 64);
  return acc;
#endif
}
#else
// acc[lane] += a[2 lane] * x.low + a[2 lane + 1] * x.high, 16-bit operands
HFC_INLINE i32x16 hfc_dot2(i32x16 acc, i32x16 w, int32_t x) {
  const i32x16 wide = x;
#if defined(__AVX512BW__)
  return acc + (i32x16)__builtin_ia32_pmaddwd512((HfcH32)w, (HfcH32)wide);
#elif defined(__AVX2__)
  HfcH16 a[2], b[2];
  memcpy(a, &wide, 64);
  memcpy(b, &w, 64);
  for (int i = 0; i < 2; i++) b[i] = (HfcH16)__builtin_ia32_pmaddwd256(b[i], a[i]);
  memcpy(&w, b, 64);
  return acc + w;
#elif defined(__SSE2__)
  HfcH8 a[4], b[4];
  memcpy(a, &wide, 64);
  memcpy(b, &w, 64);
  for (int i = 0; i < 4; i++) b[i] = (HfcH8)__builtin_ia32_pmaddwd128(b[i], a[i]);
  memcpy(&w, b, 64);
  return acc + w;
#else
  return acc + (w << 16 >> 16) * (wide << 16 >> 16) + (w >> 16) * (wide >> 16);
#endif
}
#endif

HFC_INLINE u8x64 hfc_look_up(const uint8_t* table, u8x64 codes) {
#if defined(__AVX512BW__)
  HfcB64 wide;
  for (int i = 0; i < 4; i++) memcpy((char*)&wide + i * 16, table, 16);
  return (u8x64)__builtin_ia32_pshufb512(wide, (HfcB64)codes);
#else
#if defined(__AVX2__)
  HfcB32 wide, part[2];
  for (int i = 0; i < 2; i++) memcpy((char*)&wide + i * 16, table, 16);
  memcpy(part, &codes, 64);
  for (int i = 0; i < 2; i++) part[i] = __builtin_ia32_pshufb256(wide, part[i]);
#elif defined(__SSSE3__)
  HfcB16 wide, part[4];
  memcpy(&wide, table, 16);
  memcpy(part, &codes, 64);
  for (int i = 0; i < 4; i++) part[i] = __builtin_ia32_pshufb128(wide, part[i]);
#elif defined(__aarch64__)
  uint8x16_t wide = vld1q_u8(table), part[4];
  memcpy(part, &codes, 64);
  for (int i = 0; i < 4; i++) part[i] = vqtbl1q_u8(wide, part[i]);
#else
  uint8_t part[64];
  memcpy(part, &codes, 64);
  for (int i = 0; i < 64; i++) part[i] = table[part[i]];
#endif
  memcpy(&codes, part, 64);
  return codes;
#endif
}

// The 8 quads (4 consecutive k for 16 rows) of half a panel, as unsigned bytes: planes of 4, 2 and 1 bits put together.
HFC_INLINE void hfc_unpack(const uint8_t* codes, const int bits, const uint8_t* table, u8x64 w[8]) {
  u8x64 v;
  HFC_UNROLL for (int q = 0; q < 8; q++) {
    if (bits == 8) {
      memcpy(&w[q], codes + q * 64, 64);
      continue;
    }
    w[q] = 0;
    if (bits & 4) {
      memcpy(&v, codes + q / 2 * 64, 64);
      w[q] = q % 2 ? v >> 4 : v & 15;
    }
    if (bits & 2) {
      memcpy(&v, codes + ((bits & 4) + q / 4) * 64, 64);
      w[q] |= (v >> (q % 4 * 2) & 3) << (bits & 4);
    }
    if (bits & 1) {
      memcpy(&v, codes + ((bits & 6) + q / 8) * 64, 64);
      w[q] |= (v >> q & 1) << (bits & 6);
    }
    if (table) w[q] = hfc_look_up(table, w[q]);
  }
}

// Exact dot of quads first..first+count-1 with the same k of one row.
HFC_INLINE i32x16 hfc_dot_quads(const u8x64* w, const HfcX* x, int at, const int first, const int count, const int planes) {
  i32x16 acc = 0;
#if HFC_BYTE_DOT
  HFC_UNROLL for (int q = first; q < first + count; q++) acc = hfc_dot4(acc, w[q], hfc_int_at(x->plane[0] + at + q * 4));
  if (planes == 2) {
    acc <<= 7;
    HFC_UNROLL for (int q = first; q < first + count; q++) acc = hfc_dot4(acc, w[q], hfc_int_at(x->plane[1] + at + q * 4));
  }
#else
  HFC_UNROLL for (int q = first; q < first + count; q++) {
    i32x16 v;
    memcpy(&v, &w[q], 64);
    acc = hfc_dot2(acc, v & 0x00ff00ff, hfc_int_at(x->whole + at + q * 4));
    acc = hfc_dot2(acc, v >> 8 & 0x00ff00ff, hfc_int_at(x->whole + at + q * 4 + 2));
  }
#endif
  return acc;
}

// Number above the scales of a span, f16 or f32.
HFC_INLINE f32x16 hfc_load_outer(const uint8_t* p, const int outer_bytes) {
  return outer_bytes == 4 ? hfc_load_f32(p) : hfc_wide_f16(hfc_load_f16(p));
}

// Scale or minimum number `i` of a header; `above` is what a span's number says, for bytes.
HFC_INLINE f32x16 hfc_load_scale(const uint8_t* p, int i, const int scale_bytes, f32x16 above) {
  typedef int8_t i8x16 __attribute__((ext_vector_type(16)));
  p += i * 16 * scale_bytes;
  if (scale_bytes == 4) return hfc_load_f32(p);
  if (scale_bytes == 2) return hfc_wide_f16(hfc_load_f16(p));
  i8x16 v;
  memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, f32x16) * above;
}

// Tiles stream from memory; the machine's own prefetching stays too close. One Zen 5 core, q4_1 and q6_k, 2026-11:
// one row 33 -> 41 and 14 -> 39 GB/s, eight rows 1.86 -> 0.68 ms.
HFC_INLINE void hfc_fetch(const uint8_t* p) { __builtin_prefetch(p + 8192); }

// y[r][lane] for `rows` rows of activations (a constant) and the 16 rows of one tile. The rest describes the layout.
HFC_INLINE void hfc_tile_dot(const uint8_t* tile, int panels, const HfcX* const* x, const int rows, const int bits,
                             const int group, const int scale_bytes, const int has_min, const float zero, const int span,
                             const int outer_bytes, const int header, const uint8_t* table, const int planes,
                             float (*y)[16]) {
  const int scales = HFC_PANEL / group, first = scale_bytes == 1 ? 16 * outer_bytes * (1 + has_min) : 0;
  f32x16 sum[8];
  HFC_UNROLL for (int r = 0; r < rows; r++) sum[r] = 0.0f;
  for (int p = 0; p < panels; p += span, tile += header + span * bits * 128) {
    f32x16 above = 0.0f, above_min = 0.0f;
    if (scale_bytes == 1) above = hfc_load_outer(tile, outer_bytes);
    if (scale_bytes == 1 && has_min) above_min = -hfc_load_outer(tile + 16 * outer_bytes, outer_bytes);
    for (int panel = 0; panel < span; panel++) {
      const uint8_t *codes = tile + header + panel * bits * 128, *numbers = tile + first;
      HFC_UNROLL for (int line = 0; line < bits * 2 + header / span / 64; line++) hfc_fetch(codes + line * 64);
      HFC_UNROLL for (int half = 0; half < 2; half++) {
        u8x64 w[8];
        hfc_unpack(codes + half * bits * 64, bits, table, w);
        HFC_UNROLL for (int part = 0; part < scales / 2; part++) {
          const int s = half * scales / 2 + part, at = panel * scales + s;
          const f32x16 scale = hfc_load_scale(numbers, at, scale_bytes, above);
          f32x16 low = scale * zero;
          if (has_min) low = hfc_load_scale(numbers, span * scales + at, scale_bytes, above_min) + (zero != 0.0f ? low : 0.0f);
          HFC_UNROLL for (int r = 0; r < rows; r++) {
            const HfcX* xp = x[r] + p + panel;
            const i32x16 dot = hfc_dot_quads(w, xp, half * 32, part * group / 4, group / 4, planes);
            sum[r] = hfc_fma(scale, __builtin_convertvector(dot, f32x16) * xp->a[half], sum[r]);
            if (has_min || zero != 0.0f) sum[r] = hfc_fma(low, (f32x16)(group == 32 ? xp->sum32[s] : xp->sum16[s]), sum[r]);
          }
        }
      }
    }
  }
  HFC_UNROLL for (int r = 0; r < rows; r++) hfc_store_f32(y[r], sum[r]);
}

enum { HFC_F32, HFC_F16, HFC_BF16 };
HFC_INLINE f32x16 hfc_load_element(const uint8_t* p, const int element) {
  return element == HFC_F32 ? hfc_load_f32(p) : element == HFC_F16 ? hfc_wide_f16(hfc_load_f16(p))
                                                                   : hfc_wide_bf16(hfc_load_u16(p));
}

// The same for a tile of floats, [k][16 rows]: even and odd k are summed apart, both in order.
HFC_INLINE void hfc_tile_dot_float(const uint8_t* tile, int k_count, const float* const* x, const int rows,
                                   const int element, float (*y)[16]) {
  const int bytes = element == HFC_F32 ? 64 : 32;
  f32x16 even[8], odd[8];
  HFC_UNROLL for (int r = 0; r < rows; r++) even[r] = odd[r] = 0.0f;
  int k = 0;
  for (; k + 8 <= k_count; k += 8, tile += 8 * bytes) {
    HFC_UNROLL for (int line = 0; line < bytes / 8; line++) hfc_fetch(tile + line * 64);
    HFC_UNROLL for (int i = 0; i < 8; i++) {
      const f32x16 w = hfc_load_element(tile + i * bytes, element);
      HFC_UNROLL for (int r = 0; r < rows; r++) {
        if (i % 2) odd[r] = hfc_fma(w, (f32x16)x[r][k + i], odd[r]);
        else even[r] = hfc_fma(w, (f32x16)x[r][k + i], even[r]);
      }
    }
  }
  for (; k < k_count; k++, tile += bytes) {
    const f32x16 w = hfc_load_element(tile, element);
    HFC_UNROLL for (int r = 0; r < rows; r++) {
      if (k % 2) odd[r] = hfc_fma(w, (f32x16)x[r][k], odd[r]);
      else even[r] = hfc_fma(w, (f32x16)x[r][k], even[r]);
    }
  }
  HFC_UNROLL for (int r = 0; r < rows; r++) hfc_store_f32(y[r], even[r] + odd[r]);
}

#endif
