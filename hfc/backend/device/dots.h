// Integer dot products: inputs as whole numbers of 15 bits, x = unit (128 high + low), in two planes of signed bytes.
#pragma once
#if defined(HFC_SDOT4) || defined(HFC_SUDOT4)
enum { HFC_STEPS = 127 * 128 };  // the largest whole number
typedef struct __attribute__((aligned(8))) { float unit, sum; } hfc_chunk;

// sum + the products of four signed bytes with four signed bytes
HFC_FUNCTION int hfc_dot4(uint32_t a, uint32_t b, int sum) {
#if defined(HFC_SDOT4)
  return __builtin_amdgcn_sdot4((int)a, (int)b, sum, false);
#else
  return __builtin_amdgcn_sudot4(true, (int)a, true, (int)b, sum, false);
#endif
}

// Eight inputs: high and low planes as two words each, and their sum. per: whole numbers for one of x.
HFC_FUNCTION hfc_uint4 hfc_whole_numbers(const float (&x)[8], float per, int& sum) {
  uint32_t high[2] = {}, low[2] = {};
  sum = 0;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int number = (int)__builtin_rintf(x[i] * per), upper = (number + 64) >> 7;
    high[i / 4] |= (uint32_t)(upper & 255) << i % 4 * 8;
    low[i / 4] |= (uint32_t)((number - upper * 128) & 255) << i % 4 * 8;
    sum += number;
  }
  return hfc_uint4{high[0], high[1], low[0], low[1]};
}
#endif
