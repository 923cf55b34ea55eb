// Weights of one format into tiles of 16 rows, see formats/tile.py: what does not depend on the format.
#ifndef HFC_HOST_PACK_H
#define HFC_HOST_PACK_H
#include "hfc.h"

// A loop of 16 that stays a loop until it is vectorized: unrolled first it becomes scalar code.
#define HFC_SIXTEEN _Pragma("clang loop unroll(disable) vectorize(assume_safety) vectorize_width(16)")
enum { HFC_LANES = 16, HFC_VECTOR_BYTES = 64 };

// The words that one row has in half a panel (32 codes, a byte each) -> its lane of the panel's vectors, plane by plane.
HFC_INLINE void hfc_put_half_panel(const uint8_t* codes, const int bits, uint8_t* vectors, int lane) {
  uint32_t quads[8];
  memcpy(quads, codes, sizeof quads);
  if (bits == 8) {
    HFC_UNROLL for (int v = 0; v < 8; v++) memcpy(vectors + v * HFC_VECTOR_BYTES + lane * 4, quads + v, 4);
    return;
  }
  int done = 0;
  HFC_UNROLL for (int width = 4; width; width /= 2) {
    if (!(bits & width)) continue;
    const int together = 8 / width;
    const uint32_t mask = ((1u << width) - 1) * 0x01010101u;
    HFC_UNROLL for (int v = 0; v < width; v++) {
      uint32_t word = 0;
      HFC_UNROLL for (int i = 0; i < together; i++) word |= (quads[v * together + i] >> done & mask) << i * width;
      memcpy(vectors + (done + v) * HFC_VECTOR_BYTES + lane * 4, &word, 4);
    }
    done += width;
  }
}

// A format's way into tiles. piece: k of one block that lie in one span. unpack[p]: codes of the p-th piece of `block`, a byte each, and
// what the header keeps of it, in lane `lane` of the header at `header`; `at`: its first k in the span. put: see hfc_put_half_panel.
typedef struct {
  int block, block_bytes, span, span_bytes, header_bytes, bits, piece;
  void (*unpack[4])(const uint8_t* block, int at, int lane, uint8_t* codes, uint8_t* header);
  void (*put)(const uint8_t* codes, uint8_t* vectors, int lane);
} HfcPacking;

// Rows of a weight [n, k], as files hold them, into tiles [first, last) of its matrix; padding stays as it is.
static void hfc_pack_rows(const HfcPacking* form, const uint8_t* raw, uint8_t* out, int n, int k, int first, int last) {
  const int spans = (k + form->span - 1) / form->span, end = last * HFC_LANES < n ? last * HFC_LANES : n;
  for (int r = first * HFC_LANES; r < end; r++) {
    const uint8_t* row = raw + (size_t)r * (k / form->block) * form->block_bytes;
    uint8_t* place = out + (size_t)(r / HFC_LANES) * spans * form->span_bytes;
    for (int start = 0; start < k; start += form->span, place += form->span_bytes) {
      uint8_t codes[256] = { 0 };
      for (int at = 0; at < form->span && start + at < k; at += form->piece) {
        const uint8_t* block = row + (size_t)((start + at) / form->block) * form->block_bytes;
        form->unpack[(start + at) % form->block / form->piece](block, at, r % HFC_LANES, codes + at, place);
      }
      for (int half = 0; half < form->span / 32; half++)
        form->put(codes + half * 32, place + form->header_bytes + half * form->bits * HFC_VECTOR_BYTES, r % HFC_LANES);
    }
  }
}

// Plain floats of `size` bytes: [n, k] -> tiles of [k][16].
HFC_INLINE void hfc_pack_floats(const uint8_t* raw, uint8_t* out, int n, int k, int first, int last, const int size) {
  for (int tile = first; tile < last; tile++) {
    const uint8_t* rows = raw + (size_t)tile * HFC_LANES * k * size;
    uint8_t* place = out + (size_t)tile * HFC_LANES * k * size;
    const int lanes = n - tile * HFC_LANES < HFC_LANES ? n - tile * HFC_LANES : HFC_LANES;
    for (int start = 0; start < k; start += 32) {  // a cache line of every row at a time
      const int end = start + 32 < k ? start + 32 : k;
      for (int lane = 0; lane < lanes; lane++)
        for (int i = start; i < end; i++)
          memcpy(place + ((size_t)i * HFC_LANES + lane) * size, rows + ((size_t)lane * k + i) * size, size);
    }
  }
}
#endif
