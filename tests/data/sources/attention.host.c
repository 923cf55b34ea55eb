enum { map_gather_SHARED = 0, map_gather_OWN = 128 };

void map_gather(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* w0 =
    (const float*)p[0]; float* y1 =
    (float*)p[1]; 
  const int rows = hfc_rows(step);
  float *elements = (float*)w->own, *mixed = elements + 32;
  (void)elements, (void)mixed;
  const int units = rows * 1,
      chunk = hfc_chunk(w, units, 9);
  for (int unit = hfc_take(w, units, chunk); unit < units; unit = hfc_take(w, units, chunk)) {
    const int last = unit + chunk < units ? unit + chunk : units;
    // 1 x 256
    for (; unit < last && unit < rows * 1; unit++) {
      const int row = (unit - rows * 0) / 1,
          g = (unit - rows * 0) % 1;
      (void)g;
      
      
      HFC_ELEMENTWISE for (int j = 0; j < 256; j++) { y1[(size_t)row * 256 + j] = w0[(step[4 + row]) * 256 + j]; }
    }
  }
  hfc_join(w, units);
}

#ifndef HFC_DOT_f32
#define HFC_DOT_f32
#define DOT(R) hfc_tile_dot_float(tile, size, x + done, R, HFC_F32, y + done)
static __attribute__((noinline)) void hfc_dot_f32(const uint8_t* tile, int size, const float* const* x,
    int rows, float (*y)[16]) {
  int done = 0;  // a row's result is the same in each of these
  for (; rows - done >= 8; done += 8) DOT(8);
  if (rows - done >= 4) DOT(4), done += 4;
  if (rows - done >= 2) DOT(2), done += 2;
  if (rows - done >= 1) DOT(1);
}
#undef DOT
#endif

enum {
  linear_f32_k256_n256_XQ = 0,  // bytes of a row in whole numbers
  linear_f32_k256_n256_X = linear_f32_k256_n256_XQ + 1024,  // … and in floats
  linear_f32_k256_n256_ROW = 1024,
  linear_f32_k256_n256_SHARED = MAX_ROWS * 1 * linear_f32_k256_n256_X,
  linear_f32_k256_n256_OWN = linear_f32_k256_n256_ROW + linear_f32_k256_n256_X,
};

// Row `row` of the input, with what stands before the weights, as floats in xs and ready for dots in `to`.
static void linear_f32_k256_n256_prepare(const int32_t* step, void* const* p, int row, float* xs, char* to) {
  const float* x0 =
    (const float*)p[0]; float* y1 =
    (float*)p[1]; const float* w2 =
    (const float*)p[2]; float* y3 =
    (float*)p[3]; const float* w4 =
    (const float*)p[4]; 
  
  HFC_ELEMENTWISE for (int j = 0; j < 256; j++) xs[j] = x0[(size_t)row * 256 + j];
  memcpy(to + linear_f32_k256_n256_XQ, xs, 1024);
}

