// Words of quantized weights: loads of any alignment, four codes in four bytes to four floats, tables of 16 bytes.
#pragma once

typedef float hfc_float4 __attribute__((ext_vector_type(4)));
typedef uint32_t hfc_uint4 __attribute__((ext_vector_type(4)));
typedef uint32_t hfc_uint2 __attribute__((ext_vector_type(2)));

// 16 bytes at an address that is known to be aligned. Cast in place, the compiler would believe the array's element type.
template <typename WIDE> HFC_FUNCTION void hfc_put(void* at, WIDE value) { *(WIDE*)at = value; }
template <typename WIDE> HFC_FUNCTION WIDE hfc_get(const void* at) { return *(const WIDE*)at; }

// Words at once. HFC_WHOLE_LINES: as device/whole_lines.h says.
#if defined(HFC_WHOLE_LINES)
HFC_FUNCTION hfc_uint4 hfc_four_words(const uint8_t* at);
HFC_FUNCTION hfc_uint2 hfc_two_words(const uint8_t* at);
#else
HFC_FUNCTION hfc_uint4 hfc_four_words(const uint8_t* at) { return *(const hfc_uint4*)at; }
HFC_FUNCTION hfc_uint2 hfc_two_words(const uint8_t* at) { return *(const hfc_uint2*)at; }
#endif

// A word from any address, of which the first byte may be anything.
HFC_FUNCTION uint32_t hfc_last_three_bytes(const uint8_t* at) {
#if defined(__HIP__)  // one load: the memory unit takes any alignment
  uint32_t word;
  __builtin_memcpy(&word, at, 4);
  return word;
#else
  return (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
#endif
}
// COUNT words from an address that is a multiple of ALIGNMENT bytes (2, 4, 8 or 16).
template <int COUNT, int ALIGNMENT> HFC_FUNCTION void hfc_words(const uint8_t* at, uint32_t* words) {
  if constexpr (COUNT % 4 == 0 && ALIGNMENT >= 16) {
#pragma unroll
    for (int i = 0; i < COUNT; i += 4) {
      const hfc_uint4 v = hfc_four_words(at + 4 * i);
      words[i] = v.x, words[i + 1] = v.y, words[i + 2] = v.z, words[i + 3] = v.w;
    }
  } else if constexpr (COUNT % 2 == 0 && ALIGNMENT >= 8) {
#pragma unroll
    for (int i = 0; i < COUNT; i += 2) {
      const hfc_uint2 v = hfc_two_words(at + 4 * i);
      words[i] = v.x, words[i + 1] = v.y;
    }
  } else if constexpr (ALIGNMENT >= 4) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) words[i] = ((const uint32_t*)at)[i];
  } else {
#if defined(__HIP__)  // the memory unit takes any alignment
    struct __attribute__((packed, aligned(2))) Packed { uint32_t word[COUNT]; };
    const Packed all = *(const Packed*)at;
#pragma unroll
    for (int i = 0; i < COUNT; i++) words[i] = all.word[i];
#else  // aligned words, shifted by the odd half; nothing is read behind the last word that is needed
    if constexpr (COUNT == 2) {  // two loads of 8 bytes at most: fewer requests than words
      const uint32_t odd = (uint32_t)(uint64_t)at & 6u;
      const hfc_uint2* from = (const hfc_uint2*)(at - odd);
      const hfc_uint2 low = from[0], high = odd ? from[1] : hfc_uint2{0u, 0u};
      const bool second = odd & 4u;
      const uint32_t a = second ? low.y : low.x, b = second ? high.x : low.y, c = second ? high.y : high.x;
      words[0] = (uint32_t)(((uint64_t)b << 32 | a) >> (8 * (odd & 2u)));
      words[1] = (uint32_t)(((uint64_t)c << 32 | b) >> (8 * (odd & 2u)));
      return;
    }
    const int odd = (int)((uint64_t)at & 2u);
    const uint32_t* from = (const uint32_t*)(at - odd);
    uint32_t low = from[0];
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      const uint32_t high = from[i + 1 < COUNT || odd ? i + 1 : i];
      words[i] = (uint32_t)(((uint64_t)high << 32 | low) >> (8 * odd));
      low = high;
    }
