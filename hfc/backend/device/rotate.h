// The signed Walsh-Hadamard rotation of hfc/formats/rotation.py, in place in LDS, by all threads of a block.
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
