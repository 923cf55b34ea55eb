extern "C" __global__ __launch_bounds__(256)
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
    for (int j = from + first; j < to; j += 64) {
      y1[(size_t)row * 256 + j] = w0[(step[4 + row]) * 256 + j];
    }
  }
}

extern "C" __global__ HFC_RESIDENT(256, 2)
void linear_f32_k256_n256(const int32_t* __restrict__ step, const float* x0, float* y1, const float* __restrict__ w2, float* y3, const float* __restrict__ w4) {
  hfc_begin();
  __shared__ __attribute__((aligned(16))) float inputs[1][2304];
  __shared__ __attribute__((aligned(16))) float sums[1][256];
  __shared__ float joined[4][1][1][2];
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  y1 = (float*)__builtin_assume_aligned(y1, 16);
  w2 = (const float*)__builtin_assume_aligned(w2, 16);
  y3 = (float*)__builtin_assume_aligned(y3, 16);
  w4 = (const float*)__builtin_assume_aligned(w4, 16);
  const int row0 = hfc_block_y() * 1, lane = hfc_lane(), wave = hfc_wave();
  const int wave_n = wave / 1, wave_k = wave % 1;
  const int left = hfc_rows(step) - row0, rows = left < 1 ? left : 1;
  if (rows <= 0) return;
  if (hfc_block_x() < 16) {
    const int n0 = ((hfc_block_x() - 0) * 4 + wave_n) * 2;
    float sum[1][1][2] = {};
    const uint8_t* weight_row0[2];
#pragma unroll
    for (int o = 0; o < 2; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 128 ? n0 + o : 127);
      weight_row0[o] = (const uint8_t*)w2 + index * 1024;
    }

    for (int first = 0; first < 256; first += 2048) {
      hfc_barrier();  // the tile before is used up, the statistics are there
      for (int e = hfc_thread(); e < rows * 256; e += 256) {
        const int r = e / 256, at = e % 256 * 8, row = row0 + r;
        if (first + at < 256) {
          float x[8];
#pragma unroll
          for (int i = 0; i < 8; i++) {
            const int j = first + at + i;
            x[i] = x0[(size_t)row * 256 + j];
          }
          hfc_put(&inputs[r][HFC_PLACE(at)], hfc_float4{x[0], x[1], x[2], x[3]});
          hfc_put(&inputs[r][HFC_PLACE(at) + 4], hfc_float4{x[4], x[5], x[6], x[7]});
          sums[r][at / 8] = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
        }
      }
      hfc_barrier();

      const int stop = (first + 2048 < 256 ? first + 2048 : 256) / 32;
      {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            {
              float dot[1][2] = {}, whole[1] = {};
              {
                const int at = from + 0;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
              {
                const int at = from + 8;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
              {
                const int at = from + 16;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
              {
                const int at = from + 24;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
#pragma unroll
              for (int r = 0; r < 1; r++) {
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  sum[0][r][o] += dot[r][o];
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
    for (int e = hfc_thread(); e < rows * 8; e += 256) {
      const int r = e / 8, from = e % 8 / 2 * 1,
          o = e % 2;
      const int row = row0 + r, n = (hfc_block_x() - 0) * 8
          + e % 8;
      float y = joined[from][r][0][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y += joined[from + s][r][0][o];
      if (n < 128) {
        y1[(size_t)row * 128 + n] = y;
      }
    }

    return;
  }
  {
    const int n0 = ((hfc_block_x() - 16) * 4 + wave_n) * 2;
    float sum[1][1][2] = {};
    const uint8_t* weight_row0[2];
#pragma unroll
    for (int o = 0; o < 2; o++) {
      const size_t matrix = 0;
      const size_t index = matrix + (n0 + o < 128 ? n0 + o : 127);
      weight_row0[o] = (const uint8_t*)w4 + index * 1024;
    }

    for (int first = 0; first < 256; first += 2048) {
      hfc_barrier();  // the tile before is used up, the statistics are there
      for (int e = hfc_thread(); e < rows * 256; e += 256) {
        const int r = e / 256, at = e % 256 * 8, row = row0 + r;
        if (first + at < 256) {
          float x[8];
#pragma unroll
          for (int i = 0; i < 8; i++) {
            const int j = first + at + i;
            x[i] = x0[(size_t)row * 256 + j];
          }
          hfc_put(&inputs[r][HFC_PLACE(at)], hfc_float4{x[0], x[1], x[2], x[3]});
          hfc_put(&inputs[r][HFC_PLACE(at) + 4], hfc_float4{x[4], x[5], x[6], x[7]});
          sums[r][at / 8] = ((x[0] + x[1]) + (x[2] + x[3])) + ((x[4] + x[5]) + (x[6] + x[7]));
        }
      }
      hfc_barrier();

      const int stop = (first + 2048 < 256 ? first + 2048 : 256) / 32;
      {
#pragma unroll 1
        for (int k_iter = first / 32 + wave_k * WAVE + lane; k_iter < stop; k_iter += 1 * WAVE) {
          {
            const int c = lane % 1, from = k_iter / 1 * 32
                + (c * 32) - first;
            {
              float dot[1][2] = {}, whole[1] = {};
              {
                const int at = from + 0;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
              {
                const int at = from + 8;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
              {
                const int at = from + 16;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
              {
                const int at = from + 24;
                float q[2][8];
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  hfc_run_f32(weight_row0[o]
                      + (size_t)(at + first) * 4, q[o]);

                }
#pragma unroll
                for (int r = 0; r < 1; r++) {
                  if (true) {
                    const hfc_float4 a = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at)]);
                    const hfc_float4 b = hfc_get<hfc_float4>(&inputs[r][HFC_PLACE(at) + 4]);
                    whole[r] += sums[r][at / 8];
#pragma unroll
                    for (int o = 0; o < 2; o++) dot[r][o] = hfc_fma8(q[o], a, b, dot[r][o]);
                  }
                }
              }
#pragma unroll
              for (int r = 0; r < 1; r++) {
#pragma unroll
                for (int o = 0; o < 2; o++) {
                  sum[0][r][o] += dot[r][o];
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
    for (int e = hfc_thread(); e < rows * 8; e += 256) {
      const int r = e / 8, from = e % 8 / 2 * 1,
          o = e % 2;
      const int row = row0 + r, n = (hfc_block_x() - 16) * 8
          + e % 8;
      float y = joined[from][r][0][o];
#pragma unroll
      for (int s = 1; s < 1; s++) y += joined[from + s][r][0][o];
      if (n < 128) {
        y3[(size_t)row * 128 + n] = y;
      }
    }

  }
}

extern "C" __global__ __launch_bounds__(256)
void map_rope_kv_append(const int32_t* __restrict__ step, const float* x0, const float* __restrict__ c1, float* y2, const float* x3, uint8_t* s4_k, const float* x5, uint8_t* s6_v) {
  hfc_begin();
  const int row = hfc_block_y();
  if (row >= hfc_rows(step)) return;
  const int unit = hfc_block_x() * 4 + hfc_wave();
  const int first = hfc_lane();
  if (unit >= 0 && unit < 4) {
    const int g = (unit - 0) / 1;
    (void)g;
    const int from = (unit - 0) % 1 * 64;
    const int to = from + 64 < 64 ? from + 64 : 64;
    for (int j = from + first; j < to; j += 64) {
      y2[(size_t)row * 256 + g * 64 + j] = (j < 32 ? x0[(size_t)row * 256 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + 0] - x0[(size_t)row * 256 + g * 64 + j + 32] * c1[(size_t)step[68 + row] * 64 + j + 32] : x0[(size_t)row * 256 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + -32] + x0[(size_t)row * 256 + g * 64 + j - 32] * c1[(size_t)step[68 + row] * 64 + j + 0]);
    }
  }
  if (unit >= 4 && unit < 6) {
    const int g = (unit - 4) / 1;
    (void)g;
    const int from = (unit - 4) % 1 * 64;
    const int to = from + 64 < 64 ? from + 64 : 64;
    for (int j = from + first; j < to; j += 64) {
      hfc_kv_f16_put(s4_k + (((size_t)step[132 + row] * 2 + g) * 1024 + step[68 + row]) * 128, j, (j < 32 ? x3[(size_t)row * 128 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + 0] - x3[(size_t)row * 128 + g * 64 + j + 32] * c1[(size_t)step[68 + row] * 64 + j + 32] : x3[(size_t)row * 128 + g * 64 + j] * c1[(size_t)step[68 + row] * 64 + j + -32] + x3[(size_t)row * 128 + g * 64 + j - 32] * c1[(size_t)step[68 + row] * 64 + j + 0]));
    }
  }
  if (unit >= 6 && unit < 8) {
    const int g = (unit - 6) / 1;
    (void)g;
    const int from = (unit - 6) % 1 * 64;
    const int to = from + 64 < 64 ? from + 64 : 64;
    for (int j = from + first; j < to; j += 64) {
      hfc_kv_f16_put(s6_v + (((size_t)step[132 + row] * 2 + g) * 1024 + step[68 + row]) * 128, j, x5[(size_t)row * 128 + g * 64 + j]);
    }
  }
}

extern "C" __global__ __launch_bounds__(256)
void attend_f16_h4_kv2_d64_short(const int32_t* __restrict__ step, const float* x0, float* y1, const uint8_t* s2_k, const uint8_t* s3_v, float* __restrict__ attend_splits) {
  hfc_begin();
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  y1 = (float*)__builtin_assume_aligned(y1, 16);
  s2_k = (const uint8_t*)__builtin_assume_aligned(s2_k, 16);
  s3_v = (const uint8_t*)__builtin_assume_aligned(s3_v, 16);
  const int row = hfc_block_z(), split = hfc_block_y(), lane = hfc_lane(), wave = hfc_wave();
  if (row >= hfc_rows(step)) return;
  const int position = hfc_position(step, row);
  const int end = position;
  const int begin = 0,
      last = position;
  (void)end;
  if (split < hfc_split_of(begin) || split > hfc_split_of(last)) return;
  const int split_begin = hfc_split_begin(split), split_last = hfc_split_begin(split + 1) - 1;
  const int start = split_begin > begin ? split_begin : begin, stop = split_last < last ? split_last : last;
  const int kv_head = hfc_block_x() / 2, head0 = kv_head * 2
      + hfc_block_x() % 2 * 1;
  const int heads_here = (kv_head + 1) * 2 - head0 < 1 ? (kv_head + 1) * 2 - head0
      : 1;
  const size_t kv_row0 = ((size_t)hfc_slot(step, row) * 2 + kv_head) * 1024;
  const uint8_t* key_rows = (const uint8_t*)s2_k + kv_row0 * 128;
  const uint8_t* value_rows = (const uint8_t*)s3_v + kv_row0 * 128;
  const int part = lane / 8, inner = lane % 8;

  float query[1][8], sum[1][8] = {};
#pragma unroll
  for (int h = 0; h < 1; h++) {
    const int g = head0 + (h < heads_here ? h : 0);
    (void)g;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = inner * 8 + i;
      query[h][i] = (float)(x0[(size_t)row * 256 + g * 64 + j]) * 0.18033688011112042f;
    }
  }

  // A lane keeps the scores of 1 pairs of head and position, and best and total of
  // 1 heads.
  float best[1], total[1] = {};
#pragma unroll
  for (int h = 0; h < 1; h++) best[h] = -1e30f;
  const int mine = inner * 4 / 8;
  // this iteration's and the next one's
  uint32_t key_raw[2][2][4], value_raw[2][2][4];
  int at = split_begin + wave * 16;
  while (at + 16 <= start) at += 64;
  if (at <= stop) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int p = at + part * 2 + e / 1, j = inner * 8 + e % 1 * 8;
        p = p < start ? start : p > stop ? stop : p;
        
        hfc_kv_f16_fetch(key_rows + (uint32_t)p * 128, j,
            key_raw[0][e]);
        hfc_kv_f16_fetch(value_rows + (uint32_t)p * 128, j,
            value_raw[0][e]);
      }
    }
  for (; at <= stop; at += 64) {
    const int next = at + 64, first = at + part * 2;
    if (next <= stop) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int p = next + part * 2 + e / 1, j = inner * 8 + e % 1 * 8;
        p = p < start ? start : p > stop ? stop : p;
        
        hfc_kv_f16_fetch(key_rows + (uint32_t)p * 128, j,
            key_raw[1][e]);
        hfc_kv_f16_fetch(value_rows + (uint32_t)p * 128, j,
            value_raw[1][e]);
      }
    }
    float key[2][8], value[2][8];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int j = inner * 8 + e % 1 * 8;
      float* eight = &key[e / 1][e % 1 * 8];
      hfc_kv_f16_expand(key_raw[0][e], j, eight);
      hfc_kv_f16_expand(value_raw[0][e], j, &value[e / 1][e % 1 * 8]);
    }
    float score[4] = {};
#pragma unroll
    for (int h = 0; h < 1; h++) {
#pragma unroll
      for (int a = 0; a < 2; a++) {
#pragma unroll
        for (int i = 0; i < 8; i++) score[h * 2 + a] += query[h][i] * key[a][i];
      }
    }
    hfc_scatter_sums<4, 8>(score);
    float keep[1];
#pragma unroll
    for (int h = 0; h < 1; h++) {
      float high = -HFC_INFINITY;
#pragma unroll
      for (int r = 0; r < 1; r++) {
        float& x = score[h * 1 + r];
        const int p = first + (mine + r) % 2;
        if (p < start || p > stop) x = -HFC_INFINITY;
        high = hfc_larger(x, high);
      }
      high = hfc_larger(hfc_max_between<2, 2>(high), best[h]);
      keep[h] = hfc_exp2(best[h] - high);
      best[h] = high;
      total[h] *= keep[h];
#pragma unroll
      for (int r = 0; r < 1; r++) {
        float& x = score[h * 1 + r];
        x = hfc_exp2(x - high);
        total[h] += x;
      }
    }
    {
      const float before = hfc_spread<8,
          0>(keep[0]);
      const float weight0 = hfc_spread<8,
          0>(score[0]);
      const float weight1 = hfc_spread<8,
          2>(score[0]);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        sum[0][i] *= before;
        sum[0][i] += weight0 * value[0][i];
        sum[0][i] += weight1 * value[1][i];
      }
    }

#pragma unroll
    for (int e = 0; e < 2; e++) {
#pragma unroll
      for (int w = 0; w < 4; w++) key_raw[0][e][w] = key_raw[1][e][w];
#pragma unroll
      for (int w = 0; w < 4; w++) value_raw[0][e][w] = value_raw[1][e][w];
    }
  }

  __shared__ float all_sum[1][32][64], all_best[32][2],
      all_total[32][2];
  const int source = wave * 8 + part;
#pragma unroll
  for (int h = 0; h < 1; h++) {
    const float whole = hfc_sum_between<2, 2>(total[h]);
    if (mine % 2 == 0 && inner % 2 == 0) {
      all_best[source][mine / 2 + h] = best[h], all_total[source][mine / 2 + h] = whole;
    }
  }
#pragma unroll
  for (int h = 0; h < 1; h++) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = inner * 8 + i;
      all_sum[h][source][j] = sum[h][i];
    }
  }
  hfc_lds_barrier();
  const bool alone = hfc_split_of(begin) == hfc_split_of(last);
  for (int e = hfc_thread(); e < heads_here * 64; e += 256) {
    const int h = e / 64, j = e % 64, g = head0 + h;
    float high = all_best[0][h], whole = 0.0f, y = 0.0f;
#pragma unroll 1
    for (int s = 1; s < 32; s++) high = hfc_larger(all_best[s][h], high);
#pragma unroll 4
    for (int s = 0; s < 32; s++) {
      const float weight = hfc_exp2(all_best[s][h] - high);
      whole += all_total[s][h] * weight;
      y += all_sum[h][s][j] * weight;
    }
    if (alone) {
      y /= whole;
      y1[(size_t)row * 256 + g * 64 + j] = y;
    } else {
      float* out = attend_splits + (((size_t)row * 4 + g) * 2 + split) * 68;
      out[j] = y;
      if (j == 0) out[64] = high, out[65] = whole;
    }
  }
}

extern "C" __global__ __launch_bounds__(256)
void attend_f16_h4_kv2_d64_split(const int32_t* __restrict__ step, const float* x0, float* y1, const uint8_t* s2_k, const uint8_t* s3_v, float* __restrict__ attend_splits) {
  hfc_begin();
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  y1 = (float*)__builtin_assume_aligned(y1, 16);
  s2_k = (const uint8_t*)__builtin_assume_aligned(s2_k, 16);
  s3_v = (const uint8_t*)__builtin_assume_aligned(s3_v, 16);
  const int row = hfc_block_z(), split = hfc_block_y(), lane = hfc_lane(), wave = hfc_wave();
  if (row >= hfc_rows(step)) return;
  const int position = hfc_position(step, row);
  const int end = position;
  const int begin = 0,
      last = position;
  (void)end;
  if (split < hfc_split_of(begin) || split > hfc_split_of(last)) return;
  const int split_begin = hfc_split_begin(split), split_last = hfc_split_begin(split + 1) - 1;
  const int start = split_begin > begin ? split_begin : begin, stop = split_last < last ? split_last : last;
  const int kv_head = hfc_block_x() / 1, head0 = kv_head * 2
      + hfc_block_x() % 1 * 2;
  const int heads_here = (kv_head + 1) * 2 - head0 < 2 ? (kv_head + 1) * 2 - head0
      : 2;
  const size_t kv_row0 = ((size_t)hfc_slot(step, row) * 2 + kv_head) * 1024;
  const uint8_t* key_rows = (const uint8_t*)s2_k + kv_row0 * 128;
  const uint8_t* value_rows = (const uint8_t*)s3_v + kv_row0 * 128;
  const int part = lane / 8, inner = lane % 8;

  float query[2][8], sum[2][8] = {};
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const int g = head0 + (h < heads_here ? h : 0);
    (void)g;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = inner * 8 + i;
      query[h][i] = (float)(x0[(size_t)row * 256 + g * 64 + j]) * 0.18033688011112042f;
    }
  }

  // A lane keeps the scores of 1 pairs of head and position, and best and total of
  // 1 heads.
  float best[1], total[1] = {};
#pragma unroll
  for (int h = 0; h < 1; h++) best[h] = -1e30f;
  const int mine = inner * 4 / 8;
  // this iteration's and the next one's
  uint32_t key_raw[2][2][4], value_raw[2][2][4];
  int at = split_begin + wave * 16;
  while (at + 16 <= start) at += 64;
  if (at <= stop) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int p = at + part * 2 + e / 1, j = inner * 8 + e % 1 * 8;
        p = p < start ? start : p > stop ? stop : p;
        
        hfc_kv_f16_fetch(key_rows + (uint32_t)p * 128, j,
            key_raw[0][e]);
        hfc_kv_f16_fetch(value_rows + (uint32_t)p * 128, j,
            value_raw[0][e]);
      }
    }
  for (; at <= stop; at += 64) {
    const int next = at + 64, first = at + part * 2;
    if (next <= stop) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        int p = next + part * 2 + e / 1, j = inner * 8 + e % 1 * 8;
        p = p < start ? start : p > stop ? stop : p;
        
        hfc_kv_f16_fetch(key_rows + (uint32_t)p * 128, j,
            key_raw[1][e]);
        hfc_kv_f16_fetch(value_rows + (uint32_t)p * 128, j,
            value_raw[1][e]);
      }
    }
    float key[2][8], value[2][8];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const int j = inner * 8 + e % 1 * 8;
      float* eight = &key[e / 1][e % 1 * 8];
      hfc_kv_f16_expand(key_raw[0][e], j, eight);
      hfc_kv_f16_expand(value_raw[0][e], j, &value[e / 1][e % 1 * 8]);
    }
    float score[4] = {};
