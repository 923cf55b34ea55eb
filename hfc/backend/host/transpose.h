// Blocks of 16 rows to columns: floats, and numbers of one or two bytes as they lie.
#ifndef HFC_HOST_TRANSPOSE_H
#define HFC_HOST_TRANSPOSE_H
#include "hfc.h"

// Floats by halves: rows d apart exchange the lanes that are d apart.
#define HFC_EXCHANGE(d, low, high)                        \
  HFC_UNROLL for (int i = 0; i < 16; i++) if (!(i & d)) { \
    const f32x16 a = r[i], b = r[i + d];                  \
    r[i] = __builtin_shufflevector(a, b, low);            \
    r[i + d] = __builtin_shufflevector(a, b, high);       \
  }
#define HFC_L1 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define HFC_H1 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define HFC_L2 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HFC_H2 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define HFC_L4 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define HFC_H4 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define HFC_L8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HFC_H8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31

// out[j * stride + t] = rows[t][j] for 16 rows and 16 j
HFC_INLINE void hfc_transpose16(const float* rows, int row_stride, int count, float* out, int stride) {
  f32x16 r[16];
  HFC_UNROLL for (int i = 0; i < 16; i++) r[i] = i < count ? hfc_load_f32(rows + (size_t)i * row_stride) : (f32x16)0.0f;
  HFC_EXCHANGE(1, HFC_L1, HFC_H1)
  HFC_EXCHANGE(2, HFC_L2, HFC_H2)
  HFC_EXCHANGE(4, HFC_L4, HFC_H4)
  HFC_EXCHANGE(8, HFC_L8, HFC_H8)
  HFC_UNROLL for (int i = 0; i < 16; i++) hfc_store_f32(out + i * stride, r[i]);
}

typedef uint8_t u8x32 __attribute__((ext_vector_type(32)));
// What a unit of 1 or 2 bytes of two rows becomes when the rows are interleaved, each half of 16 bytes for itself.
#define HFC_EVERY1_LOW 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55
#define HFC_EVERY1_HIGH 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63
#define HFC_EVERY2_LOW 0, 1, 32, 33, 2, 3, 34, 35, 4, 5, 36, 37, 6, 7, 38, 39, 16, 17, 48, 49, 18, 19, 50, 51, 20, 21, 52, 53, 22, 23, 54, 55
#define HFC_EVERY2_HIGH 8, 9, 40, 41, 10, 11, 42, 43, 12, 13, 44, 45, 14, 15, 46, 47, 24, 25, 56, 57, 26, 27, 58, 59, 28, 29, 60, 61, 30, 31, 62, 63

// Four times every row with the one 8 behind it: each time the highest bit of a row's number becomes the lowest of its place.
#define HFC_INTERLEAVE(low, high)                         \
  HFC_UNROLL for (int stage = 0; stage < 4; stage++) {    \
    u8x32 next[16];                                       \
    HFC_UNROLL for (int i = 0; i < 8; i++) {              \
      next[2 * i] = __builtin_shufflevector(r[i], r[i + 8], low);      \
      next[2 * i + 1] = __builtin_shufflevector(r[i], r[i + 8], high); \
    }                                                     \
    HFC_UNROLL for (int i = 0; i < 16; i++) r[i] = next[i]; \
  }

// Columns of 16 rows of 32 bytes, numbers of `bytes` (1 or 2): out + j * stride is column j. Rows from `count` on are 0.
HFC_INLINE void hfc_transpose32(const uint8_t* rows, int row_bytes, int count, const int bytes, uint8_t* out, int stride) {
  u8x32 r[16];
  HFC_UNROLL for (int i = 0; i < 16; i++) {
    if (i < count) memcpy(r + i, rows + (size_t)i * row_bytes, 32);
    else r[i] = 0;
  }
  if (bytes == 1) {
    HFC_INTERLEAVE(HFC_EVERY1_LOW, HFC_EVERY1_HIGH)
  } else {
    HFC_INTERLEAVE(HFC_EVERY2_LOW, HFC_EVERY2_HIGH)
  }
  HFC_UNROLL for (int i = 0; i < 16; i++) {  // of a column's 32 bytes a row has 16: of rows 0 to 7, then of 8 to 15
    uint8_t* to = out + i / bytes * stride + i % bytes * 16;
    memcpy(to, r + i, 16);
    memcpy(to + 16 / bytes * stride, (const char*)(r + i) + 16, 16);
  }
}
#endif
