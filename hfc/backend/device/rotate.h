// The signed Walsh-Hadamard rotation of hfc/formats/rotation.py: in place in LDS by all threads of a block, or in the registers
// of 32 lanes.
#pragma once

// Bit j of s1 and s2: set where the sign is +.
static __device__ const uint32_t HFC_SIGNS[2][8] = {
  { 0x7e1f436fu, 0x7dcca4dbu, 0x656132f7u, 0x3461ea31u, 0x3f8ff8acu, 0x57873038u, 0x3f939d88u, 0x408e25a3u },
  { 0x615eb361u, 0x8eab84a4u, 0x2481c03bu, 0x511cc661u, 0x3ad419b8u, 0xbef3ec93u, 0xee3a4271u, 0x390fafe9u },
};
HFC_FUNCTION float hfc_signed(float x, int which, int j) {
  return HFC_SIGNS[which][j % 256 / 32] >> j % 32 & 1 ? x : -x;
}

// x: [count] floats, a multiple of `group` (a power of two up to 256), which is one rotation. Begins and ends with a barrier.
template <int THREADS> HFC_FUNCTION void hfc_rotate(float* x, int count, int group) {
  hfc_barrier();
  for (int e = hfc_thread(); e < count; e += THREADS) x[e] = hfc_signed(x[e], 0, e % group);
  for (int stride = 1; stride < group; stride *= 2) {
    hfc_barrier();
    for (int e = hfc_thread(); e < count / 2; e += THREADS) {
      const int low = e / stride * 2 * stride + e % stride;
      const float a = x[low], b = x[low + stride];
      x[low] = a + b, x[low + stride] = a - b;
    }
  }
  hfc_barrier();
  const float scale = 1.0f / __builtin_sqrtf((float)group);
  for (int e = hfc_thread(); e < count; e += THREADS) x[e] = hfc_signed(x[e], 1, e % group) * scale;
  hfc_barrier();
}

// The value of lane ^ MASK, MASK below 32.
#if defined(__HIP__)
template <int MASK> HFC_FUNCTION float hfc_swapped(float x) {
  if constexpr (MASK <= 2) return hfc_other<MASK>(x);
  return hfc_float(__builtin_amdgcn_ds_swizzle(hfc_bits(x), MASK << 10 | 0x1f));
}
#else
template <int MASK> HFC_FUNCTION float hfc_swapped(float x) { return hfc_other<MASK>(x); }
#endif
template <int MASK> HFC_FUNCTION void hfc_between_lanes(float (&x)[8]) {
  const float sign = hfc_lane() & MASK ? -1.0f : 1.0f;
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] = __builtin_fmaf(sign, x[i], hfc_swapped<MASK>(x[i]));
}
HFC_FUNCTION float hfc_signed_by(float x, uint32_t bits, int i) {  // bit i set: x, else -x
  return hfc_bits_to_f32(hfc_f32_to_bits(x) ^ (~bits << (31 - i) & 0x80000000u));
}

// One rotation of 256: 32 neighbouring lanes, the first a multiple of 32, hold eight neighbours each and all take part.
HFC_FUNCTION void hfc_rotate_run(float (&x)[8]) {
  const int place = hfc_lane() % 32;
  uint32_t first = HFC_SIGNS[0][0], last = HFC_SIGNS[1][0];
#pragma unroll
  for (int word = 1; word < 8; word++) {  // conditions on numbers in the code: nothing is fetched
    first = place / 4 == word ? HFC_SIGNS[0][word] : first;
    last = place / 4 == word ? HFC_SIGNS[1][word] : last;
  }
  first >>= place % 4 * 8, last >>= place % 4 * 8;
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] = hfc_signed_by(x[i], first, i);
#pragma unroll
  for (int stride = 1; stride < 8; stride *= 2) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      if (i & stride) continue;
      const float a = x[i], b = x[i + stride];
      x[i] = a + b, x[i + stride] = a - b;
    }
  }
  hfc_between_lanes<1>(x), hfc_between_lanes<2>(x), hfc_between_lanes<4>(x), hfc_between_lanes<8>(x), hfc_between_lanes<16>(x);
#pragma unroll
  for (int i = 0; i < 8; i++) x[i] = hfc_signed_by(x[i], last, i) * 0.0625f;
}
