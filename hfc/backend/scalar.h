// Scalar functions of f32 that kernels of GPUs and of the host share; the others are in device/math.h and host/math.h.
#pragma once
HFC_FUNCTION float hfc_bf16_to_f32(uint16_t bits) { return hfc_bits_to_f32((uint32_t)bits << 16); }
HFC_FUNCTION float hfc_at_least(float x, float low) { return x < low ? low : x; }  // keeps NaN, as hfc_at_most does
HFC_FUNCTION float hfc_at_most(float x, float high) { return x > high ? high : x; }

// x Phi(x) = 0.5 x erfc(-x / sqrt 2), without cancelling in either tail: erfc(z) = t e^(-z^2) Q(t) for z >= 0 with t = 1 / (1 + 0.4 z).
// Q was fitted to erfc in double precision, relative error 1.3e-8.
HFC_FUNCTION float hfc_gelu(float x) {
  const float z = hfc_abs(x) * 0.70710678f, t = 1.0f / (1.0f + 0.4f * z);
  float q = -0.02602774f;
  q = q * t + 0.17883367f;
  q = q * t - 0.45421634f;
  q = q * t + 0.48872588f;
  q = q * t - 0.23625388f;
  q = q * t + 0.24667521f;
  q = q * t + 0.13828825f;
  q = q * t + 0.2131149f;
  q = q * t + 0.22516374f;
  q = q * t + 0.22569632f;
  const float tail = 0.5f * x * (t * q * hfc_exp(-z * z));
  return x < 0.0f ? tail : x - tail;
}