void linear_f32_k256_n256(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* x0 =
    (const float*)p[0]; float* y1 =
    (float*)p[1]; const float* w2 =
    (const float*)p[2]; float* y3 =
    (float*)p[3]; const float* w4 =
    (const float*)p[4]; 
  const int rows = hfc_rows(step);
  float* xs = (float*)w->own;
  // A lone row is prepared by every thread for itself: cheaper than waiting for the one that does it.
  const int alone = rows == 1;
  char* prepared = alone ? w->own + linear_f32_k256_n256_ROW : w->shared;
  if (!alone) {
    const int chunk = hfc_chunk(w, rows, 1);
    for (int row = hfc_take(w, rows, chunk); row < rows; row = hfc_take(w, rows, chunk))
      for (const int last = row + chunk < rows ? row + chunk : rows; row < last; row++)
        linear_f32_k256_n256_prepare(step, p, row, xs, prepared + (size_t)row * linear_f32_k256_n256_X);
    hfc_join(w, rows);
  }

  const int units = rows ? 16 : 0;
  const int chunk = hfc_chunk(w, units, 1);
  int ready = 0;
  for (int unit = hfc_take(w, units, chunk); unit < units; unit = hfc_take(w, units, chunk)) {
    if (!ready) {
      ready = 1;
      if (alone) linear_f32_k256_n256_prepare(step, p, 0, xs, prepared);
    }
    for (const int last = unit + chunk < units ? unit + chunk : units; unit < last; unit++) {
      const int at = unit, begin = 0, end = rows;
      for (int row0 = begin; row0 < end; row0 += 8) {
        const int count = end - row0 < 8 ? end - row0 : 8;
        const float* xf[8];
        for (int i = 0; i < count; i++)
          xf[i] = (const float*)(prepared + (size_t)(row0 + i) * linear_f32_k256_n256_X
              + linear_f32_k256_n256_XQ);
        float tile_y[8][16];
if (at < 8) {
        const int here = at - 0, n0 = here * 16, lanes = 128 - n0 < 16 ? 128 - n0 : 16;
        (void)lanes;
        hfc_dot_f32((const uint8_t*)w2 + (size_t)(here) * 16384,
256, xf, count, tile_y);
                for (int i = 0; i < count; i++) {
          const int row = row0 + i;
          HFC_ELEMENTWISE for (int lane = 0; lane < 16; lane++) {
            const int n = n0 + lane;
            const float y =
                tile_y[i][lane];
            y1[(size_t)row * 128 + n] = y;
          }
        }

        }
else if (at < 16) {
        const int here = at - 8, n0 = here * 16, lanes = 128 - n0 < 16 ? 128 - n0 : 16;
        (void)lanes;
        hfc_dot_f32((const uint8_t*)w4 + (size_t)(here) * 16384,
256, xf, count, tile_y);
                for (int i = 0; i < count; i++) {
          const int row = row0 + i;
          HFC_ELEMENTWISE for (int lane = 0; lane < 16; lane++) {
            const int n = n0 + lane;
            const float y =
                tile_y[i][lane];
            y3[(size_t)row * 128 + n] = y;
          }
        }

        }
      }
    }
  }
  hfc_join(w, units);
}

#ifndef HFC_KV_f16
#define HFC_KV_f16
static inline float hfc_kv_f16_at(const uint8_t* row, int d) {
  return hfc_f16_to_f32(((const uint16_t*)(const void*)row)[d]);
}
static inline void hfc_kv_f16_put(uint8_t* row, int d, float x) {
  ((uint16_t*)(void*)row)[d] = hfc_f32_to_f16(x);
}

#endif

enum { map_rope_kv_append_SHARED = 0, map_rope_kv_append_OWN = 128 };