#pragma unroll
    for (int h = 0; h < 2; h++) {
#pragma unroll
      for (int a = 0; a < 2; a++) {
#pragma unroll
        for (int i = 0; i < 8; i++) score[h * 2 + a] += query[h][i] * key[a][i];
      }
    }
    hfc_scatter_sums<4, 8>(score);
    float keep[1];
#pragma unroll
    for (int h = 0; h < 1; h++) {
      float high = -HFC_INFINITY;
#pragma unroll
      for (int r = 0; r < 1; r++) {
        float& x = score[h * 1 + r];
        const int p = first + (mine + r) % 2;
        if (p < start || p > stop) x = -HFC_INFINITY;
        high = hfc_larger(x, high);
      }
      high = hfc_larger(hfc_max_between<2, 2>(high), best[h]);
      keep[h] = hfc_exp2(best[h] - high);
      best[h] = high;
      total[h] *= keep[h];
#pragma unroll
      for (int r = 0; r < 1; r++) {
        float& x = score[h * 1 + r];
        x = hfc_exp2(x - high);
        total[h] += x;
      }
    }
    {
      const float before = hfc_spread<8,
          0>(keep[0]);
      const float weight0 = hfc_spread<8,
          0>(score[0]);
      const float weight1 = hfc_spread<8,
          2>(score[0]);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        sum[0][i] *= before;
        sum[0][i] += weight0 * value[0][i];
        sum[0][i] += weight1 * value[1][i];
      }
    }
    {
      const float before = hfc_spread<8,
          4>(keep[0]);
      const float weight0 = hfc_spread<8,
          4>(score[0]);
      const float weight1 = hfc_spread<8,
          6>(score[0]);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        sum[1][i] *= before;
        sum[1][i] += weight0 * value[0][i];
        sum[1][i] += weight1 * value[1][i];
      }
    }

