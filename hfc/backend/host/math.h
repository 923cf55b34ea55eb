// Scalar functions that element expressions may call. Branch-free, so loops over them become vector code; about 2 ulp.
// The same names exist in device/math.h; scalar.h has what both share.
#ifndef HFC_HOST_MATH_H
#define HFC_HOST_MATH_H
#include <stdint.h>
#include <string.h>

#define HFC_INLINE static inline __attribute__((always_inline))
#define HFC_FUNCTION HFC_INLINE  // as headers that kernels of GPUs and of the host share call it

// Storage types.
static inline float hfc_bits_to_f32(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}
static inline uint32_t hfc_f32_to_bits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}
static inline float hfc_f16_to_f32(uint16_t bits) {
  _Float16 x;
  memcpy(&x, &bits, 2);
  return (float)x;
}
static inline uint16_t hfc_f32_to_f16(float x) {
  const _Float16 half = (_Float16)x;
  uint16_t bits;
  memcpy(&bits, &half, 2);
  return bits;
}
static inline uint16_t hfc_f32_to_bf16(float x) {  // to nearest even; a NaN stays a quiet NaN
  const uint32_t bits = hfc_f32_to_bits(x), rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  return (uint16_t)(x != x ? bits >> 16 | 64u : rounded);
}

static inline float hfc_max(float a, float b) { return a > b ? a : b; }
static inline float hfc_min(float a, float b) { return a < b ? a : b; }
static inline float hfc_abs(float x) { return __builtin_fabsf(x); }
static inline float hfc_rsqrt(float x) { return 1.0f / __builtin_sqrtf(x); }
static inline float hfc_sqrt(float x) { return __builtin_sqrtf(x); }
static inline float hfc_relu(float x) { return x > 0.0f ? x : 0.0f * x; }  // keeps NaN

// e^x = 2^n * e^r with |r| <= ln2 / 2. Below -87.3 (where floats turn subnormal) it is 0, above 88.72 infinity; NaN stays.
static inline float hfc_exp(float x) {
  const float clamped = x < -87.4f ? -87.4f : x > 88.73f ? 88.73f : x;
  const float shifted = clamped * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: the fraction is rounded away
  const float n = shifted - 12582912.0f;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float e = 1.9875691500e-4f;
  e = e * r + 1.3981999507e-3f;
  e = e * r + 8.3334519073e-3f;
  e = e * r + 4.1665795894e-2f;
  e = e * r + 1.6666665459e-1f;
  e = e * r + 5.0000001201e-1f;
  e = e * (r * r) + r + 1.0f;
  e = hfc_bits_to_f32(hfc_f32_to_bits(e) + (hfc_f32_to_bits(shifted) << 23));
  e = x < -87.3f ? 0.0f : e;
  e = x > 88.722835f ? __builtin_inff() : e;
  return x != x ? x : e;
}

// log(1 + t) for t in [0, 1] as 2 atanh(t / (2 + t)), a series in s^2 <= 1/9.
static inline float hfc_log1p_unit(float t) {
  const float s = t / (2.0f + t), z = s * s;
  float p = 1.0f / 15.0f;
  p = p * z + 1.0f / 13.0f;
  p = p * z + 1.0f / 11.0f;
  p = p * z + 1.0f / 9.0f;
  p = p * z + 1.0f / 7.0f;
  p = p * z + 1.0f / 5.0f;
  p = p * z + 1.0f / 3.0f;
  return 2.0f * (s + s * z * p);
}

static inline float hfc_sigmoid(float x) { return 1.0f / (1.0f + hfc_exp(-x)); }
static inline float hfc_silu(float x) { return x / (1.0f + hfc_exp(-x)); }
static inline float hfc_softplus(float x) { return hfc_max(x, 0.0f) + hfc_log1p_unit(hfc_exp(-hfc_abs(x))); }

// tanh: an odd polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel.
static inline float hfc_tanh(float x) {
  const float a = hfc_abs(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float near = x + x * z * p;
  const float far = 1.0f - 2.0f / (hfc_exp(2.0f * a) + 1.0f);
  return a < 0.625f ? near : x < 0.0f ? -far : x != x ? x : far;
}
static inline float hfc_gelu_tanh(float x) {
  return 0.5f * x * (1.0f + hfc_tanh(0.79788456f * (x + 0.044715f * x * x * x)));
}

#endif