void map_rope_kv_append(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* x0 =
    (const float*)p[0]; const float* c1 =
    (const float*)p[1]; float* y2 =
    (float*)p[2]; const float* x3 =
    (const float*)p[3]; uint8_t* s4_k =
    (uint8_t*)p[4]; const float* x5 =
    (const float*)p[5]; uint8_t* s6_v =
    (uint8_t*)p[6]; 
  const int rows = hfc_rows(step);
  float *elements = (float*)w->own, *mixed = elements + 32;
  (void)elements, (void)mixed;
  const int units = rows * 8,
      chunk = hfc_chunk(w, units, 33);
  for (int unit = hfc_take(w, units, chunk); unit < units; unit = hfc_take(w, units, chunk)) {
    const int last = unit + chunk < units ? unit + chunk : units;
    // 4 x 64
    for (; unit < last && unit < rows * 4; unit++) {
      const int row = (unit - rows * 0) / 4,
          g = (unit - rows * 0) % 4;
      (void)g;
      
      
      HFC_ELEMENTWISE for (int j = 0; j < 64; j++) { y2[(size_t)row * 256 + g * 64 + j] = (j < 32 ? x0[(size_t)row * 256 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + 0] - x0[(size_t)row * 256 + g * 64 + j + 32] * c1[(size_t)step[68 + row] * 64 + j + 32] : x0[(size_t)row * 256 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + -32] + x0[(size_t)row * 256 + g * 64 + j - 32] * c1[(size_t)step[68 + row] * 64 + j + 0]); }
    }
    // 2 x 64
    for (; unit < last && unit < rows * 6; unit++) {
      const int row = (unit - rows * 4) / 2,
          g = (unit - rows * 4) % 2;
      (void)g;
      
      
      HFC_ELEMENTWISE for (int j = 0; j < 64; j++) { hfc_kv_f16_put(s4_k + (((size_t)step[132 + row] * 2 + g) * 1024 + step[68 + row]) * 128, j, (j < 32 ? x3[(size_t)row * 128 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + 0] - x3[(size_t)row * 128 + g * 64 + j + 32] * c1[(size_t)step[68 + row] * 64 + j + 32] : x3[(size_t)row * 128 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + -32] + x3[(size_t)row * 128 + g * 64 + j - 32] * c1[(size_t)step[68 + row] * 64 + j + 0])); }
    }
    // 2 x 64
    for (; unit < last && unit < rows * 8; unit++) {
      const int row = (unit - rows * 6) / 2,
          g = (unit - rows * 6) % 2;
      (void)g;
      
      
      HFC_ELEMENTWISE for (int j = 0; j < 64; j++) { hfc_kv_f16_put(s6_v + (((size_t)step[132 + row] * 2 + g) * 1024 + step[68 + row]) * 128, j, x5[(size_t)row * 128 + g * 64 + j]); }
    }
  }
  hfc_join(w, units);
}

#ifndef HFC_KV_ROW_f16
#define HFC_KV_ROW_f16
#ifndef HFC_KV_f16
#define HFC_KV_f16
static inline float hfc_kv_f16_at(const uint8_t* row, int d) {
  return hfc_f16_to_f32(((const uint16_t*)(const void*)row)[d]);
}
static inline void hfc_kv_f16_put(uint8_t* row, int d, float x) {
  ((uint16_t*)(void*)row)[d] = hfc_f32_to_f16(x);
}

