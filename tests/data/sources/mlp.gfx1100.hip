extern "C" __global__ __launch_bounds__(128)
void map_gather(const int32_t* __restrict__ step, const float* __restrict__ w0, float* y1) {
  hfc_begin();
  const int row = hfc_block_y();
  if (row >= hfc_rows(step)) return;
  const int unit = hfc_block_x() * 4 + hfc_wave();
  const int first = hfc_lane();
  if (unit >= 0 && unit < 1) {
    const int g = (unit - 0) / 1;
    (void)g;
    const int from = (unit - 0) % 1 * 256;
    const int to = from + 256 < 256 ? from + 256 : 256;
    for (int j = from + first; j < to; j += 32) {
      y1[(size_t)row * 256 + j] = w0[(step[4 + row]) * 256 + j];
    }
  }
}

extern "C" __global__ __launch_bounds__(256)
void zip_q4_0_k256_n1024_numbers(const int32_t* __restrict__ step, const float* x0, const float* __restrict__ w1, const uint8_t* __restrict__ w2, const uint8_t* __restrict__ w3, float* y4, float* __restrict__ operands) {
  hfc_begin();
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  w1 = (const float*)__builtin_assume_aligned(w1, 16);
  w2 = (const uint8_t*)__builtin_assume_aligned(w2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  y4 = (float*)__builtin_assume_aligned(y4, 16);
  const int row = hfc_block_x(), at = (hfc_block_y() * 256 + hfc_thread()) * 8;
  if (row >= hfc_rows(step)) return;
    float stat0;
    {
      float r = 0.0f;
#pragma unroll
      for (int run = 0; run < 1; run++) {
        const int at = (run * 256 + hfc_thread()) * 8;
        if (at >= 256) continue;
#pragma unroll
        for (int j = at; j < at + 8; j++) {
          
          {
#pragma clang fp contract(on)
            r += x0[(size_t)row * 256 + j] * x0[(size_t)row * 256 + j];
          }
        }
      }
      r = hfc_block_sum<8>(r);
      stat0 = hfc_rsqrt(r / 256.0f + 1e-06f);
    }

        float x[8], largest = 0.0f;
        const int from = at < 256 ? at : 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = from + i;
          x[i] = (x0[(size_t)row * 256 + j] * stat0 * w1[j]);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) largest = hfc_larger(hfc_abs(x[i]), largest);
        largest = hfc_larger(largest, hfc_other<1>(largest));
        largest = hfc_larger(largest, hfc_other<2>(largest));
        int sum;
        const hfc_planes<2> run_planes = hfc_whole_numbers<2>(x, largest, sum);
        const float unit = largest * hfc_unit_of_largest<2>;
        const hfc_chunk pair = hfc_chunk_of<4>(unit, sum);

  if (at >= 256) return;
  float* staged_row = operands + (size_t)row * 144;
  hfc_put(staged_row + at / 2, run_planes);
  if (at % 32 == 0) ((hfc_chunk*)(staged_row + 128))[at / 32] = pair;
}

extern "C" __global__ HFC_RESIDENT(256, 2)
void zip_q4_0_k256_n1024_rows(const int32_t* __restrict__ step, const float* x0, const float* __restrict__ w1, const uint8_t* __restrict__ w2, const uint8_t* __restrict__ w3, float* y4, const float* __restrict__ operands) {
  hfc_begin();
  __shared__ __attribute__((aligned(16)))
      hfc_planes<2> inputs[4][320];
  __shared__ hfc_chunk pairs[4][64];  // unit, sum of a chunk
  __shared__ float joined[8][4][2][1];
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  w1 = (const float*)__builtin_assume_aligned(w1, 16);
  w2 = (const uint8_t*)__builtin_assume_aligned(w2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  y4 = (float*)__builtin_assume_aligned(y4, 16);
  const int row0 = hfc_block_y() * 4, lane = hfc_lane(), wave = hfc_uniform(hfc_wave());
  const int wave_n = wave / 1, wave_k = wave % 1;
  const int left = hfc_rows(step) - row0, rows = left < 4 ? left : 4;
  if (rows <= 0) return;
  {
    const int n0 = ((hfc_block_x() - 0) * 8 + wave_n) * 1;
    float sum[2][4][1] = {};
    const uint8_t* weight_row0[1];
#pragma unroll
    for (int o = 0; o < 1; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 512 ? n0 + o : 511);
      weight_row0[o] = (const uint8_t*)w2 + index * 144;
    }
    const uint8_t* weight_row1[1];
#pragma unroll
    for (int o = 0; o < 1; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 512 ? n0 + o : 511);
      weight_row1[o] = (const uint8_t*)w3 + index * 144;
    }





#pragma unroll 1
    for (int first = 0; first < 256; first += 2048) {
      hfc_lds_barrier();  // the tile before is used up
      for (int e = hfc_thread(); e < rows * 256; e += 256) {
        const int r = e / 256, run = e % 256, at = run * 8;
        const float* staged_row = operands + (size_t)(row0 + r) * 144;
        if (first + at < 256) {
          hfc_put(&inputs[r][HFC_PLACE(run)],
              hfc_get<hfc_planes<2>>(staged_row + (first + at) / 2));
          if (at % 32 == 0)
            pairs[r][at / 32] = ((const hfc_chunk*)(staged_row
                + 128))[(first + at) / 32];
        }
      }
      hfc_lds_barrier();

      const int stop = (first + 2048 < 256 ? first + 2048 : 256) / 32;
      if (rows <= 2) {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          float scale0[1][1],
              low0[1][1];
          uint32_t codes0[1][8], raw0[1][5];
          (void)low0;
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter) / 1 * 18, lane % 1,
                raw0[o]);
          }
          float scale1[1][1],
              low1[1][1];
          uint32_t codes1[1][8], raw1[1][5];
          (void)low1;
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row1[o]
                + (k_iter) / 1 * 18, lane % 1,
                raw1[o]);
          }

