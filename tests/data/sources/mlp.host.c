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

#ifndef HFC_DOT_q4_g32_s2_z8
#define HFC_DOT_q4_g32_s2_z8
static const uint8_t hfc_table_q4_g32_s2_z8[16] = {  };
#define DOT(R) hfc_tile_dot(tile, size, x + done, R, 4, 32, 2, \
    0, -8.0f, 1, 2, \
    64, 0, 2, y + done)
static __attribute__((noinline)) void hfc_dot_q4_g32_s2_z8(const uint8_t* tile, int size, const HfcX* const* x,
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
  zip_q4_0_k256_n1024_XQ = 640,  // bytes of a row in whole numbers
  zip_q4_0_k256_n1024_X = zip_q4_0_k256_n1024_XQ + 0,  // … and in floats
  zip_q4_0_k256_n1024_ROW = 1024,
  zip_q4_0_k256_n1024_SHARED = MAX_ROWS * 1 * zip_q4_0_k256_n1024_X,
  zip_q4_0_k256_n1024_OWN = zip_q4_0_k256_n1024_ROW + zip_q4_0_k256_n1024_X,
};

// Row `row` of the input, with what stands before the weights, as floats in xs and ready for dots in `to`.
static void zip_q4_0_k256_n1024_prepare(const int32_t* step, void* const* p, int row, float* xs, char* to) {
  const float* x0 =
    (const float*)p[0]; const float* w1 =
    (const float*)p[1]; const uint8_t* w2 =
    (const uint8_t*)p[2]; const uint8_t* w3 =
    (const uint8_t*)p[3]; float* y4 =
    (float*)p[4]; 
      HFC_ELEMENTWISE for (int j = 0; j < 256; j++) xs[j] = x0[(size_t)row * 256 + j] * x0[(size_t)row * 256 + j];
    float stat0;
    { const float r = hfc_reduce_sum(xs, 256); stat0 = hfc_rsqrt(r / 256.0f + 1e-06f);
        }

  HFC_ELEMENTWISE for (int j = 0; j < 256; j++) xs[j] = (x0[(size_t)row * 256 + j] * stat0 * w1[j]);
  for (int j = 256; j < 256; j++) xs[j] = 0.0f;
  hfc_quantize(xs, 4, 2, (HfcX*)to);
}

void zip_q4_0_k256_n1024(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* x0 =
    (const float*)p[0]; const float* w1 =
    (const float*)p[1]; const uint8_t* w2 =
    (const uint8_t*)p[2]; const uint8_t* w3 =
    (const uint8_t*)p[3]; float* y4 =
    (float*)p[4]; 
  const int rows = hfc_rows(step);
  float* xs = (float*)w->own;
  // A lone row is prepared by every thread for itself: cheaper than waiting for the one that does it.
  const int alone = rows == 1;
  char* prepared = alone ? w->own + zip_q4_0_k256_n1024_ROW : w->shared;
  if (!alone) {
    const int chunk = hfc_chunk(w, rows, 1);
    for (int row = hfc_take(w, rows, chunk); row < rows; row = hfc_take(w, rows, chunk))
      for (const int last = row + chunk < rows ? row + chunk : rows; row < last; row++)
        zip_q4_0_k256_n1024_prepare(step, p, row, xs, prepared + (size_t)row * zip_q4_0_k256_n1024_X);
    hfc_join(w, rows);
  }

  const int units = rows ? 32 : 0;
  const int chunk = hfc_chunk(w, units, 1);
  int ready = 0;
  for (int unit = hfc_take(w, units, chunk); unit < units; unit = hfc_take(w, units, chunk)) {
    if (!ready) {
      ready = 1;
      if (alone) zip_q4_0_k256_n1024_prepare(step, p, 0, xs, prepared);
    }
    for (const int last = unit + chunk < units ? unit + chunk : units; unit < last; unit++) {
      const int at = unit, begin = 0, end = rows;
      for (int row0 = begin; row0 < end; row0 += 8) {
        const int count = end - row0 < 8 ? end - row0 : 8;
        const HfcX* xq[8];
        for (int i = 0; i < count; i++)
          xq[i] = (const HfcX*)(prepared + (size_t)(row0 + i) * zip_q4_0_k256_n1024_X);
        const int n0 = at * 16, lanes = 512 - n0 < 16 ? 512 - n0 : 16;
        (void)lanes;
        float tile_y0[8][16];
        hfc_dot_q4_g32_s2_z8((const uint8_t*)w2 + (size_t)(at) * 2304,
4, xq, count, tile_y0);
        float tile_y1[8][16];
        hfc_dot_q4_g32_s2_z8((const uint8_t*)w3 + (size_t)(at) * 2304,
4, xq, count, tile_y1);
                for (int i = 0; i < count; i++) {
          const int row = row0 + i;
          HFC_ELEMENTWISE for (int lane = 0; lane < 16; lane++) {
            const int n = n0 + lane;
            const float y0 =
                tile_y0[i][lane], y1 =
                tile_y1[i][lane];
            y4[(size_t)row * 512 + n] = (hfc_silu(y0) * y1);
          }
        }

      }
    }
  }
  hfc_join(w, units);
}

