// Integer dot products: inputs as whole numbers, x = unit (128 high + low) of 15 bits in two planes of signed bytes, or of 8 bits in one.
#pragma once
#if defined(HFC_DOT4_I8)
template <int PLANES> constexpr float hfc_steps = PLANES == 2 ? 127.0f * 128.0f : 127.0f;  // the largest whole number
template <int PLANES> constexpr float hfc_unit_of_largest = 1.0f / hfc_steps<PLANES>;
typedef struct __attribute__((aligned(8))) { float unit, sum; } hfc_chunk;

// sum + the products of four signed bytes with four signed bytes
HFC_FUNCTION int hfc_dot4(uint32_t a, uint32_t b, int sum) {
#if defined(HFC_SDOT4)
  return __builtin_amdgcn_sdot4((int)a, (int)b, sum, false);
#elif !defined(HFC_SUDOT4)
  int r;
  asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(sum));
  return r;
#else
  return __builtin_amdgcn_sudot4(true, (int)a, true, (int)b, sum, false);
#endif
}

// Four bytes of a word whose lower half is `low`, upper half `high`, by their numbers in `places`.
HFC_FUNCTION uint32_t hfc_pick_bytes(uint32_t high, uint32_t low, uint32_t places) {
#if defined(__HIP__)
  return __builtin_amdgcn_perm(high, low, places);
#else
  return hfc_permute(low, high, (places & 7u) | (places >> 8 & 7u) << 4 | (places >> 16 & 7u) << 8 | (places >> 24 & 7u) << 12);
#endif
}

// Eight inputs, two words of each plane.
template <int PLANES> HFC_FUNCTION auto hfc_no_planes() {
  if constexpr (PLANES == 1) return hfc_uint2{};
  else return hfc_uint4{};
}
template <int PLANES> using hfc_planes = decltype(hfc_no_planes<PLANES>());

// Eight inputs as whole numbers, and their sum. per: whole numbers for one of x. The lowest byte of 1.5 * 2^23 + n is that of n.
HFC_FUNCTION hfc_uint2 hfc_one_plane(const float (&x)[8], float per, int& sum) {
  uint32_t bits[8], words[2];
#pragma unroll
  for (int i = 0; i < 8; i++) bits[i] = __builtin_bit_cast(uint32_t, __builtin_fmaf(x[i], per, 0x1.8p23f));
  sum = (int)(((bits[0] + bits[1] + bits[2]) + (bits[3] + bits[4] + bits[5])) + (bits[6] + bits[7]) - 8 * 0x4b400000u);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const uint32_t* of = bits + 4 * i;
    const uint32_t first = hfc_pick_bytes(of[1], of[0], 0x05010400u), second = hfc_pick_bytes(of[3], of[2], 0x05010400u);
    words[i] = hfc_pick_bytes(second, first, 0x05040100u);
  }
  return hfc_uint2{words[0], words[1]};
}

// The bits of 1.5 * 2^23 + n are those of n in their lower half: 64 more than a number, whose upper 8 of 15 bits are the high plane then,
// and the lower 7, 64 less again, the low one.
HFC_FUNCTION hfc_uint4 hfc_two_planes(const float (&x)[8], float per, int& sum) {
  typedef unsigned short hfc_ushort2 __attribute__((ext_vector_type(2)));
  uint32_t bits[8], high[2], low[2];
#pragma unroll
  for (int i = 0; i < 8; i++) bits[i] = __builtin_bit_cast(uint32_t, __builtin_fmaf(x[i], per, 0x1.8p23f + 64.0f));
  sum = (int)(((bits[0] + bits[1] + bits[2]) + (bits[3] + bits[4] + bits[5])) + (bits[6] + bits[7])
      - 8 * (0x4b400000u + 64));
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const uint32_t* of = bits + 4 * i;
    const uint32_t first = hfc_pick_bytes(of[1], of[0], 0x05040100u), second = hfc_pick_bytes(of[3], of[2], 0x05040100u);
    const uint32_t a = __builtin_bit_cast(uint32_t, (hfc_ushort2)(__builtin_bit_cast(hfc_ushort2, first) << 1)),
        b = __builtin_bit_cast(uint32_t, (hfc_ushort2)(__builtin_bit_cast(hfc_ushort2, second) << 1));
    high[i] = hfc_pick_bytes(b, a, 0x07050301u);
    low[i] = ((hfc_pick_bytes(second, first, 0x06040200u) & 0x7f7f7f7fu) + 0x40404040u) ^ 0x80808080u;
  }
  return hfc_uint4{high[0], high[1], low[0], low[1]};
}
// largest: of all inputs that share their unit.
template <int PLANES> HFC_FUNCTION hfc_planes<PLANES> hfc_whole_numbers(const float (&x)[8], float largest, int& sum) {
  const float per = largest > 0x1p-100f ? hfc_steps<PLANES> / largest : 0.0f;
  if constexpr (PLANES == 2) return hfc_two_planes(x, per, sum);
  else return hfc_one_plane(x, per, sum);
}
// The unit and the sum of the inputs of LANES lanes, of which each has eight, `sum` as whole numbers. An input that is no number has bits that
// no sum of eight can have, which here become infinite: then neither unit nor sum is a number, nor what they multiply.
template <int LANES> HFC_FUNCTION hfc_chunk hfc_chunk_of(float unit, int sum) {
  const float whole = (float)sum;
  const float all = hfc_sum_lanes<LANES>(__builtin_fmaf(whole * 0x1p108f, 0.0f, unit * whole));
  return {__builtin_fmaf(all, 0.0f, unit), all};
}
#endif