#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_cut(
                raw0[o], lane % 1, codes0[o],
                scale0[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[1];
#pragma unroll
              for (int o = 0; o < 1; o++)
                add[o] = scale0[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 2; r++) {
                const int input_row = r < rows ? r : rows - 1;
                int high[1] = {}, rest[1] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][0],
                        b = codes0[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][2],
                        b = codes0[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][4],
                        b = codes0[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][6],
                        b = codes0[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 1; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale0[o][0], dot, sum[0][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[0][r][o] = s;
                }
              }
            }
          }

#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_cut(
                raw1[o], lane % 1, codes1[o],
                scale1[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[1];
#pragma unroll
              for (int o = 0; o < 1; o++)
                add[o] = scale1[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 2; r++) {
                const int input_row = r < rows ? r : rows - 1;
                int high[1] = {}, rest[1] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][0],
                        b = codes1[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][2],
                        b = codes1[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][4],
                        b = codes1[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][6],
                        b = codes1[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 1; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale1[o][0], dot, sum[1][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[1][r][o] = s;
                }
              }
            }
          }
        }

      } else {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          float scale0[1][1],
              low0[1][1];
          uint32_t codes0[1][8], raw0[1][5];
          (void)low0;
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter) / 1 * 18, lane % 1,
                raw0[o]);
          }
          float scale1[1][1],
              low1[1][1];
          uint32_t codes1[1][8], raw1[1][5];
          (void)low1;
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row1[o]
                + (k_iter) / 1 * 18, lane % 1,
                raw1[o]);
          }

#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_cut(
                raw0[o], lane % 1, codes0[o],
                scale0[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[1];
#pragma unroll
              for (int o = 0; o < 1; o++)
                add[o] = scale0[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 4; r++) {
                const int input_row = r < rows ? r : rows - 1;
                int high[1] = {}, rest[1] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][0],
                        b = codes0[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][2],
                        b = codes0[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][4],
                        b = codes0[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][6],
                        b = codes0[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 1; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale0[o][0], dot, sum[0][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[0][r][o] = s;
                }
              }
            }
          }

#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_cut(
                raw1[o], lane % 1, codes1[o],
                scale1[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[1];
#pragma unroll
              for (int o = 0; o < 1; o++)
                add[o] = scale1[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 4; r++) {
                const int input_row = r < rows ? r : rows - 1;
                int high[1] = {}, rest[1] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][0],
                        b = codes1[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][2],
                        b = codes1[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][4],
                        b = codes1[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][6],
                        b = codes1[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 1; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale1[o][0], dot, sum[1][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[1][r][o] = s;
                }
              }
            }
          }
        }

      }
    }

#pragma unroll
    for (int p = 0; p < 2; p++) {
#pragma unroll
      for (int r = 0; r < 4; r++) {
        if (r < rows) {
#pragma unroll
          for (int o = 0; o < 1; o++) {
            const float whole = hfc_wave_sum(sum[p][r][o]);
            if (lane == 0) joined[wave][r][p][o] = whole;
          }
        }
      }
    }
    hfc_lds_barrier();
    for (int e = hfc_thread(); e < rows * 8; e += 256) {
      const int r = e / 8, from = e % 8 / 1 * 1,
          o = e % 1;
      const int row = row0 + r, n = (hfc_block_x() - 0) * 8
          + e % 8;
      float y0 = joined[from][r][0][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y0 += joined[from + s][r][0][o];
      float y1 = joined[from][r][1][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y1 += joined[from + s][r][1][o];
      if (n < 512) {
        y4[(size_t)row * 512 + n] = (hfc_silu(y0) * y1);
      }
    }

  }
}

extern "C" __global__ HFC_RESIDENT(256, 2)
void zip_q4_0_k256_n1024(const int32_t* __restrict__ step, const float* x0, const float* __restrict__ w1, const uint8_t* __restrict__ w2, const uint8_t* __restrict__ w3, float* y4) {
  hfc_begin();
  __shared__ __attribute__((aligned(16)))
      hfc_planes<2> inputs[1][320];
  __shared__ hfc_chunk pairs[1][64];  // unit, sum of a chunk
  __shared__ float joined[8][1][2][1];
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  w1 = (const float*)__builtin_assume_aligned(w1, 16);
  w2 = (const uint8_t*)__builtin_assume_aligned(w2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  y4 = (float*)__builtin_assume_aligned(y4, 16);
  const int row0 = hfc_block_y() * 1, lane = hfc_lane(), wave = hfc_uniform(hfc_wave());
  const int wave_n = wave / 1, wave_k = wave % 1;
  const int left = hfc_rows(step) - row0, rows = left < 1 ? left : 1;
  if (rows <= 0) return;
  const int row = row0;
  {
    const int n0 = ((hfc_block_x() - 0) * 8 + wave_n) * 1;
    float sum[2][1][1] = {};
    const uint8_t* weight_row0[1];
#pragma unroll
    for (int o = 0; o < 1; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 512 ? n0 + o : 511);
      weight_row0[o] = (const uint8_t*)w2 + index * 144;
    }
    const uint8_t* weight_row1[1];
#pragma unroll
    for (int o = 0; o < 1; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 512 ? n0 + o : 511);
      weight_row1[o] = (const uint8_t*)w3 + index * 144;
    }

    float seen0[1][8], seen1[1][8];
#pragma unroll
    for (int run = 0; run < 1; run++) {
      const int at = (run * 256 + hfc_thread()) * 8, from = at < 256 ? at : 0;
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const int j = from + i;
        seen0[run][i] = x0[(size_t)row * 256 + j];
        seen1[run][i] = w1[j];
      }
    }
    hfc_keep_order();

    uint32_t next0[1][5];
    {
      const int k_iter = wave_k * WAVE + lane < 8 ? wave_k * WAVE + lane : 0;
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter) / 1 * 18, lane % 1,
                next0[o]);
          }
    }
    uint32_t next1[1][5];
    {
      const int k_iter = wave_k * WAVE + lane < 8 ? wave_k * WAVE + lane : 0;
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row1[o]
                + (k_iter) / 1 * 18, lane % 1,
                next1[o]);
          }
    }