#pragma unroll
    for (int e = 0; e < 2; e++) {
#pragma unroll
      for (int w = 0; w < 4; w++) key_raw[0][e][w] = key_raw[1][e][w];
#pragma unroll
      for (int w = 0; w < 4; w++) value_raw[0][e][w] = value_raw[1][e][w];
    }
  }

  __shared__ float all_sum[2][32][64], all_best[32][2],
      all_total[32][2];
  const int source = wave * 8 + part;
#pragma unroll
  for (int h = 0; h < 1; h++) {
    const float whole = hfc_sum_between<2, 2>(total[h]);
    if (mine % 2 == 0 && inner % 2 == 0) {
      all_best[source][mine / 2 + h] = best[h], all_total[source][mine / 2 + h] = whole;
    }
  }
#pragma unroll
  for (int h = 0; h < 2; h++) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int j = inner * 8 + i;
      all_sum[h][source][j] = sum[h][i];
    }
  }
  hfc_lds_barrier();
  const bool alone = hfc_split_of(begin) == hfc_split_of(last);
  for (int e = hfc_thread(); e < heads_here * 64; e += 256) {
    const int h = e / 64, j = e % 64, g = head0 + h;
    float high = all_best[0][h], whole = 0.0f, y = 0.0f;
#pragma unroll 1
    for (int s = 1; s < 32; s++) high = hfc_larger(all_best[s][h], high);
#pragma unroll 4
    for (int s = 0; s < 32; s++) {
      const float weight = hfc_exp2(all_best[s][h] - high);
      whole += all_total[s][h] * weight;
      y += all_sum[h][s][j] * weight;
    }
    if (alone) {
      y /= whole;
      y1[(size_t)row * 256 + g * 64 + j] = y;
    } else {
      float* out = attend_splits + (((size_t)row * 4 + g) * 2 + split) * 68;
      out[j] = y;
      if (j == 0) out[64] = high, out[65] = whole;
    }
  }
}

