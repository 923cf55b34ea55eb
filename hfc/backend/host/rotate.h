// The signed Walsh-Hadamard rotation of hfc/formats/rotation.py, in place, 256 floats at a time.
#ifndef HFC_HOST_ROTATE_H
#define HFC_HOST_ROTATE_H
#include "hfc.h"

// Bit j of s1 and s2: set where the sign is +.
static const uint16_t HFC_SIGNS[2][16] = {
  { 0x436f, 0x7e1f, 0xa4db, 0x7dcc, 0x32f7, 0x6561, 0xea31, 0x3461, 0xf8ac, 0x3f8f, 0x3038, 0x5787, 0x9d88, 0x3f93, 0x25a3, 0x408e },
  { 0xb361, 0x615e, 0x84a4, 0x8eab, 0xc03b, 0x2481, 0xc661, 0x511c, 0x19b8, 0x3ad4, 0xec93, 0xbef3, 0x4271, 0xee3a, 0xafe9, 0x390f },
};

HFC_INLINE f32x16 hfc_signed(f32x16 v, uint16_t plus) {
  u32x16 bits;
  const u32x16 lane = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
  memcpy(&bits, &v, sizeof v);
  bits ^= (~((uint32_t)plus >> lane) & 1) << 31;
  memcpy(&v, &bits, sizeof v);
  return v;
}

// Lanes whose bit `stride` is clear become v + other, the rest other - v.
HFC_INLINE f32x16 hfc_rising(const int stride) {
  f32x16 sign;
  HFC_UNROLL for (int i = 0; i < 16; i++) sign[i] = i & stride ? -1.0f : 1.0f;
  return sign;
}
HFC_INLINE f32x16 hfc_hadamard16(f32x16 v) {
  v = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14) + v * hfc_rising(1);
  v = __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13) + v * hfc_rising(2);
  v = __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11) + v * hfc_rising(4);
  v = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7) + v * hfc_rising(8);
  return v;
}

// x: [count] floats, a multiple of `group` (16, 32, … 256), which is one rotation.
static __attribute__((noinline)) void hfc_rotate(float* x, int count, const int group) {
  const int vectors = group / 16;
  const float scale = 1.0f / __builtin_sqrtf((float)group);
  for (float* end = x + count; x < end; x += group) {
    f32x16 v[16];
    for (int i = 0; i < vectors; i++) v[i] = hfc_hadamard16(hfc_signed(hfc_load_f32(x + i * 16), HFC_SIGNS[0][i]));
    for (int stride = 1; stride < vectors; stride *= 2)
      for (int i = 0; i < vectors; i++)
        if (!(i & stride)) {
          const f32x16 a = v[i], b = v[i + stride];
          v[i] = a + b;
          v[i + stride] = a - b;
        }
    for (int i = 0; i < vectors; i++) hfc_store_f32(x + i * 16, hfc_signed(v[i], HFC_SIGNS[1][i]) * scale);
  }
}
#endif