hfc_keep_order();
    float stat0;
    {
      float r = 0.0f;
#pragma unroll
      for (int run = 0; run < 1; run++) {
        if ((run * 256 + hfc_thread()) * 8 >= 256) continue;
#pragma unroll
        for (int i = 0; i < 8; i++)
          {
#pragma clang fp contract(on)
            r += seen0[run][i] * seen0[run][i];
          }
      }
      r = hfc_block_sum<8>(r);
      stat0 = hfc_rsqrt(r / 256.0f + 1e-06f);
    }

#pragma unroll 1
    for (int first = 0; first < 256; first += 2048) {
      hfc_lds_barrier();  // the tile before is used up
#pragma unroll
      for (int run = 0; run < 1; run++) {
        const int place = run * 256 + hfc_thread(), at = place * 8;
        const bool used = at < 256;
        if (run * 2048 + wave * WAVE * 8 >= 256) break;  // nothing for this wave
        float x[8], largest = 0.0f;
        const int from = used ? at : 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = from + i;
          x[i] = (seen0[run][i] * stat0 * seen1[run][i]);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) largest = hfc_larger(hfc_abs(x[i]), largest);
        largest = hfc_larger(largest, hfc_other<1>(largest));
        largest = hfc_larger(largest, hfc_other<2>(largest));
        int sum;
        const hfc_planes<2> run_planes = hfc_whole_numbers<2>(x, largest, sum);
        const float unit = largest * hfc_unit_of_largest<2>;
        const hfc_chunk pair = hfc_chunk_of<4>(unit, sum);

        if (used) hfc_put(&inputs[0][HFC_PLACE(place)], run_planes);
        if (used && at % 32 == 0) pairs[0][at / 32] = pair;
      }

      hfc_lds_barrier();

      const int stop = (first + 2048 < 256 ? first + 2048 : 256) / 32;
      {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          float scale0[1][1],
              low0[1][1];
          uint32_t codes0[1][8], raw0[1][5];
          (void)low0;
#pragma unroll
          for (int o = 0; o < 1; o++) {
#pragma unroll
            for (int i = 0; i < 5; i++) raw0[o][i] = next0[o][i];
          }
          if (k_iter + 1 * WAVE < 8) {
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter + 1 * WAVE) / 1 * 18, lane % 1,
                next0[o]);
          }
          }
          float scale1[1][1],
              low1[1][1];
          uint32_t codes1[1][8], raw1[1][5];
          (void)low1;
#pragma unroll
          for (int o = 0; o < 1; o++) {
#pragma unroll
            for (int i = 0; i < 5; i++) raw1[o][i] = next1[o][i];
          }
          if (k_iter + 1 * WAVE < 8) {
#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_read(weight_row1[o]
                + (k_iter + 1 * WAVE) / 1 * 18, lane % 1,
                next1[o]);
          }
          }

#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_cut(
                raw0[o], lane % 1, codes0[o],
                scale0[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[1];
#pragma unroll
              for (int o = 0; o < 1; o++)
                add[o] = scale0[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 1; r++) {
                const int input_row = 0;
                int high[1] = {}, rest[1] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][0],
                        b = codes0[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][2],
                        b = codes0[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][4],
                        b = codes0[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes0[o][6],
                        b = codes0[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 1; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale0[o][0], dot, sum[0][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[0][r][o] = s;
                }
              }
            }
          }

#pragma unroll
          for (int o = 0; o < 1; o++) {
            hfc_q4_0_contiguous_cut(
                raw1[o], lane % 1, codes1[o],
                scale1[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[1];
#pragma unroll
              for (int o = 0; o < 1; o++)
                add[o] = scale1[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 1; r++) {
                const int input_row = 0;
                int high[1] = {}, rest[1] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][0],
                        b = codes1[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][2],
                        b = codes1[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][4],
                        b = codes1[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 1; o++) {
                    const uint32_t a = codes1[o][6],
                        b = codes1[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 1; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale1[o][0], dot, sum[1][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[1][r][o] = s;
                }
              }
            }
          }
        }

      }
    }

#pragma unroll
    for (int p = 0; p < 2; p++) {
#pragma unroll
      for (int r = 0; r < 1; r++) {
        if (r < rows) {
#pragma unroll
          for (int o = 0; o < 1; o++) {
            const float whole = hfc_wave_sum(sum[p][r][o]);
            if (lane == 0) joined[wave][r][p][o] = whole;
          }
        }
      }
    }
    hfc_lds_barrier();
    for (int e = hfc_thread(); e < rows * 8; e += 256) {
      const int r = e / 8, from = e % 8 / 1 * 1,
          o = e % 1;
      const int row = row0 + r, n = (hfc_block_x() - 0) * 8
          + e % 8;
      float y0 = joined[from][r][0][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y0 += joined[from + s][r][0][o];
      float y1 = joined[from][r][1][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y1 += joined[from + s][r][1][o];
      if (n < 512) {
        y4[(size_t)row * 512 + n] = (hfc_silu(y0) * y1);
      }
    }

  }
}