extern "C" __global__ __launch_bounds__(512)
void attend_f16_h4_kv2_d64_join(const int32_t* __restrict__ step, const float* x0, float* y1, const uint8_t* s2_k, const uint8_t* s3_v, const float* __restrict__ attend_splits) {
  hfc_begin();
  const int row = hfc_block_y(), g = hfc_block_x() / 1;
  const int first = hfc_block_x() % 1 * 64;
  if (row >= hfc_rows(step)) return;
  const int position = hfc_position(step, row);
  const int end = position;
  const int begin = 0,
      last = position;
  (void)end;
  const int split0 = hfc_split_of(begin), count = hfc_split_of(last) + 1 - split0;
  if (count == 1) return;
  const float* from = attend_splits + (((size_t)row * 4 + g) * 2 + split0) * 68;

  __shared__ float weights[2], sums[8][64];
  float high = -HFC_INFINITY;
  for (int s = hfc_thread(); s < count; s += 512)
    high = hfc_larger(from[(size_t)s * 68 + 64], high);
  high = hfc_block_max<8>(high);
  // Splits are counted from the first position of the context: thread and group of a split are the same whatever the
  // window.
  float whole = 0.0f;
  const int ahead = split0 % 512;
  for (int s = hfc_thread() - ahead; s < count; s += 512) {
    if (s < 0) continue;
    const float weight = hfc_exp2(from[(size_t)s * 68 + 64] - high);
    weights[s] = weight;
    whole += weight * from[(size_t)s * 68 + 65];
  }
  whole = hfc_block_sum<8>(whole);
  const int group = hfc_thread() / 64,
      first_split = (group + 8 - split0 % 8) % 8;
  for (int j = hfc_thread() % 64; j < 64; j += 64) {
    float y = 0.0f;
#pragma unroll 8
    for (int s = first_split; s < count; s += 8)
      y += from[(size_t)s * 68 + first + j] * weights[s];
    sums[group][j] = y;
  }
  hfc_barrier();
  for (int e = hfc_thread(); e < 64; e += 512) {
    const int j = first + e;
    float y = sums[0][e];
#pragma unroll
    for (int p = 1; p < 8; p++) y += sums[p][e];
    y /= whole;
    y1[(size_t)row * 256 + g * 64 + j] = y;
  }
}