#ifndef HFC_DOT_q4_g32_s2_z8
#define HFC_DOT_q4_g32_s2_z8
static const uint8_t hfc_table_q4_g32_s2_z8[16] = {  };
#define DOT(R) hfc_tile_dot(tile, size, x + done, R, 4, 32, 2, \
    0, -8.0f, 1, 2, \
    64, 0, 2, y + done)
static __attribute__((noinline)) void hfc_dot_q4_g32_s2_z8(const uint8_t* tile, int size, const HfcX* const* x,
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
  linear_q4_0_k512_n256_XQ = 1280,  // bytes of a row in whole numbers
  linear_q4_0_k512_n256_X = linear_q4_0_k512_n256_XQ + 0,  // … and in floats
  linear_q4_0_k512_n256_ROW = 2048,
  linear_q4_0_k512_n256_SHARED = MAX_ROWS * 1 * linear_q4_0_k512_n256_X,
  linear_q4_0_k512_n256_OWN = linear_q4_0_k512_n256_ROW + linear_q4_0_k512_n256_X,
};

// Row `row` of the input, with what stands before the weights, as floats in xs and ready for dots in `to`.
static void linear_q4_0_k512_n256_prepare(const int32_t* step, void* const* p, int row, float* xs, char* to) {
  const float* x0 =
    (const float*)p[0]; const float* x1 =
    (const float*)p[1]; float* y2 =
    (float*)p[2]; const uint8_t* w3 =
    (const uint8_t*)p[3]; 
  
  HFC_ELEMENTWISE for (int j = 0; j < 512; j++) xs[j] = x0[(size_t)row * 512 + j];
  for (int j = 512; j < 512; j++) xs[j] = 0.0f;
  hfc_quantize(xs, 8, 2, (HfcX*)to);
}

void linear_q4_0_k512_n256(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* x0 =
    (const float*)p[0]; const float* x1 =
    (const float*)p[1]; float* y2 =
    (float*)p[2]; const uint8_t* w3 =
    (const uint8_t*)p[3]; 
  const int rows = hfc_rows(step);
  float* xs = (float*)w->own;
  // A lone row is prepared by every thread for itself: cheaper than waiting for the one that does it.
  const int alone = rows == 1;
  char* prepared = alone ? w->own + linear_q4_0_k512_n256_ROW : w->shared;
  if (!alone) {
    const int chunk = hfc_chunk(w, rows, 1);
    for (int row = hfc_take(w, rows, chunk); row < rows; row = hfc_take(w, rows, chunk))
      for (const int last = row + chunk < rows ? row + chunk : rows; row < last; row++)
        linear_q4_0_k512_n256_prepare(step, p, row, xs, prepared + (size_t)row * linear_q4_0_k512_n256_X);
    hfc_join(w, rows);
  }

  const int units = rows ? 16 : 0;
  const int chunk = hfc_chunk(w, units, 1);
  int ready = 0;
  for (int unit = hfc_take(w, units, chunk); unit < units; unit = hfc_take(w, units, chunk)) {
    if (!ready) {
      ready = 1;
      if (alone) linear_q4_0_k512_n256_prepare(step, p, 0, xs, prepared);
    }
    for (const int last = unit + chunk < units ? unit + chunk : units; unit < last; unit++) {
      const int at = unit, begin = 0, end = rows;
      for (int row0 = begin; row0 < end; row0 += 8) {
        const int count = end - row0 < 8 ? end - row0 : 8;
        const HfcX* xq[8];
        for (int i = 0; i < count; i++)
          xq[i] = (const HfcX*)(prepared + (size_t)(row0 + i) * linear_q4_0_k512_n256_X);
        float tile_y[8][16];
if (at < 16) {
        const int here = at - 0, n0 = here * 16, lanes = 256 - n0 < 16 ? 256 - n0 : 16;
        (void)lanes;
        hfc_dot_q4_g32_s2_z8((const uint8_t*)w3 + (size_t)(here) * 4608,
8, xq, count, tile_y);
                for (int i = 0; i < count; i++) {
          const int row = row0 + i;
          HFC_ELEMENTWISE for (int lane = 0; lane < 16; lane++) {
            const int n = n0 + lane;
            const float y =
                tile_y[i][lane];
            y2[(size_t)row * 256 + n] = (x1[(size_t)row * 256 + n] + y);
          }
        }

        }
      }
    }
  }
  hfc_join(w, units);
}

enum { map_SHARED = 0, map_OWN = 128 };

void map(const int32_t* step, void* const* p, HfcWorker* w) {
  const float* x0 =
    (const float*)p[0]; float* y1 =
    (float*)p[1]; 
  const int rows = hfc_outputs(step);
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
      
      
      HFC_ELEMENTWISE for (int j = 0; j < 256; j++) { y1[(size_t)row * 256 + j] = x0[(size_t)(step[196 + row]) * 256 + j]; }
    }
  }
  hfc_join(w, units);
}