extern "C" __global__ __launch_bounds__(256)
void linear_q4_0_k512_n256_numbers(const int32_t* __restrict__ step, const float* x0, const float* x1, float* y2, const uint8_t* __restrict__ w3, float* __restrict__ operands) {
  hfc_begin();
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  x1 = (const float*)__builtin_assume_aligned(x1, 16);
  y2 = (float*)__builtin_assume_aligned(y2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  const int row = hfc_block_x(), at = (hfc_block_y() * 256 + hfc_thread()) * 8;
  if (row >= hfc_rows(step)) return;
        float x[8], largest = 0.0f;
        const int from = at < 512 ? at : 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = from + i;
          x[i] = x0[(size_t)row * 512 + j];
        }
#pragma unroll
        for (int i = 0; i < 8; i++) largest = hfc_larger(hfc_abs(x[i]), largest);
        largest = hfc_larger(largest, hfc_other<1>(largest));
        largest = hfc_larger(largest, hfc_other<2>(largest));
        int sum;
        const hfc_planes<2> run_planes = hfc_whole_numbers<2>(x, largest, sum);
        const float unit = largest * hfc_unit_of_largest<2>;
        const hfc_chunk pair = hfc_chunk_of<4>(unit, sum);

  if (at >= 512) return;
  float* staged_row = operands + (size_t)row * 288;
  hfc_put(staged_row + at / 2, run_planes);
  if (at % 32 == 0) ((hfc_chunk*)(staged_row + 256))[at / 32] = pair;
}

extern "C" __global__ HFC_RESIDENT(256, 2)
void linear_q4_0_k512_n256_rows(const int32_t* __restrict__ step, const float* x0, const float* x1, float* y2, const uint8_t* __restrict__ w3, const float* __restrict__ operands) {
  hfc_begin();
  __shared__ __attribute__((aligned(16)))
      hfc_planes<2> inputs[4][320];
  __shared__ hfc_chunk pairs[4][64];  // unit, sum of a chunk
  __shared__ float joined[8][4][1][2];
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  x1 = (const float*)__builtin_assume_aligned(x1, 16);
  y2 = (float*)__builtin_assume_aligned(y2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  const int row0 = hfc_block_y() * 4, lane = hfc_lane(), wave = hfc_uniform(hfc_wave());
  const int wave_n = wave / 1, wave_k = wave % 1;
  const int left = hfc_rows(step) - row0, rows = left < 4 ? left : 4;
  if (rows <= 0) return;
  {
    const int n0 = ((hfc_block_x() - 0) * 8 + wave_n) * 2;
    float sum[1][4][2] = {};
    const uint8_t* weight_row0[2];
#pragma unroll
    for (int o = 0; o < 2; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 256 ? n0 + o : 255);
      weight_row0[o] = (const uint8_t*)w3 + index * 288;
    }





#pragma unroll 1
    for (int first = 0; first < 512; first += 2048) {
      hfc_lds_barrier();  // the tile before is used up
      for (int e = hfc_thread(); e < rows * 256; e += 256) {
        const int r = e / 256, run = e % 256, at = run * 8;
        const float* staged_row = operands + (size_t)(row0 + r) * 288;
        if (first + at < 512) {
          hfc_put(&inputs[r][HFC_PLACE(run)],
              hfc_get<hfc_planes<2>>(staged_row + (first + at) / 2));
          if (at % 32 == 0)
            pairs[r][at / 32] = ((const hfc_chunk*)(staged_row
                + 256))[(first + at) / 32];
        }
      }
      hfc_lds_barrier();

      const int stop = (first + 2048 < 512 ? first + 2048 : 512) / 32;
      if (rows <= 2) {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          float scale0[2][1],
              low0[2][1];
          uint32_t codes0[2][8], raw0[2][5];
          (void)low0;
#pragma unroll
          for (int o = 0; o < 2; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter) / 1 * 18, lane % 1,
                raw0[o]);
          }

#pragma unroll
          for (int o = 0; o < 2; o++) {
            hfc_q4_0_contiguous_cut(
                raw0[o], lane % 1, codes0[o],
                scale0[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[2];
#pragma unroll
              for (int o = 0; o < 2; o++)
                add[o] = scale0[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 2; r++) {
                const int input_row = r < rows ? r : rows - 1;
                int high[2] = {}, rest[2] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][0],
                        b = codes0[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][2],
                        b = codes0[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][4],
                        b = codes0[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][6],
                        b = codes0[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale0[o][0], dot, sum[0][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[0][r][o] = s;
                }
              }
            }
          }
        }

      } else {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          float scale0[2][1],
              low0[2][1];
          uint32_t codes0[2][8], raw0[2][5];
          (void)low0;
#pragma unroll
          for (int o = 0; o < 2; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter) / 1 * 18, lane % 1,
                raw0[o]);
          }

#pragma unroll
          for (int o = 0; o < 2; o++) {
            hfc_q4_0_contiguous_cut(
                raw0[o], lane % 1, codes0[o],
                scale0[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[2];
#pragma unroll
              for (int o = 0; o < 2; o++)
                add[o] = scale0[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 4; r++) {
                const int input_row = r < rows ? r : rows - 1;
                int high[2] = {}, rest[2] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][0],
                        b = codes0[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][2],
                        b = codes0[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][4],
                        b = codes0[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][6],
                        b = codes0[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale0[o][0], dot, sum[0][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[0][r][o] = s;
                }
              }
            }
          }
        }

      }
    }

#pragma unroll
    for (int p = 0; p < 1; p++) {
#pragma unroll
      for (int r = 0; r < 4; r++) {
        if (r < rows) {
#pragma unroll
          for (int o = 0; o < 2; o++) {
            const float whole = hfc_wave_sum(sum[p][r][o]);
            if (lane == 0) joined[wave][r][p][o] = whole;
          }
        }
      }
    }
    hfc_lds_barrier();
    for (int e = hfc_thread(); e < rows * 16; e += 256) {
      const int r = e / 16, from = e % 16 / 2 * 1,
          o = e % 2;
      const int row = row0 + r, n = (hfc_block_x() - 0) * 16
          + e % 16;
      float y = joined[from][r][0][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y += joined[from + s][r][0][o];
      if (n < 256) {
        y2[(size_t)row * 256 + n] = (x1[(size_t)row * 256 + n] + y);
      }
    }

  }
}