extern "C" __global__ __launch_bounds__(256)
void map(const int32_t* __restrict__ step, const float* x0, float* y1) {
  hfc_begin();
  const int row = hfc_block_y();
  if (row >= hfc_outputs(step)) return;
  const int unit = hfc_block_x() * 4 + hfc_wave();
  const int first = hfc_lane();
  if (unit >= 0 && unit < 4) {
    const int g = (unit - 0) / 1;
    (void)g;
    const int from = (unit - 0) % 1 * 64;
    const int to = from + 64 < 64 ? from + 64 : 64;
    for (int j = from + first; j < to; j += 64) {
      y1[(size_t)row * 256 + g * 64 + j] = hfc_sigmoid(x0[(size_t)(step[196 + row]) * 256 + g * 64 + j]);
    }
  }
}

extern "C" __global__ __launch_bounds__(256)
void linear_f32_k256_n256_tiled(const int32_t* __restrict__ step, const float* x0, float* y1, const float* __restrict__ w2, float* y3, const float* __restrict__ w4) {
  hfc_begin();
  __shared__ float inputs[32][65], weights[1][32][65];
  const int tx = hfc_thread() % 16, ty = hfc_thread() / 16;
  const int rows = hfc_rows(step);
  const int row0 = hfc_block_y() * 64, count = rows - row0 < 64 ? rows - row0 : 64;
  if (count <= 0) return;

  if (hfc_block_x() < 2) {
    const int n0 = (hfc_block_x() - 0) * 64;
    float sum[1][4][4] = {};
#pragma unroll 1
    for (int start = 0; start < 256; start += 32) {
      for (int e = hfc_thread() * 8; e < 2048; e += 2048) {
        const int tile_row = e / 32, known = tile_row < count ? tile_row : count - 1,
            row = (row0 + known);
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = start + e % 32 + i;
          inputs[e % 32 + i][tile_row] = x0[(size_t)row * 256 + j];
        }
      }
      for (int e = hfc_thread() * 8; e < 2048; e += 2048) {
        const int tile_output = e / 32, n = n0 + tile_output < 128 ? n0 + tile_output : 127;
        const size_t weight_index = n;
        const uint8_t* at = (const uint8_t*)w2 + weight_index * 1024;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = start + e % 32 + i;
          const float w = hfc_f32_at(at + (j) / 1 * 4, (j) % 1);
          weights[0][e % 32 + i][tile_output] = w;
        }
      }
      hfc_barrier();
#pragma unroll 4
      for (int d = 0; d < 32; d++) {
        float x[4];
#pragma unroll
        for (int a = 0; a < 4; a++) x[a] = inputs[d][ty + 16 * a];
#pragma unroll
        for (int p = 0; p < 1; p++) {
#pragma unroll
          for (int b = 0; b < 4; b++) {
            const float w = weights[p][d][tx + 16 * b];
#pragma unroll
            for (int a = 0; a < 4; a++) sum[p][a][b] += x[a] * w;
          }
        }
      }
      hfc_barrier();
    }