#endif
  }
}

#if defined(__HIP__)
// What hfc_floats adds to every code of BITS bits.
template <int BITS> constexpr float hfc_floats_offset = 0.0f;
template <int BITS> HFC_FUNCTION void hfc_floats(uint32_t codes, float* out) {
#pragma unroll
  for (int i = 0; i < 4; i++) out[i] = (float)(codes >> 8 * i & 255u);
}
// Byte k of the result is byte p<k> of COUNT <= 4 words. Where the places stay the same, a pick is 1 to 3 instructions.
template <int COUNT> HFC_FUNCTION uint32_t hfc_pick(const uint32_t* words, int p0, int p1, int p2, int p3) {
  const uint32_t place = (uint32_t)(p0 & 7) | (uint32_t)(p1 & 7) << 8 | (uint32_t)(p2 & 7) << 16 | (uint32_t)(p3 & 7) << 24;
  const uint32_t low = __builtin_amdgcn_perm(words[COUNT > 1], words[0], place);
  if constexpr (COUNT <= 2) return low;
  const uint32_t high = __builtin_amdgcn_perm(words[COUNT > 3 ? 3 : 0], words[COUNT > 2 ? 2 : 0], place);
  const uint32_t upper = (p0 < 8 ? 0u : 4u) | (p1 < 8 ? 0u : 4u) << 8 | (p2 < 8 ? 0u : 4u) << 16 | (p3 < 8 ? 0u : 4u) << 24;
  return __builtin_amdgcn_perm(high, low, upper | 0x03020100u);
}
// A table of 8 or 16 bytes at four codes, which have no other bits than its places.
HFC_FUNCTION uint32_t hfc_table_bytes(uint32_t codes, uint32_t a, uint32_t b) { return __builtin_amdgcn_perm(b, a, codes); }
// A table's entries at the low nibbles of a word's bytes (SHIFT 0) or at the high ones (4). Selectors 8 to 11 are the signs of odd bytes,
// for all eight bits: a nibble's fourth bit, moved to its byte's eighth, chooses between the halves.
template <int SHIFT> HFC_FUNCTION uint32_t hfc_table_nibbles(uint32_t word, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const uint32_t place = word >> SHIFT & 0x07070707u, upper = __builtin_amdgcn_perm(word << (4 - SHIFT), word << (12 - SHIFT), 0x0b090a08u);
  const uint32_t low = __builtin_amdgcn_perm(b, a, place), high = __builtin_amdgcn_perm(d, c, place);
  return (high & upper) | (low & ~upper);
}
HFC_FUNCTION uint32_t hfc_table_bytes(uint32_t codes, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return hfc_table_nibbles<0>(codes, a, b, c, d);
}
#else
HFC_FUNCTION uint32_t hfc_permute(uint32_t a, uint32_t b, uint32_t selector) {
  uint32_t r;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(r) : "r"(a), "r"(b), "r"(selector));
  return r;
}
// Integers become floats at a quarter of the rate of other instructions; a byte put into a float's mantissa does not
// count as conversion. Up to 7 bits fit the upper byte of the mantissa of 128: the result is 128 + code. Eight bits go
// to the lowest byte of 2^23, which is then taken off.
template <int BITS> constexpr float hfc_floats_offset = BITS < 8 ? 128.0f : 0.0f;
template <int BITS> HFC_FUNCTION void hfc_floats(uint32_t codes, float* out) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if constexpr (BITS < 8) {
      out[i] = __builtin_bit_cast(float, hfc_permute(codes, 0x43000000u, 0x7044u | i << 8));
    } else {
      out[i] = __builtin_bit_cast(float, hfc_permute(codes, 0x4b000000u, 0x7440u | i)) - 8388608.0f;
    }
  }
}
template <int COUNT> HFC_FUNCTION uint32_t hfc_pick(const uint32_t* words, int p0, int p1, int p2, int p3) {
  const uint32_t place = (uint32_t)(p0 & 7) | (uint32_t)(p1 & 7) << 4 | (uint32_t)(p2 & 7) << 8 | (uint32_t)(p3 & 7) << 12;
  const uint32_t low = hfc_permute(words[0], words[COUNT > 1], place);
  if constexpr (COUNT <= 2) return low;
  const uint32_t high = hfc_permute(words[COUNT > 2 ? 2 : 0], words[COUNT > 3 ? 3 : 0], place);
  const uint32_t upper = (p0 < 8 ? 0u : 4u) | (p1 < 8 ? 0u : 4u) << 4 | (p2 < 8 ? 0u : 4u) << 8 | (p3 < 8 ? 0u : 4u) << 12;
  return hfc_permute(low, high, upper | 0x3210u);
}
HFC_FUNCTION uint32_t hfc_table_bytes(uint32_t codes, uint32_t a, uint32_t b) {
  const uint32_t near = (codes | codes >> 4) & 0x00ff00ffu;
  return hfc_permute(a, b, (near | near >> 8) & 0xffffu);
}
// A selector's fourth bit is the sign of the byte it picks, for all its bits. So where entries of one half are not negative and those of
// the other not positive, sizes of at most 127 are picked from each half by the four bits of a code, from the other half's codes as zeros:
// what is picked from both is an entry as a difference of bytes, and none of them borrows from its neighbour.
HFC_FUNCTION uint32_t hfc_table_entries(uint32_t places, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  const bool rises = !(b >> 31);  // a table of entries plus 128
  const uint32_t first = rises ? hfc_permute(0x80808080u - a, 0x80808080u - b, places) : hfc_permute(a - 0x80808080u, b - 0x80808080u, places);
  const uint32_t other = places ^ 0x88888888u;
  const uint32_t second = rises ? hfc_permute(c - 0x80808080u, d - 0x80808080u, other) : hfc_permute(0x80808080u - c, 0x80808080u - d, other);
  return rises ? 0x80808080u + second - first : 0x80808080u + first - second;
}
HFC_FUNCTION uint32_t hfc_table_bytes(uint32_t codes, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return hfc_table_entries(hfc_permute(codes | codes >> 4, 0u, 0x4420u), a, b, c, d);
}
// A table's entries at the low nibbles of a word's bytes (SHIFT 0) or at the high ones (4). Whoever wants both finds the picks shared.
template <int SHIFT> HFC_FUNCTION uint32_t hfc_table_nibbles(uint32_t word, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return hfc_permute(hfc_table_entries(word, a, b, c, d), hfc_table_entries(word >> 16, a, b, c, d), SHIFT ? 0x7531u : 0x6420u);
}
#endif

// Eight plain weights in a row out of their words, and from memory, 16-byte aligned.
HFC_FUNCTION void hfc_run_of_f32(const uint32_t* words, float* out) {
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = hfc_bits_to_f32(words[i]);
}
HFC_FUNCTION void hfc_run_of_f16(const uint32_t* words, float* out) {
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = hfc_f16_to_f32((uint16_t)(words[i / 2] >> i % 2 * 16));
}
HFC_FUNCTION void hfc_run_of_bf16(const uint32_t* words, float* out) {
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = hfc_bits_to_f32(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
}
HFC_FUNCTION void hfc_run_f32(const uint8_t* at, float* out) {
  uint32_t words[8];
  hfc_words<8, 16>(at, words);
  hfc_run_of_f32(words, out);
}
HFC_FUNCTION void hfc_run_f16(const uint8_t* at, float* out) {
  uint32_t words[4];
  hfc_words<4, 16>(at, words);
  hfc_run_of_f16(words, out);
}
HFC_FUNCTION void hfc_run_bf16(const uint8_t* at, float* out) {
  uint32_t words[4];
  hfc_words<4, 16>(at, words);
  hfc_run_of_bf16(words, out);
}