extern "C" __global__ HFC_RESIDENT(256, 2)
void linear_q4_0_k512_n256(const int32_t* __restrict__ step, const float* x0, const float* x1, float* y2, const uint8_t* __restrict__ w3) {
  hfc_begin();
  __shared__ __attribute__((aligned(16)))
      hfc_planes<2> inputs[1][320];
  __shared__ hfc_chunk pairs[1][64];  // unit, sum of a chunk
  __shared__ float joined[8][1][1][2];
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  x1 = (const float*)__builtin_assume_aligned(x1, 16);
  y2 = (float*)__builtin_assume_aligned(y2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  const int row0 = hfc_block_y() * 1, lane = hfc_lane(), wave = hfc_uniform(hfc_wave());
  const int wave_n = wave / 1, wave_k = wave % 1;
  const int left = hfc_rows(step) - row0, rows = left < 1 ? left : 1;
  if (rows <= 0) return;
  const int row = row0;
  {
    const int n0 = ((hfc_block_x() - 0) * 8 + wave_n) * 2;
    float sum[1][1][2] = {};
    const uint8_t* weight_row0[2];
#pragma unroll
    for (int o = 0; o < 2; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 256 ? n0 + o : 255);
      weight_row0[o] = (const uint8_t*)w3 + index * 288;
    }

    float seen0[1][8];
#pragma unroll
    for (int run = 0; run < 1; run++) {
      const int at = (run * 256 + hfc_thread()) * 8, from = at < 512 ? at : 0;
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const int j = from + i;
        seen0[run][i] = x0[(size_t)row * 512 + j];
      }
    }
    hfc_keep_order();

    uint32_t next0[2][5];
    {
      const int k_iter = wave_k * WAVE + lane < 16 ? wave_k * WAVE + lane : 0;
#pragma unroll
          for (int o = 0; o < 2; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter) / 1 * 18, lane % 1,
                next0[o]);
          }
    }

    float early0;
    {  // by all threads: what follows a condition waits for all loads
      const int row = row0, place = hfc_thread() < 16 ? hfc_thread() : 0,
          mine = (hfc_block_x() - 0) * 16 + place,
          n = mine < 256 ? mine : 255;
      (void)row;
      early0 = x1[(size_t)row * 256 + n];
    }

hfc_keep_order();
#pragma unroll 1
    for (int first = 0; first < 512; first += 2048) {
      hfc_lds_barrier();  // the tile before is used up
#pragma unroll
      for (int run = 0; run < 1; run++) {
        const int place = run * 256 + hfc_thread(), at = place * 8;
        const bool used = at < 512;
        if (run * 2048 + wave * WAVE * 8 >= 512) break;  // nothing for this wave
        float x[8], largest = 0.0f;
        const int from = used ? at : 0;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = from + i;
          x[i] = seen0[run][i];
        }
#pragma unroll
        for (int i = 0; i < 8; i++) largest = hfc_larger(hfc_abs(x[i]), largest);
        largest = hfc_larger(largest, hfc_other<1>(largest));
        largest = hfc_larger(largest, hfc_other<2>(largest));
        int sum;
        const hfc_planes<2> run_planes = hfc_whole_numbers<2>(x, largest, sum);
        const float unit = largest * hfc_unit_of_largest<2>;
        const hfc_chunk pair = hfc_chunk_of<4>(unit, sum);

        if (used) hfc_put(&inputs[0][HFC_PLACE(place)], run_planes);
        if (used && at % 32 == 0) pairs[0][at / 32] = pair;
      }

      hfc_lds_barrier();

      const int stop = (first + 2048 < 512 ? first + 2048 : 512) / 32;
      {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          float scale0[2][1],
              low0[2][1];
          uint32_t codes0[2][8], raw0[2][5];
          (void)low0;
#pragma unroll
          for (int o = 0; o < 2; o++) {
#pragma unroll
            for (int i = 0; i < 5; i++) raw0[o][i] = next0[o][i];
          }
          if (k_iter + 1 * WAVE < 16) {
#pragma unroll
          for (int o = 0; o < 2; o++) {
            hfc_q4_0_contiguous_read(weight_row0[o]
                + (k_iter + 1 * WAVE) / 1 * 18, lane % 1,
                next0[o]);
          }
          }

#pragma unroll
          for (int o = 0; o < 2; o++) {
            hfc_q4_0_contiguous_cut(
                raw0[o], lane % 1, codes0[o],
                scale0[o]);
          }
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            const hfc_planes<2>* mine = &inputs[0][0] + HFC_PLACE(from / 8);
            {
              float add[2];
#pragma unroll
              for (int o = 0; o < 2; o++)
                add[o] = scale0[o][0] * -8.0f;
#pragma unroll
              for (int r = 0; r < 1; r++) {
                const int input_row = 0;
                int high[2] = {}, rest[2] = {};
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 0
                      + (from / 8 % 4 + 0) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][0],
                        b = codes0[o][1];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 1
                      + (from / 8 % 4 + 1) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][2],
                        b = codes0[o][3];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 2
                      + (from / 8 % 4 + 2) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][4],
                        b = codes0[o][5];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                {
                  const hfc_planes<2> x = mine[input_row * 320
                      + 3
                      + (from / 8 % 4 + 3) / 4];
#pragma unroll
                  for (int o = 0; o < 2; o++) {
                    const uint32_t a = codes0[o][6],
                        b = codes0[o][7];
                    high[o] = hfc_dot4(b, x.y, hfc_dot4(a, x.x, high[o]));
                    rest[o] = hfc_dot4(b, x.w, hfc_dot4(a, x.z, rest[o]));
                  }
                }
                const hfc_chunk* pair = pairs[input_row]
                    + (from + 0) / 32;
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  const float dot = pair->unit * (float)(high[o] * 128 + rest[o]);
                  float s = __builtin_fmaf(scale0[o][0], dot, sum[0][r][o]);
                  s = __builtin_fmaf(add[o], pair[0].sum, s);
                  sum[0][r][o] = s;
                }
              }
            }
          }
        }

      }
    }

