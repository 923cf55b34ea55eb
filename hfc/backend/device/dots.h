// Integer dot products: inputs as whole numbers of 15 bits, x = unit (128 high + low), in two planes of signed bytes.
#pragma once
#if defined(HFC_DOT4_I8)
enum { HFC_STEPS = 127 * 128 };  // the largest whole number
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

// Eight inputs: high and low planes as two words each, and their sum. per: whole numbers for one of x.
// The bits of 1.5 * 2^23 + n are those of n in their lower half: 64 more than a number, whose upper 8 of 15 bits are the high plane then,
// and the lower 7, 64 less again, the low one.
HFC_FUNCTION hfc_uint4 hfc_whole_numbers(const float (&x)[8], float per, int& sum) {
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
#endif