#pragma unroll
    for (int a = 0; a < 4; a++) {
#pragma unroll
      for (int b = 0; b < 4; b++) {
        const int tile_row = ty + 16 * a, n = n0 + tx + 16 * b;
        const float y = sum[0][a][b];
        if (tile_row < count && n < 128) {
          const int row = (row0 + tile_row);
          y1[(size_t)row * 128 + n] = y;
        }
      }
    }
    return;
  }
  {
    const int n0 = (hfc_block_x() - 2) * 64;
    float sum[1][4][4] = {};
#pragma unroll 1
    for (int start = 0; start < 256; start += 32) {
      for (int e = hfc_thread() * 8; e < 2048; e += 2048) {
        const int tile_row = e / 32, known = tile_row < count ? tile_row : count - 1,
            row = (row0 + known);
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = start + e % 32 + i;
          inputs[e % 32 + i][tile_row] = x0[(size_t)row * 256 + j];
        }
      }
      for (int e = hfc_thread() * 8; e < 2048; e += 2048) {
        const int tile_output = e / 32, n = n0 + tile_output < 128 ? n0 + tile_output : 127;
        const size_t weight_index = n;
        const uint8_t* at = (const uint8_t*)w4 + weight_index * 1024;
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const int j = start + e % 32 + i;
          const float w = hfc_f32_at(at + (j) / 1 * 4, (j) % 1);
          weights[0][e % 32 + i][tile_output] = w;
        }
      }
      hfc_barrier();