#pragma unroll
    for (int p = 0; p < 1; p++) {
#pragma unroll
      for (int r = 0; r < 1; r++) {
        if (r < rows) {
#pragma unroll
          for (int o = 0; o < 2; o++) {
            const float whole = hfc_wave_sum(sum[p][r][o]);
            if (lane == 0) joined[wave][r][p][o] = whole;
          }
        }
      }
    }
    hfc_lds_barrier();
    for (int e = hfc_thread(); e < rows * 16; e += 256) {
      const int r = e / 16, from = e % 16 / 2 * 1,
          o = e % 2;
      const int row = row0 + r, n = (hfc_block_x() - 0) * 16
          + e % 16;
      float y = joined[from][r][0][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y += joined[from + s][r][0][o];
      if (n < 256) {
        y2[(size_t)row * 256 + n] = (early0 + y);
      }
    }

  }
}

extern "C" __global__ __launch_bounds__(128)
void map(const int32_t* __restrict__ step, const float* x0, float* y1) {
  hfc_begin();
  const int row = hfc_block_y();
  if (row >= hfc_outputs(step)) return;
  const int unit = hfc_block_x() * 4 + hfc_wave();
  const int first = hfc_lane();
  if (unit >= 0 && unit < 1) {
    const int g = (unit - 0) / 1;
    (void)g;
    const int from = (unit - 0) % 1 * 256;
    const int to = from + 256 < 256 ? from + 256 : 256;
    for (int j = from + first; j < to; j += 32) {
      y1[(size_t)row * 256 + j] = x0[(size_t)(step[196 + row]) * 256 + j];
    }
  }
}

extern "C" __global__ __launch_bounds__(256)
void zip_q4_0_k256_n1024_stage(const int32_t* __restrict__ step, const float* x0, const float* __restrict__ w1, const uint8_t* __restrict__ w2, const uint8_t* __restrict__ w3, float* y4, _Float16* __restrict__ staged) {
  hfc_begin();
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  w1 = (const float*)__builtin_assume_aligned(w1, 16);
  w2 = (const uint8_t*)__builtin_assume_aligned(w2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  y4 = (float*)__builtin_assume_aligned(y4, 16);
  const int row = hfc_block_x();
  if (row >= hfc_rows(step)) return;
    float stat0;
    {
      float r = 0.0f;
#pragma unroll 8
      for (int j = hfc_thread(); j < 256; j += 256) {
        r += x0[(size_t)row * 256 + j] * x0[(size_t)row * 256 + j];
      }
      r = hfc_block_sum<8>(r);
      stat0 = hfc_rsqrt(r / 256.0f + 1e-06f);
    }

  float largest = 0.0f;
  for (int at = hfc_thread() * 8; at < 256; at += 2048) {
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = at + i;
      x[i] = (x0[(size_t)row * 256 + j] * stat0 * w1[j]);
    }

#pragma unroll
    for (int i = 0; i < 8; i++) {
      largest = hfc_larger(hfc_abs(x[i]), largest);
      
    }
  }
  largest = hfc_block_max<8>(largest);
  const int power = hfc_unit_power(largest);
  const float down = hfc_bits_to_f32((uint32_t)(127 - power) << 23),
      unit = hfc_bits_to_f32((uint32_t)(127 + power) << 23);
  _Float16* staged_row = staged + (size_t)hfc_block_x() * 520;
  if (hfc_thread() == 0) *(float*)(staged_row + 512) = unit;
  for (int at = hfc_thread() * 8; at < 256; at += 2048) {
    hfc_run high, low;
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = at + i;
      x[i] = (x0[(size_t)row * 256 + j] * stat0 * w1[j]);
    }

#pragma unroll
    for (int i = 0; i < 8; i++) {
      high[i] = hfc_f32_to_f16(x[i] * down);
      low[i] = hfc_f32_to_f16(x[i] * down - hfc_f16_to_f32(high[i]));
    }
    *(hfc_run*)(staged_row + at) = high;
    *(hfc_run*)(staged_row + 256 + at) = low;
  }
}

