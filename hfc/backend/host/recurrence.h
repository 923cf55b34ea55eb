// One token of a linear recurrence for 16 * columns columns of a value head's memory S [dk, dv]; columns are independent.
#ifndef HFC_HOST_RECURRENCE_H
#define HFC_HOST_RECURRENCE_H
#include "hfc.h"

HFC_INLINE f32x16 hfc_load_some(const float* p, int count) {
  if (count >= 16) return hfc_load_f32(p);
  float v[16] = { 0.0f };
  memcpy(v, p, sizeof(float) * count);
  return hfc_load_f32(v);
}
HFC_INLINE void hfc_store_some(float* p, f32x16 x, int count) {
  if (count >= 16) {
    hfc_store_f32(p, x);
    return;
  }
  float v[16];
  hfc_store_f32(v, x);
  memcpy(p, v, sizeof(float) * count);
}

//   S <- decay S;  d = beta (v - Sᵀk), without `delta` beta v;  S <- S + k dᵀ;  o = Sᵀq
// decay_stride: 0 where all elements of a column decay alike, 1 where each has its own.
// Reads S from `from` (null: zeros) and writes it to `to`, with their row strides in floats; `work` [dk, 16 * columns] holds
// it in between. `width`: columns that exist, at most 16 * columns.
HFC_INLINE void hfc_recurrence_token(const float* from, int from_stride, float* to, int to_stride, float* work, const int dk,
                                     const int columns, int width, const float* q, const float* k, const float* v,
                                     const float* decay, const int decay_stride, float beta, const int delta, float* o) {
  f32x16 seen[2][2], d[2], out[2][2];
  HFC_UNROLL for (int c = 0; c < columns; c++) seen[0][c] = seen[1][c] = out[0][c] = out[1][c] = 0.0f;
  for (int i = 0; i < dk; i++) {
    HFC_UNROLL for (int c = 0; c < columns; c++) {
      f32x16 s = 0.0f;
      if (from) s = hfc_load_some(from + (size_t)i * from_stride + c * 16, width - c * 16) * decay[i * decay_stride];
      hfc_store_f32(work + (i * columns + c) * 16, s);
      if (delta) seen[i & 1][c] = hfc_fma((f32x16)k[i], s, seen[i & 1][c]);
    }
  }
  HFC_UNROLL for (int c = 0; c < columns; c++) d[c] = (hfc_load_some(v + c * 16, width - c * 16) - (seen[0][c] + seen[1][c])) * beta;
  for (int i = 0; i < dk; i++) {
    HFC_UNROLL for (int c = 0; c < columns; c++) {
      const f32x16 s = hfc_fma((f32x16)k[i], d[c], hfc_load_f32(work + (i * columns + c) * 16));
      hfc_store_some(to + (size_t)i * to_stride + c * 16, s, width - c * 16);
      out[i & 1][c] = hfc_fma((f32x16)q[i], s, out[i & 1][c]);
    }
  }
  HFC_UNROLL for (int c = 0; c < columns; c++) hfc_store_some(o + c * 16, out[0][c] + out[1][c], width - c * 16);
}
#endif