#endif
// `count` rows of the cache; `padded` is `size` rounded up to 16, what lies between is 0.
static inline void hfc_kv_f16_rows(const uint8_t* from, int row_bytes, int count, int size, int padded,
    float* to) {
  for (int t = 0; t < count; t++, from += row_bytes, to += padded) {
    // 350 -> 260 us at 4000 tokens, Zen 5
    for (int byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(from + 4096 + byte);
    HFC_ELEMENTWISE for (int d = 0; d < size; d++) to[d] = hfc_kv_f16_at(from, d);
    for (int d = size; d < padded; d++) to[d] = 0.0f;
  }
}
#endif
#ifndef HFC_KV_ROW_f16
#define HFC_KV_ROW_f16
#ifndef HFC_KV_f16
#define HFC_KV_f16
static inline float hfc_kv_f16_at(const uint8_t* row, int d) {
  return hfc_f16_to_f32(((const uint16_t*)(const void*)row)[d]);
}
static inline void hfc_kv_f16_put(uint8_t* row, int d, float x) {
  ((uint16_t*)(void*)row)[d] = hfc_f32_to_f16(x);
}

#endif
// `count` rows of the cache; `padded` is `size` rounded up to 16, what lies between is 0.
static inline void hfc_kv_f16_rows(const uint8_t* from, int row_bytes, int count, int size, int padded,
    float* to) {
  for (int t = 0; t < count; t++, from += row_bytes, to += padded) {
    // 350 -> 260 us at 4000 tokens, Zen 5
    for (int byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(from + 4096 + byte);
    HFC_ELEMENTWISE for (int d = 0; d < size; d++) to[d] = hfc_kv_f16_at(from, d);
    for (int d = size; d < padded; d++) to[d] = 0.0f;
  }
}
#endif

#ifndef HFC_KV_NARROW_f16
#define HFC_KV_NARROW_f16
static f32x16 hfc_kv_f16_wide(const void* p) { return hfc_wide_f16(hfc_load_f16(p)); }
HFC_INLINE int hfc_kv_f16_place(int d) { return 2 * d; }
// `count` rows, transposed: element d of row t is kt[d * block + t]. own: room for `count` rows of bytes.
HFC_INLINE void hfc_kv_f16_keys(const uint8_t* from, int row_bytes, int count, int size, int block,
    uint8_t* own, uint8_t* kt) {
  for (int c = 0; c < count; c += 16)
    for (int d = 0; d < size; d += 16)
      hfc_transpose32(from + (size_t)c * row_bytes + hfc_kv_f16_place(d),
          row_bytes, count - c, 2, kt + (d * block + c) * 2,
          block * 2);
}
#endif
#ifndef HFC_KV_NARROW_f16
#define HFC_KV_NARROW_f16
static f32x16 hfc_kv_f16_wide(const void* p) { return hfc_wide_f16(hfc_load_f16(p)); }
HFC_INLINE int hfc_kv_f16_place(int d) { return 2 * d; }
// `count` rows, transposed: element d of row t is kt[d * block + t]. own: room for `count` rows of bytes.
HFC_INLINE void hfc_kv_f16_keys(const uint8_t* from, int row_bytes, int count, int size, int block,
    uint8_t* own, uint8_t* kt) {
  for (int c = 0; c < count; c += 16)
    for (int d = 0; d < size; d += 16)
      hfc_transpose32(from + (size_t)c * row_bytes + hfc_kv_f16_place(d),
          row_bytes, count - c, 2, kt + (d * block + c) * 2,
          block * 2);
}
#endif




enum {
  attend_f16_h4_kv2_d64_PART = 80,  // floats of a chunk's result for one query: o, m, l
  attend_f16_h4_kv2_d64_SHARED = 81920,
  attend_f16_h4_kv2_d64_OWN = 4 * (8192 + 4096
      + 64 * (277) + 1280 + 64),
};
typedef struct {
  float *k, *v, *kt;        // [block, padded] twice, [padded, block]
  // [queries, padded], [queries, block], [queries, padded] (a chunk's, and of all chunks so far)
  float *q, *s, *o, *sum;
  float *l, *m, *rescale, *sum_m, *sum_l, *scales;  // [queries, 16], [queries] each; [groups of a row, block]
  float *p, *slope;  // [4, groups, block]: weights times scales of values; [queries]
} attend_f16_h4_kv2_d64_Scratch;


// Up to 4 queries multiply keys and values as they lie; for more these are made floats once. The sums are the same.
// The next block of what this one does not bring while it is multiplied.
HFC_INLINE void attend_f16_h4_kv2_d64_read_ahead(const uint8_t* keys, const uint8_t* values, int queries, int count) {
  const int k_left = queries > 4 ? count : 0,
      v_left = queries > 4 ? count : 0;
  (void)queries;
  for (int i = 0; i < k_left * 128; i += 64) __builtin_prefetch(keys + 8192 + i);
  for (int i = 0; i < v_left * 128; i += 64) __builtin_prefetch(values + 8192 + i);
}

HFC_INLINE void attend_f16_h4_kv2_d64_multiply_keys(const attend_f16_h4_kv2_d64_Scratch* x, const uint8_t* kt, HfcWide* wide,
    const int bytes, int queries, int columns, const uint8_t* ahead, const int ahead_bytes) {
  for (int i = 0, some; i < queries; i += some) {
    const float* q = x->q + i * 64;
    float* s = x->s + i * 64;
    some = queries - i < 4 ? queries - i : 4;
#define SCORES(R, C) \
    hfc_scores(q, 64, kt + c * 16 * bytes, wide, bytes, 64, 64, NULL, R, C, \
        s + c * 16, 64, ahead + c * 16 * ahead_bytes, C * 16 * ahead_bytes / 64);
#define CALL(R) \
    int c = 0; \
    for (; c + HFC_ATTEND_COLUMNS(R) <= columns; c += HFC_ATTEND_COLUMNS(R)) { SCORES(R, HFC_ATTEND_COLUMNS(R)) } \
    for (; c < columns; c++) { SCORES(R, 1) }
    HFC_FOR_ROWS(some, CALL)
#undef CALL
#undef SCORES
  }
}

static __attribute__((noinline)) void attend_f16_h4_kv2_d64_scores(const attend_f16_h4_kv2_d64_Scratch* x, const uint8_t* keys,
    int queries, int count, int columns) {
  uint8_t* kt = (uint8_t*)x->k;
  hfc_kv_f16_keys(keys, 128, count, 64, 64, (uint8_t*)x->kt, kt);
  if (queries <= 4) {
    attend_f16_h4_kv2_d64_multiply_keys(x, kt, hfc_kv_f16_wide, 2, queries, columns,
        keys + 8192, 128);
    return;
  }
  for (int i = 0; i < 4096; i += 16)
    hfc_store_f32(x->kt + i, hfc_kv_f16_wide(kt + i * 2));
  attend_f16_h4_kv2_d64_multiply_keys(x, (const uint8_t*)x->kt, hfc_load_f32, 4, queries, columns, keys, 0);
}

HFC_INLINE int attend_f16_h4_kv2_d64_place(int d) { return 4 * d; }

HFC_INLINE void attend_f16_h4_kv2_d64_multiply_values(const attend_f16_h4_kv2_d64_Scratch* x, const uint8_t* v, HfcWide* wide,
    int (*const place)(int), const int bytes, const int row_bytes, int queries, int count, const int ahead) {
  enum { STRIDE = 64, MOST = 4 };
  for (int i = 0, some; i < queries; i += some) {
    some = queries - i < 4 ? queries - i : 4;
    const float* p = x->s + i * 64;
    const float* rescale = x->rescale + i;
    float* o = x->o + i * 64;
#define VALUES(R, C) \
    hfc_values(p + j / 64 * 64, STRIDE, v + place(j), wide, bytes, row_bytes, count, R, C, \
        rescale, o + j, 64, 64 * row_bytes, ahead * C * 16 * bytes);
#define COLUMNS(R) (HFC_ATTEND_COLUMNS(R) < MOST ? HFC_ATTEND_COLUMNS(R) : MOST)
#define CALL(R) \
    int j = 0; \
    for (; j + 16 * COLUMNS(R) <= 64; j += 16 * COLUMNS(R)) { VALUES(R, COLUMNS(R)) } \
    for (; j < 64; j += 16) { VALUES(R, 1) }
    HFC_FOR_ROWS(some, CALL)
#undef CALL
#undef COLUMNS
#undef VALUES
  }
}

static __attribute__((noinline)) void attend_f16_h4_kv2_d64_values(const attend_f16_h4_kv2_d64_Scratch* x, const uint8_t* values,
    int queries, int count) {
  if (queries <= 4) {
    attend_f16_h4_kv2_d64_multiply_values(x, values, hfc_kv_f16_wide, hfc_kv_f16_place,
        2, 128, queries, count, 1);
    return;
  }
  const float* v = x->v;
  for (int t = 0; t < count; t++)
    for (int d = 0; d < 64; d += 16)
      hfc_store_f32(x->v + t * 64 + d, hfc_kv_f16_wide(values + t * 128
          + hfc_kv_f16_place(d)));
  attend_f16_h4_kv2_d64_multiply_values(x, (const uint8_t*)v, hfc_load_f32, attend_f16_h4_kv2_d64_place, 4, 256, queries, count,
      0);
}

// The queries of rows position … position + rows - 1 and one group of heads over keys [begin, end): m, l, o of scratch.
static __attribute__((noinline)) void attend_f16_h4_kv2_d64_chunk(const attend_f16_h4_kv2_d64_Scratch* x, const uint8_t* keys,
    const uint8_t* values,
                                                       int position, int rows, int limit, int begin, int end) {
  const int queries = rows * 2;
  for (int i = 0; i < queries; i++) x->m[i] = HFC_NONE;
  memset(x->l, 0, sizeof(float) * 16 * queries);
  memset(x->o, 0, sizeof(float) * 64 * queries);
  const int seen = (position + rows - 1) + 1;
  (void)limit;
  end = end < seen ? end : seen;
  for (int at = begin; at < end; at += 64) {
    const int count = end - at < 64 ? end - at : 64, columns = (count + 15) / 16;
    attend_f16_h4_kv2_d64_read_ahead(keys + (size_t)at * 128, values + (size_t)at
        * 128, queries, count);
    attend_f16_h4_kv2_d64_scores(x, keys + (size_t)at * 128, queries, count, columns);
    for (int i = 0; i < queries; i++) {
      float* s = x->s + i * 64;
      const int here = position + i / 2, sees = here + 1 - at, last = sees < count ? sees
          : count;
      const int first = 0;
      x->rescale[i] = hfc_soften(s, 64, first, last, x->m + i, x->l + i * 16);
    }
    attend_f16_h4_kv2_d64_values(x, values + (size_t)at * 128, queries, count);
  }
}

void attend_f16_h4_kv2_d64(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* x0 =
    (const float*)p[0]; float* y1 =
    (float*)p[1]; const uint8_t* s2_k =
    (const uint8_t*)p[2]; const uint8_t* s3_v =
    (const uint8_t*)p[3]; 
  float* own = (float*)w->own;
  const attend_f16_h4_kv2_d64_Scratch x = {
    .k = own, .v = own + 4096, .kt = own + 8192,
    .q = own + 12288,
    .s = own + 16384, .o = own
        + 20480,
    .sum = own + 24576, .l = own
        + 28672,
    .m = own + 29696, .rescale = own
        + 29760,
    .sum_m = own + 29824, .sum_l = own
        + 29888,
    .slope = own + 29952, .scales = own
        + 30016,
    .p = own + 30272,
  };
  const int rows = hfc_rows(step), segments = hfc_segments(step);
  float* parts = (float*)w->shared;  // [rows, heads, chunks, PART]
  const int split = rows <= 16;
  int tiles = 0;  // pieces of a segment's work for one group of heads, at most
  for (int i = 0; i < segments; i++) {
    const HfcSegment s = hfc_segment(step, i);
    const int mine = split ? (s.position + s.rows + 255) / 256 * ((s.rows
        + 31) / 32)
                           : (s.rows + 31) / 32;
    tiles = mine > tiles ? mine : tiles;
  }
  const int units = segments * 2 * tiles;
  for (int unit = hfc_take(w, units, 1); unit < units; unit = hfc_take(w, units, 1)) {
    const HfcSegment segment = hfc_segment(step, unit / tiles % segments);
    if (!segment.rows) continue;
    const int head = unit / tiles / segments, row_tiles = (segment.rows + 31) / 32;
    const int tile = unit % tiles % row_tiles, chunk = unit % tiles / row_tiles;
    const int first = (row_tiles - 1 - tile) * 32;  // late rows see more keys: they start first
    const int count = segment.rows - first < 32 ? segment.rows - first : 32,
        position = segment.position + first;
    const int begin = 0;
    const int limit = segment.position + segment.rows,
        end = ((position + count - 1) + 1 - 1) / 256 + 1;
    if (split ? chunk < begin || chunk >= end : unit % tiles >= row_tiles) continue;
    const size_t lane = ((size_t)segment.slot * 2 + head) * 1024;
    const uint8_t* keys = s2_k + lane * 128;
    const uint8_t* values = s3_v + lane * 128;
    for (int i = 0; i < count * 2; i++) {
      const int row = segment.row + first + i / 2, g = head * 2 + i % 2;
      float* q = x.q + i * 64;
      HFC_ELEMENTWISE for (int j = 0; j < 64; j++) q[j] = (x0[(size_t)row * 256 + g * 64 + j]) * 0.125f;
      x.slope[i] = 0.0f;
      x.sum_m[i] = HFC_NONE;
      x.sum_l[i] = 0.0f;
      memset(x.sum + i * 64, 0, 256);
    }
    for (int c = split ? chunk : begin; c < (split ? chunk + 1 : end); c++) {
      attend_f16_h4_kv2_d64_chunk(&x, keys, values, position, count, limit, c * 256, (c + 1) * 256);
      for (int i = 0; i < count * 2; i++) {
        const float l = hfc_sum16(hfc_load_f32(x.l + i * 16));
        if (split) {
          const int row = segment.row + first + i / 2, g = head * 2 + i % 2;
          float* part = parts + (((size_t)row * 4 + g) * 4 + c) * attend_f16_h4_kv2_d64_PART;
          memcpy(part, x.o + i * 64, 256);
          part[64] = x.m[i];
          part[65] = l;
        } else if (x.m[i] != HFC_NONE) {
          hfc_merge(x.sum_m + i, x.sum_l + i, x.sum + i * 64, x.m[i], l, x.o + i * 64,
              64);
        }
      }
    }
    for (int i = 0; !split && i < count * 2; i++) {
      const int row = segment.row + first + i / 2, g = head * 2 + i % 2;
      const float inverse = 1.0f / x.sum_l[i], *o = x.sum + i * 64;
      HFC_ELEMENTWISE for (int j = 0; j < 64; j++) { const float y = o[j] * inverse; y1[(size_t)row * 256 + g * 64 + j] = y; }
    }
  }
  hfc_join(w, units);
  if (!split) return;

  const int outputs = rows * 4, some = hfc_chunk(w, outputs, 17);
  for (int unit = hfc_take(w, outputs, some); unit < outputs; unit = hfc_take(w, outputs, some))
  for (const int last = unit + some < outputs ? unit + some : outputs; unit < last; unit++) {
    const int row = unit / 4, g = unit % 4, position = hfc_position(step, row);
    const int begin = 0;
    const int newest = position + 1 - 1;
    (void)position;
    float m = HFC_NONE, l = 0.0f, *o = x.sum;
    memset(o, 0, 256);
    for (int c = begin; c <= newest / 256; c++) {
      const float* part = parts + ((size_t)unit * 4 + c) * attend_f16_h4_kv2_d64_PART;
      hfc_merge(&m, &l, o, part[64], part[65], part, 64);
    }
    const float inverse = 1.0f / l;
    HFC_ELEMENTWISE for (int j = 0; j < 64; j++) { const float y = o[j] * inverse; y1[(size_t)row * 256 + g * 64 + j] = y; }
  }
  hfc_join(w, outputs);
}

enum { map_SHARED = 0, map_OWN = 128 };

void map(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* x0 =
    (const float*)p[0]; float* y1 =
    (float*)p[1]; 
  const int rows = hfc_outputs(step);
  float *elements = (float*)w->own, *mixed = elements + 32;
  (void)elements, (void)mixed;
  const int units = rows * 4,
      chunk = hfc_chunk(w, units, 33);
  for (int unit = hfc_take(w, units, chunk); unit < units; unit = hfc_take(w, units, chunk)) {
    const int last = unit + chunk < units ? unit + chunk : units;
    // 4 x 64
    for (; unit < last && unit < rows * 4; unit++) {
      const int row = (unit - rows * 0) / 4,
          g = (unit - rows * 0) % 4;
      (void)g;
      
      
      HFC_ELEMENTWISE for (int j = 0; j < 64; j++) { y1[(size_t)row * 256 + g * 64 + j] = hfc_sigmoid(x0[(size_t)(step[196 + row]) * 256 + g * 64 + j]); }
    }
  }
  hfc_join(w, units);
}