extern "C" __global__ HFC_RESIDENT(256, 2)
void zip_q4_0_k256_n1024_matrix(const int32_t* __restrict__ step, const float* x0, const float* __restrict__ w1, const uint8_t* __restrict__ w2, const uint8_t* __restrict__ w3, float* y4, const _Float16* __restrict__ staged) {
  hfc_begin();
  __shared__ __attribute__((aligned(16))) hfc_input_tile<Shape> inputs[2];
  __shared__ __attribute__((aligned(16))) hfc_weight_tile<Shape> weights[2];
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  w1 = (const float*)__builtin_assume_aligned(w1, 16);
  w2 = (const uint8_t*)__builtin_assume_aligned(w2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  y4 = (float*)__builtin_assume_aligned(y4, 16);
  const int rows = hfc_rows(step);
  const int row0 = hfc_block_x() * 64, count = rows - row0 < 64 ? rows - row0 : 64;
  if (count <= 0) return;

  int from[2];  // of the staged inputs, f16
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int e = hfc_thread() + i * 256, wanted = (e % 256 / 32 * 8 + e / 8 % 4 + e / 4 % 2 * 4), tile_row = wanted < count ? wanted
        : count - 1;
    from[i] = (row0 + tile_row) / 1 * 520 + (e / 256) * 256
        + e % 4 * 8;
  }
  const int half = hfc_thread() / 8 % 2, own_weight_row = hfc_thread() / 16 * 8 + hfc_thread() % 8,
      wave = hfc_uniform(hfc_wave());
  const int wave_row = wave / 4 * 16, wave_column = wave % 4 * 16;
  {
    const int n0 = (hfc_block_y() - 0) * 64;
    const int mine = n0 + own_weight_row % 64;
    const size_t weight_index = (mine < 512 ? mine : 511);
    hfc_acc_tile sum[2][2] = {};
    const uint8_t* weight_row0 = (const uint8_t*)(hfc_thread() / 128 ? w3 : w2)
                + weight_index * 144;
    uint32_t raw0[5];
    hfc_uint4 input[2];
    int start = 0, buffer = 0;

#pragma unroll
      for (int i = 0; i < 2; i++) input[i] = hfc_get<hfc_uint4>(staged + from[i] + start);
      if (true) {
        const int k16 = start / 16 + half;
        hfc_q4_0_half_read(weight_row0 + k16 / 2 * 18,
            k16 % 2, raw0);
      }

#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int e = hfc_thread() + i * 256;
        hfc_put(&inputs[buffer][(e / 256)][(e % 256 / 32 * 8 + e / 8 % 4 + e / 4 % 2 * 4)][e % 4 * 8], input[i]);
      }
      if (true) {
        uint32_t codes[4];
        float scale[1], low[1];
        (void)low;
        hfc_q4_0_half_cut(raw0, (start / 16 + half) % 2, codes,
            scale);
        {
          float q[8];
          hfc_floats<4>(codes[0], q);
          hfc_floats<4>(codes[1], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 0], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 0], rest);
        }
        {
          float q[8];
          hfc_floats<4>(codes[2], q);
          hfc_floats<4>(codes[3], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 8], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 8], rest);
        }
      }

#pragma unroll 1
    while (true) {
      hfc_barrier();
      start += 32;
      if (start < 256) {
#pragma unroll
      for (int i = 0; i < 2; i++) input[i] = hfc_get<hfc_uint4>(staged + from[i] + start);
      if (true) {
        const int k16 = start / 16 + half;
        hfc_q4_0_half_read(weight_row0 + k16 / 2 * 18,
            k16 % 2, raw0);
      }

      }
      hfc_multiply_tile<Shape, false, false>(
          inputs[buffer], weights[buffer], wave_row, wave_column, count, sum);
      if (start >= 256) break;
      buffer ^= 1;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int e = hfc_thread() + i * 256;
        hfc_put(&inputs[buffer][(e / 256)][(e % 256 / 32 * 8 + e / 8 % 4 + e / 4 % 2 * 4)][e % 4 * 8], input[i]);
      }
      if (true) {
        uint32_t codes[4];
        float scale[1], low[1];
        (void)low;
        hfc_q4_0_half_cut(raw0, (start / 16 + half) % 2, codes,
            scale);
        {
          float q[8];
          hfc_floats<4>(codes[0], q);
          hfc_floats<4>(codes[1], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 0], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 0], rest);
        }
        {
          float q[8];
          hfc_floats<4>(codes[2], q);
          hfc_floats<4>(codes[3], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 8], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 8], rest);
        }
      }

    }


#pragma unroll
    for (int a = 0; a < 2; a++) {
#pragma unroll
      for (int v = 0; v < HFC_ACCUMULATORS; v++) {
        const int tile_row = wave_row + a * 32 + hfc_acc_row(v);
        if (tile_row >= count) continue;
        const int row = (row0 + tile_row);
        const float unit = *(const float*)(staged + (size_t)(row / 1) * 520
            + 512);
#pragma unroll
        for (int b = 0; b < 1; b++) {
          const int n = n0 + wave_column + b * 16 + hfc_acc_column(v);
          const float y0 = sum[a][b + 0].sum[v] * unit;
          const float y1 = sum[a][b + 1].sum[v] * unit;
          if (n < 512) {
            y4[(size_t)row * 512 + n] = (hfc_silu(y0) * y1);
          }
        }
      }
    }
  }
}

extern "C" __global__ __launch_bounds__(256)
void linear_q4_0_k512_n256_stage(const int32_t* __restrict__ step, const float* x0, const float* x1, float* y2, const uint8_t* __restrict__ w3, _Float16* __restrict__ staged) {
  hfc_begin();
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  x1 = (const float*)__builtin_assume_aligned(x1, 16);
  y2 = (float*)__builtin_assume_aligned(y2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  const int row = hfc_block_x();
  if (row >= hfc_rows(step)) return;
  float largest = 0.0f;
  for (int at = hfc_thread() * 8; at < 512; at += 2048) {
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = at + i;
      x[i] = x0[(size_t)row * 512 + j];
    }

#pragma unroll
    for (int i = 0; i < 8; i++) {
      largest = hfc_larger(hfc_abs(x[i]), largest);
      
    }
  }
  largest = hfc_block_max<8>(largest);
  const int power = hfc_unit_power(largest);
  const float down = hfc_bits_to_f32((uint32_t)(127 - power) << 23),
      unit = hfc_bits_to_f32((uint32_t)(127 + power) << 23);
  _Float16* staged_row = staged + (size_t)hfc_block_x() * 1032;
  if (hfc_thread() == 0) *(float*)(staged_row + 1024) = unit;
  for (int at = hfc_thread() * 8; at < 512; at += 2048) {
    hfc_run high, low;
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = at + i;
      x[i] = x0[(size_t)row * 512 + j];
    }

#pragma unroll
    for (int i = 0; i < 8; i++) {
      high[i] = hfc_f32_to_f16(x[i] * down);
      low[i] = hfc_f32_to_f16(x[i] * down - hfc_f16_to_f32(high[i]));
    }
    *(hfc_run*)(staged_row + at) = high;
    *(hfc_run*)(staged_row + 512 + at) = low;
  }
}