#pragma unroll 4
      for (int d = 0; d < 32; d++) {
        float x[4];
#pragma unroll
        for (int a = 0; a < 4; a++) x[a] = inputs[d][ty + 16 * a];
#pragma unroll
        for (int p = 0; p < 1; p++) {
#pragma unroll
          for (int b = 0; b < 4; b++) {
            const float w = weights[p][d][tx + 16 * b];
#pragma unroll
            for (int a = 0; a < 4; a++) sum[p][a][b] += x[a] * w;
          }
        }
      }
      hfc_barrier();
    }
#pragma unroll
    for (int a = 0; a < 4; a++) {
#pragma unroll
      for (int b = 0; b < 4; b++) {
        const int tile_row = ty + 16 * a, n = n0 + tx + 16 * b;
        const float y = sum[0][a][b];
        if (tile_row < count && n < 128) {
          const int row = (row0 + tile_row);
          y3[(size_t)row * 128 + n] = y;
        }
      }
    }
  }
}

extern "C" __global__ __launch_bounds__(256)
void attend_f16_h4_kv2_d64_vector(const int32_t* __restrict__ step, const float* x0, float* y1, const uint8_t* s2_k, const uint8_t* s3_v) {
  hfc_begin();
  x0 = (const float*)__builtin_assume_aligned(x0, 16);
  y1 = (float*)__builtin_assume_aligned(y1, 16);
  s2_k = (const uint8_t*)__builtin_assume_aligned(s2_k, 16);
  s3_v = (const uint8_t*)__builtin_assume_aligned(s3_v, 16);
  __shared__ __attribute__((aligned(16))) _Float16 keys[4096], values[4096];
  const int query_row = hfc_thread() / 4, inner = hfc_thread() % 4;



  const int kv_head = hfc_block_y();
  int segment = 0, left = hfc_block_x(), tiles = 0;
  for (;; segment++) {  // blocks never mix segments
    if (segment >= hfc_segments(step)) return;
    tiles = (hfc_segment_rows(step, segment) + 31) / 32;
    if (left < tiles) break;
    left -= tiles;
  }
  const int skipped = (tiles - 1 - left) * 32;  // late rows see more keys: they start first
  const int row0 = hfc_segment_row(step, segment) + skipped, position0 = hfc_segment_position(step, segment) + skipped;
  const int rest = hfc_segment_rows(step, segment) - skipped, rows = rest < 32 ? rest : 32;
  const int end = position0 + rest - 1, newest = position0 + rows - 1;
  (void)end;
  const int lowest = 0, highest = newest;
  const size_t kv_row0 = ((size_t)hfc_segment_slot(step, segment) * 2 + kv_head) * 1024;
  const int head = query_row % 2;
  const bool active = query_row < rows * 2;
  const int row = row0 + (active ? query_row / 2 : 0), g = kv_head * 2 + (active ? head : 0),
      position = position0 + row - row0;
  const int from = 0, to = position;

  float query[16], sum[16] = {};
#pragma unroll
  for (int i = 0; i < 16; i++) {
    const int j = (i / 8 * 4 + inner) * 8 + i % 8;
    query[i] = (x0[(size_t)row * 256 + g * 64 + j]) * 0.18033688011112042f;
  }
  float best = -1e30f, total = 0.0f;
  for (int at = lowest / 64 * 64; at <= highest; at += 64) {
    hfc_barrier();
#pragma unroll
    for (int u = 0; u < 2; u++) {
      if (u % 2 == 0) hfc_in_order();
      const int e = hfc_thread() + u * 256, run = e % 8,
          j = run * 8;
      int p = at + e / 8;
      p = p < lowest ? lowest : p > highest ? highest : p;
      uint32_t keys_raw[4];
      float keys_run[8];
      hfc_kv_f16_fetch((const uint8_t*)s2_k + (kv_row0 + p) * 128, j,
          keys_raw);
      hfc_kv_f16_expand(keys_raw, j, keys_run);
      uint32_t values_raw[4];
      float values_run[8];
      hfc_kv_f16_fetch((const uint8_t*)s3_v + (kv_row0 + p) * 128, j,
          values_raw);
      hfc_kv_f16_expand(values_raw, j, values_run);
      {
        hfc_put(&keys[e * 8], hfc_uint4{
          hfc_pair(keys_run[0], keys_run[1]),
          hfc_pair(keys_run[2], keys_run[3]),
          hfc_pair(keys_run[4], keys_run[5]),
          hfc_pair(keys_run[6], keys_run[7]),
        });
        hfc_put(&values[e * 8], hfc_uint4{
          hfc_pair(values_run[0], values_run[1]),
          hfc_pair(values_run[2], values_run[3]),
          hfc_pair(values_run[4], values_run[5]),
          hfc_pair(values_run[6], values_run[7]),
        });
      }
    }
    hfc_barrier();
    for (int k0 = 0; k0 < 64; k0 += 4) {
      if (at + k0 > highest) break;
      float score[4] = {}, high = best;
#pragma unroll
      for (int a = 0; a < 4; a++) {
        hfc_in_order();
#pragma unroll
        for (int i = 0; i < 16; i++)
          score[a] += query[i] * (float)keys[(k0 + a) * 64 + (i / 8 * 4 + inner) * 8 + i % 8];
        score[a] = hfc_sum_lanes<4>(score[a]);
        if (at + k0 + a < from || at + k0 + a > to) score[a] = -HFC_INFINITY;
        high = hfc_larger(score[a], high);
      }
      const float keep = hfc_exp2(best - high);
      best = high;
      total *= keep;
#pragma unroll
      for (int i = 0; i < 16; i++) sum[i] *= keep;
#pragma unroll
      for (int a = 0; a < 4; a++) {
        const float weight = hfc_exp2(score[a] - high);
        total += weight;
        hfc_in_order();
#pragma unroll
        for (int i = 0; i < 16; i++)
          sum[i] += weight * (float)values[(k0 + a) * 64 + (i / 8 * 4 + inner) * 8 + i % 8];
      }
    }
  }
  if (!active) return;
#pragma unroll
  for (int i = 0; i < 16; i++) {
    const int j = (i / 8 * 4 + inner) * 8 + i % 8;
    const float y = sum[i] / total;
    { y1[(size_t)row * 256 + g * 64 + j] = y; }
  }
}
