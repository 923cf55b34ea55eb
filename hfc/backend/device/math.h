// Scalar functions of f32 and the storage types, the same names as host/math.h; scalar.h has what both share. No device library: each is a few
// instructions, right to a few units in the last place over the whole range.
#pragma once
#define HFC_INFINITY __builtin_inff()

#if defined(__HIP__)
HFC_FUNCTION float hfc_exp2_near(float x) { return __builtin_amdgcn_exp2f(x); }  // |x| <= 1
HFC_FUNCTION float hfc_scale_by_power(float x, int n) { return __builtin_amdgcn_ldexpf(x, n); }
HFC_FUNCTION float hfc_rsqrt(float x) { return __builtin_amdgcn_rsqf(x); }
#else
HFC_FUNCTION float hfc_exp2_near(float x) { return __nvvm_ex2_approx_f(x); }
HFC_FUNCTION float hfc_scale_by_power(float x, int n) {  // two factors: one alone would overflow at the ends
  const int half = n / 2;
  return x * __builtin_bit_cast(float, (half + 127) << 23) * __builtin_bit_cast(float, (n - half + 127) << 23);
}
HFC_FUNCTION float hfc_rsqrt(float x) { return __nvvm_rsqrt_approx_f(x); }
#endif

HFC_FUNCTION float hfc_exp2(float x) { return hfc_exp2_near(x); }  // any x; what lies below the normal numbers may be 0

HFC_FUNCTION float hfc_abs(float x) { return __builtin_fabsf(x); }
HFC_FUNCTION float hfc_max(float x, float y) { return x > y ? x : y; }
HFC_FUNCTION float hfc_min(float x, float y) { return x < y ? x : y; }
HFC_FUNCTION float hfc_sqrt(float x) { return x > 0.0f ? x * hfc_rsqrt(x) : x; }
HFC_FUNCTION float hfc_relu(float x) { return x < 0.0f ? 0.0f : x; }

// e^x = 2^n 2^r with n = round(x log2 e), log2 e in two parts so that r keeps its low bits.
HFC_FUNCTION float hfc_exp(float x) {
  if (x > 89.0f) return HFC_INFINITY;
  if (x < -104.0f) return 0.0f;
  const float n = __builtin_rintf(x * 0x1.715476p+0f);
  const float r = __builtin_fmaf(x, 0x1.4ae0bep-26f, __builtin_fmaf(x, 0x1.715476p+0f, -n));
  return hfc_scale_by_power(hfc_exp2_near(r), (int)n);
}

HFC_FUNCTION float hfc_sigmoid(float x) { return 1.0f / (1.0f + hfc_exp(-x)); }
HFC_FUNCTION float hfc_silu(float x) { return x * hfc_sigmoid(x); }

// log(1 + y) for 0 <= y <= 1: 2 atanh(s) with s = y / (2 + y), a series in s^2 <= 1/9.
HFC_FUNCTION float hfc_log1p_unit(float y) {
  const float s = y * (1.0f / (2.0f + y)), z = s * s;
  float p = 1.0f / 15.0f;
  p = __builtin_fmaf(p, z, 1.0f / 13.0f);
  p = __builtin_fmaf(p, z, 1.0f / 11.0f);
  p = __builtin_fmaf(p, z, 1.0f / 9.0f);
  p = __builtin_fmaf(p, z, 1.0f / 7.0f);
  p = __builtin_fmaf(p, z, 1.0f / 5.0f);
  p = __builtin_fmaf(p, z, 1.0f / 3.0f);
  return 2.0f * __builtin_fmaf(s * z, p, s);
}
HFC_FUNCTION float hfc_softplus(float x) { return hfc_max(x, 0.0f) + hfc_log1p_unit(hfc_exp(-hfc_abs(x))); }

// Near zero 1 - 2 / (e^2x + 1) cancels; there an odd polynomial (Cephes tanhf, Moshier 1992).
HFC_FUNCTION float hfc_tanh(float x) {
  if (hfc_abs(x) >= 0.625f) return 1.0f - 2.0f * (1.0f / (hfc_exp(2.0f * x) + 1.0f));
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = __builtin_fmaf(p, z, 2.06390887954e-2f);
  p = __builtin_fmaf(p, z, -5.37397155531e-2f);
  p = __builtin_fmaf(p, z, 1.33314422036e-1f);
  p = __builtin_fmaf(p, z, -3.33332819422e-1f);
  return __builtin_fmaf(p * z, x, x);
}
// 0.5 x (1 + tanh u) = x sigmoid(2 u), which does not cancel for negative x.
HFC_FUNCTION float hfc_gelu_tanh(float x) {
  return x * hfc_sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));
}

HFC_FUNCTION float hfc_bits_to_f32(uint32_t bits) { return __builtin_bit_cast(float, bits); }
HFC_FUNCTION uint32_t hfc_f32_to_bits(float x) { return __builtin_bit_cast(uint32_t, x); }
HFC_FUNCTION float hfc_f16_to_f32(uint16_t bits) { return (float)__builtin_bit_cast(_Float16, bits); }
HFC_FUNCTION uint16_t hfc_f32_to_f16(float x) { return __builtin_bit_cast(uint16_t, (_Float16)x); }
HFC_FUNCTION uint16_t hfc_f32_to_bf16(float x) {  // to nearest even; a NaN stays a quiet NaN
  const uint32_t bits = hfc_f32_to_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 64u);
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// The largest of x[from], x[from + apart] and so on before `end`, and where it is; N at a time are on their way. broken: one is no number.
template <int N>
HFC_FUNCTION void hfc_largest_apart(const float* x, int from, int apart, int end, float& most, int& at, int& broken) {
  for (; from < end - (N - 1) * apart; from += N * apart) {
    float some[N];
#pragma unroll
    for (int i = 0; i < N; i++) some[i] = x[from + i * apart];
#pragma unroll
    for (int i = 0; i < N; i++) {
      broken |= !(some[i] == some[i]);
      if (some[i] > most) most = some[i], at = from + i * apart;
    }
  }
  for (; from < end; from += apart) {
    broken |= !(x[from] == x[from]);
    if (x[from] > most) most = x[from], at = from;
  }
}