extern "C" __global__ HFC_RESIDENT(256, 2)
void linear_q4_0_k512_n256_matrix(const int32_t* __restrict__ step, const float* x0, const float* x1, float* y2, const uint8_t* __restrict__ w3, const _Float16* __restrict__ staged) {
  hfc_begin();
  __shared__ __attribute__((aligned(16))) hfc_input_tile<Shape> inputs[2];
  __shared__ __attribute__((aligned(16))) hfc_weight_tile<Shape> weights[2];
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  x1 = (const float*)__builtin_assume_aligned(x1, 16);
  y2 = (float*)__builtin_assume_aligned(y2, 16);
  w3 = (const uint8_t*)__builtin_assume_aligned(w3, 16);
  const int rows = hfc_rows(step);
  const int row0 = hfc_block_x() * 64, count = rows - row0 < 64 ? rows - row0 : 64;
  if (count <= 0) return;

  int from[2];  // of the staged inputs, f16
#pragma unroll
  for (int i = 0; i < 2; i++) {
    const int e = hfc_thread() + i * 256, wanted = (e % 256 / 32 * 8 + e / 8 % 4 + e / 4 % 2 * 4), tile_row = wanted < count ? wanted
        : count - 1;
    from[i] = (row0 + tile_row) / 1 * 1032 + (e / 256) * 512
        + e % 4 * 8;
  }
  const int half = hfc_thread() / 8 % 2, own_weight_row = hfc_thread() / 16 * 8 + hfc_thread() % 8,
      wave = hfc_uniform(hfc_wave());
  const int wave_row = wave / 4 * 16, wave_column = wave % 4 * 32;
  {
    const int n0 = (hfc_block_y() - 0) * 128;
    const int mine = n0 + own_weight_row % 128;
    const size_t weight_index = (mine < 256 ? mine : 255);
    hfc_acc_tile sum[2][2] = {};
    const uint8_t* weight_row0 = (const uint8_t*)w3
                + weight_index * 288;
    uint32_t raw0[5];
    hfc_uint4 input[2];
    int start = 0, buffer = 0;

#pragma unroll
      for (int i = 0; i < 2; i++) input[i] = hfc_get<hfc_uint4>(staged + from[i] + start);
      if (true) {
        const int k16 = start / 16 + half;
        hfc_q4_0_half_read(weight_row0 + k16 / 2 * 18,
            k16 % 2, raw0);
      }

#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int e = hfc_thread() + i * 256;
        hfc_put(&inputs[buffer][(e / 256)][(e % 256 / 32 * 8 + e / 8 % 4 + e / 4 % 2 * 4)][e % 4 * 8], input[i]);
      }
      if (true) {
        uint32_t codes[4];
        float scale[1], low[1];
        (void)low;
        hfc_q4_0_half_cut(raw0, (start / 16 + half) % 2, codes,
            scale);
        {
          float q[8];
          hfc_floats<4>(codes[0], q);
          hfc_floats<4>(codes[1], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 0], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 0], rest);
        }
        {
          float q[8];
          hfc_floats<4>(codes[2], q);
          hfc_floats<4>(codes[3], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 8], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 8], rest);
        }
      }

#pragma unroll 1
    while (true) {
      hfc_barrier();
      start += 32;
      if (start < 512) {
#pragma unroll
      for (int i = 0; i < 2; i++) input[i] = hfc_get<hfc_uint4>(staged + from[i] + start);
      if (true) {
        const int k16 = start / 16 + half;
        hfc_q4_0_half_read(weight_row0 + k16 / 2 * 18,
            k16 % 2, raw0);
      }

      }
      hfc_multiply_tile<Shape, false, false>(
          inputs[buffer], weights[buffer], wave_row, wave_column, count, sum);
      if (start >= 512) break;
      buffer ^= 1;
#pragma unroll
      for (int i = 0; i < 2; i++) {
        const int e = hfc_thread() + i * 256;
        hfc_put(&inputs[buffer][(e / 256)][(e % 256 / 32 * 8 + e / 8 % 4 + e / 4 % 2 * 4)][e % 4 * 8], input[i]);
      }
      if (true) {
        uint32_t codes[4];
        float scale[1], low[1];
        (void)low;
        hfc_q4_0_half_cut(raw0, (start / 16 + half) % 2, codes,
            scale);
        {
          float q[8];
          hfc_floats<4>(codes[0], q);
          hfc_floats<4>(codes[1], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 0], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 0], rest);
        }
        {
          float q[8];
          hfc_floats<4>(codes[2], q);
          hfc_floats<4>(codes[3], q + 4);
          const float zero = scale[0] * (-8.0f - hfc_floats_offset<4>);
          hfc_uint4 high, rest;
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float w0 = __builtin_fmaf(q[2 * i], scale[0], zero);
            const float w1 = __builtin_fmaf(q[2 * i + 1], scale[0], zero);
            hfc_split(w0, w1, ((uint32_t*)&high)[i], ((uint32_t*)&rest)[i]);
          }
          hfc_put(&weights[buffer][0][own_weight_row][half * 16 + 8], high);
          hfc_put(&weights[buffer][1][own_weight_row][half * 16 + 8], rest);
        }
      }

    }


#pragma unroll
    for (int a = 0; a < 2; a++) {
#pragma unroll
      for (int v = 0; v < HFC_ACCUMULATORS; v++) {
        const int tile_row = wave_row + a * 32 + hfc_acc_row(v);
        if (tile_row >= count) continue;
        const int row = (row0 + tile_row);
        const float unit = *(const float*)(staged + (size_t)(row / 1) * 1032
            + 1024);
#pragma unroll
        for (int b = 0; b < 2; b++) {
          const int n = n0 + wave_column + b * 16 + hfc_acc_column(v);
          const float y = sum[a][b + 0].sum[v] * unit;
          if (n < 256) {
            y2[(size_t)row * 256 + n] = (x1[(size_t)row * 256 + n] + y);
          }
        }
      }
    }
  }
}
