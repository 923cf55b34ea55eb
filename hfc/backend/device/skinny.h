// The K loop of skinny products (skeletons/linear/skinny): 16 outputs of a wave times up to 16 rows, weights straight from memory.
// W: how a lane takes weights of one format, see operand_source in backend/lanes/operands.py. S: sizes of the region and its cut:
//   K, ITER_ELEMENTS: of K, of one iteration of a wave.  SPLIT: waves that share K.  AHEAD: the next iteration's weights are read before
//   this one's work; LATE: as soon as their registers are free.  UNIT_SPAN: inputs that share a unit.  SUM_GROUP: inputs that are added up
//   for minimums.  ROWS: places for rows in staged inputs.  COLUMN_TILES: MMAs that a wave issues for an operand of weights.  LANE_COLUMNS:
//   accumulators of a lane and product that count.  INT8: products are those of device/int8_operands.h, of inputs in PLANES of bytes.  ZEROS: where zeros lie behind
//   the inputs of one row.
#if defined(HFC_MMA_F16) || defined(HFC_WMMA_F16) || defined(HFC_MFMA_F16)
template <class W> using hfc_raw_weights = uint32_t[HFC_LANE_OUTPUTS][W::PIECES][W::WORDS];
template <class S> using hfc_accumulators = float[S::COLUMN_TILES][HFC_LANE_OUTPUTS][S::LANE_COLUMNS];

// Scale groups that a lane makes at a time where they are shared out among the lanes of a weight row, see device/int8_row.h; the sums of
// each of hfc_parts lanes are added up on their own in the kernels of several rows too. 0: no format of such groups, all are added up
// one after the other.
template <class W, class S> constexpr int hfc_groups_each = !S::INT8 || W::GROUPS % 4 ? 0 : W::GROUPS % 8 ? 1 : 2;
template <class W, class S> constexpr int hfc_parts = hfc_groups_each<W, S> ? 4 : 1;
template <class W, class S> constexpr int hfc_part_of_group(int group) {
  if constexpr (hfc_groups_each<W, S> == 0) return 0;
  else return group / hfc_groups_each<W, S> % 4;
}

// Pieces that reach behind K are left out: the lanes agree on that.
template <class W, class S> HFC_FUNCTION bool hfc_has_piece(int k_iter, int piece) {
  if constexpr (S::K % S::ITER_ELEMENTS == 0) return true;
  return (k_iter * W::PIECES + piece) * W::PIECE_ELEMENTS < S::K;
}

template <class W, class S>
HFC_FUNCTION void hfc_load_weight_row(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], int k_iter, int piece, int l, hfc_raw_weights<W>& raw) {
  if (hfc_has_piece<W, S>(k_iter, piece)) W::read(weight_row[l], (k_iter * W::PIECES + piece) * HFC_K_LANES + hfc_k_lane(), raw[l][piece]);
}
// The next iteration's, while this one is multiplied. Behind the last one nothing; where a load is many, of unaligned words, the last one's
// again, because a branch would part the loads of one weight row from those of the next.
template <class W, class S>
HFC_FUNCTION void hfc_load_late(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], int k_iter, int next, int piece, int l,
                                hfc_raw_weights<W>& raw) {
  const bool more = next * S::ITER_ELEMENTS < S::K;
  if constexpr (W::UNALIGNED) hfc_load_weight_row<W, S>(weight_row, more ? next : k_iter, piece, l, raw);
  else if (more) hfc_load_weight_row<W, S>(weight_row, next, piece, l, raw);
}
template <class W, class S>
HFC_FUNCTION void hfc_load_weights(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], int k_iter, hfc_raw_weights<W>& raw) {
#pragma unroll
  for (int piece = 0; piece < W::PIECES; piece++) {
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) hfc_load_weight_row<W, S>(weight_row, k_iter, piece, l, raw);
  }
}

// Weights of one product: codes become f16, exactly; where minimums are added, an offset stays in and is taken off the sum.
template <class W> HFC_FUNCTION void hfc_unpack_weights(const uint32_t (&codes)[W::BATCH_WORDS], int from, hfc_lane_operand& weights) {
#pragma unroll
  for (int w = 0; w < W::PRODUCT_WORDS; w++) {
    const uint32_t code = codes[from + w];
    if constexpr (!W::CODED) weights.word[w] = code;
    else if constexpr (W::HAS_LOW) hfc_halves<W::BITS>(code, weights.word[2 * w], weights.word[2 * w + 1]);
    else hfc_numbers<W::BITS>(code, W::ZERO, weights.word[2 * w], weights.word[2 * w + 1]);
  }
}

// The products of one scale group: rest of the inputs first, then their high parts.
template <class W, class S, int BATCH>
HFC_FUNCTION void hfc_mma_group(const uint32_t (&codes)[HFC_LANE_OUTPUTS][W::BATCH_WORDS], int group, const hfc_uint4* inputs, int begin,
                                const int (&column)[S::COLUMN_TILES], hfc_lane_acc (&dot)[S::COLUMN_TILES]) {
  constexpr int batch_products = W::BATCH_WORDS / W::PRODUCT_WORDS, first = BATCH * batch_products;
#pragma unroll
  for (int p = first; p < first + batch_products; p++) {
    if (p >= W::PRODUCTS || W::group_of(p) != group) continue;
    hfc_lane_operand weights[HFC_LANE_OUTPUTS], high[S::COLUMN_TILES], rest[S::COLUMN_TILES];
#pragma unroll
    for (int h = 0; h < S::COLUMN_TILES; h++) {
      hfc_inputs(inputs + (begin / 16 + W::place_of(p)) * (4 * S::ROWS), S::ROWS, column[h], high[h], rest[h]);
    }
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) hfc_unpack_weights<W>(codes[l], (p - first) * W::PRODUCT_WORDS, weights[l]);
#pragma unroll
    for (int h = 0; h < S::COLUMN_TILES; h++) hfc_multiply_from_registers(dot[h], weights, rest[h]);
#pragma unroll
    for (int h = 0; h < S::COLUMN_TILES; h++) hfc_multiply_from_registers(dot[h], weights, high[h]);
  }
}

// A group's scale acts on the sum of its products; its minimum on the sum of the inputs.
template <class W, class S>
HFC_FUNCTION void hfc_scale_group(const hfc_lane_acc (&dot)[S::COLUMN_TILES], int group, int l, float scale, float low, const float* sums,
                                  int begin, hfc_accumulators<S>& here) {
  float add = 0.0f;
  constexpr float offset = S::INT8 ? 0.0f : hfc_halves_offset<W::BITS>;
  if constexpr (W::HAS_LOW) add = __builtin_fmaf(scale, (float)W::ZERO - offset, low);
#pragma unroll
  for (int h = 0; h < S::COLUMN_TILES; h++) {
#pragma unroll
    for (int v = 0; v < S::LANE_COLUMNS; v++) {
      if constexpr (!W::CODED) {
        here[h][l][v] += dot[h].sum[l][v];
        continue;
      }
      float sum = __builtin_fmaf(scale, dot[h].sum[l][v], here[h][l][v]);
      if constexpr (W::HAS_LOW) {
        const int row = h * HFC_COLUMNS + (S::ROWS > 1 ? hfc_lane_column() : 0) + v;
#pragma unroll
        for (int i = 0; i < W::CHUNKS; i++) {
          sum = __builtin_fmaf(add, sums[(begin + W::chunk_of(group * W::CHUNKS + i)) / S::SUM_GROUP * S::ROWS + row], sum);
        }
      }
      here[h][l][v] = sum;
    }
  }
}

// Scales and codes of up to BATCH_GROUPS groups at a time, then their products. With the last of them `raw` is free for iteration `next`.
template <class W, class S, int BATCH = 0>
HFC_FUNCTION void hfc_mma_piece(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], hfc_raw_weights<W>& raw, int k_iter, int next, int piece,
                                const hfc_uint4* inputs, const float* sums, int begin, const int (&column)[S::COLUMN_TILES],
                                hfc_accumulators<S> (&here)[hfc_parts<W, S>]) {
  const uint32_t call = (k_iter * W::PIECES + piece) * HFC_K_LANES + hfc_k_lane();
  uint32_t codes[HFC_LANE_OUTPUTS][W::BATCH_WORDS];
  float scale[HFC_LANE_OUTPUTS][W::BATCH_GROUPS], low[HFC_LANE_OUTPUTS][W::BATCH_GROUPS] = {};
#pragma unroll
  for (int l = 0; l < HFC_LANE_OUTPUTS; l++) W::template cut<BATCH>(raw[l][piece], call, codes[l], scale[l], low[l]);
#pragma unroll
  for (int g = 0; g < W::BATCH_GROUPS; g++) {
    const int group = BATCH * W::BATCH_GROUPS + g;
    if (group >= W::GROUPS) continue;
    if constexpr (S::LATE && BATCH + 1 == W::BATCHES) {
#pragma unroll
      for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
        const bool at = g == (2 * l + 1) * W::BATCH_GROUPS / (2 * HFC_LANE_OUTPUTS);
        if (at) hfc_load_late<W, S>(weight_row, k_iter, next, piece, l, raw);
      }
    }
    hfc_lane_acc dot[S::COLUMN_TILES] = {};
#if defined(HFC_MMA_I8)
    if constexpr (S::INT8) hfc_int8_group<W, S, BATCH>(codes, group, inputs, begin, column, dot);
#endif
    if constexpr (!S::INT8) hfc_mma_group<W, S, BATCH>(codes, group, inputs, begin, column, dot);
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
      hfc_scale_group<W, S>(dot, group, l, scale[l][g], low[l][g], sums, begin, here[hfc_part_of_group<W, S>(group)]);
    }
  }
  if constexpr (BATCH + 1 < W::BATCHES)
    hfc_mma_piece<W, S, BATCH + 1>(weight_row, raw, k_iter, next, piece, inputs, sums, begin, column, here);
}

#if defined(HFC_MMA_I8)
template <class W, class S, int BATCH = 0>
HFC_FUNCTION void hfc_int8_row(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], hfc_raw_weights<W>& raw, int k_iter, int next, int piece,
                               const hfc_uint4* inputs, const float* sums, int begin, hfc_int_acc high, hfc_int_acc low,
                               hfc_accumulators<S>& here);
#endif

// One iteration of the K loop: issues COLUMN_TILES MMAs an operand, keeps only accumulators whose row can exist. column: the row of this
// lane's operand.  weight_row: of weights that are read late, see load_late.
template <class W, class S>
HFC_FUNCTION void hfc_k_iteration(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], hfc_raw_weights<W>& raw, int k_iter,
                                  const hfc_uint4* inputs, const float* sums, const float* units, int first,
                                  const int (&column)[S::COLUMN_TILES], hfc_accumulators<S>& sum) {
  const int own_row = S::ROWS > 1 ? hfc_lane_column() : 0;
  hfc_accumulators<S> here[hfc_parts<W, S>] = {};
#pragma unroll
  for (int piece = 0; piece < W::PIECES; piece++) {
    if (!hfc_has_piece<W, S>(k_iter, piece)) continue;
    const int place = k_iter * W::PIECES + piece;
    const uint32_t c = (uint32_t)(place * HFC_K_LANES) % W::CALLS_OF_SPAN;
    const int begin = place * W::PIECE_ELEMENTS / W::SPAN * W::SPAN + W::base(c) - first;
#if defined(HFC_MMA_I8)
    if constexpr (S::ROWS == 1 && hfc_groups_each<W, S> > 0) {
      hfc_int_acc high = {}, low = {};
      hfc_int8_row<W, S>(weight_row, raw, k_iter, k_iter + S::SPLIT, piece, inputs, sums, begin, high, low, here[0]);
      continue;
    }
#endif
    hfc_mma_piece<W, S>(weight_row, raw, k_iter, k_iter + S::SPLIT, piece, inputs, sums, begin, column, here);
  }
  const float* unit = units + (k_iter * S::ITER_ELEMENTS - first) / S::UNIT_SPAN * S::ROWS;
#pragma unroll
  for (int h = 0; h < S::COLUMN_TILES; h++) {
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
#pragma unroll
      for (int v = 0; v < S::LANE_COLUMNS; v++) {
        float total = here[0][h][l][v];
        if constexpr (hfc_parts<W, S> > 1) {  // in the order in which lanes add
          if constexpr (S::ROWS == 1) total = hfc_sum_lanes<4>(total);
          else total = (total + here[1][h][l][v]) + (here[2][h][l][v] + here[3][h][l][v]);
        }
        sum[h][l][v] = __builtin_fmaf(unit[h * HFC_COLUMNS + own_row + v], total, sum[h][l][v]);
      }
    }
  }
}

// Main K loop of this wave, iterations `k_iter` to `stop`.
// first: element of K at which inputs, sums and units begin.  raw: weights of the first iteration, where they are prefetched.
template <class W, class S>
HFC_FUNCTION void hfc_k_loop(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], hfc_raw_weights<W>& raw, const hfc_uint4* inputs,
                             const float* sums, const float* units, int rows, int first, int stop, int& k_iter, hfc_accumulators<S>& sum) {
  constexpr int k_iters = (S::K + S::ITER_ELEMENTS - 1) / S::ITER_ELEMENTS;
  int column[S::COLUMN_TILES];
#pragma unroll
  for (int h = 0; h < S::COLUMN_TILES; h++) {
    const int r = h * HFC_COLUMNS + hfc_input_row();
    column[h] = S::ROWS == 1 ? 0 : r < rows ? r : rows - 1;
  }
#pragma unroll 1
  for (; k_iter < stop; k_iter += S::SPLIT) {
    if constexpr (!S::AHEAD && !S::LATE) hfc_load_weights<W, S>(weight_row, k_iter, raw);
    hfc_raw_weights<W> now;
    if constexpr (S::AHEAD) {
#pragma unroll
      for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
#pragma unroll
        for (int i = 0; i < W::PIECES * W::WORDS; i++) now[l][i / W::WORDS][i % W::WORDS] = raw[l][i / W::WORDS][i % W::WORDS];
      }
      if (k_iter + S::SPLIT < k_iters) hfc_load_weights<W, S>(weight_row, k_iter + S::SPLIT, raw);
    }
    hfc_k_iteration<W, S>(weight_row, S::AHEAD ? now : raw, k_iter, inputs, sums, units, first, column, sum);
  }
}

// The accumulators of all waves into LDS: joined[waves][16 outputs][PLACES]. Every lane stores what it has: the compiler would move
// products that only some lanes need to where only those are active.
template <class S, int PLACES> HFC_FUNCTION void hfc_store_partials(float* joined, int wave, const hfc_accumulators<S>& sum) {
#pragma unroll
  for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
#pragma unroll
    for (int h = 0; h < S::COLUMN_TILES; h++) {
#pragma unroll
      for (int v = 0; v < S::LANE_COLUMNS; v++) {
        joined[(wave * 16 + hfc_lane_output(l)) * PLACES + h * HFC_COLUMNS + hfc_lane_column() + v] = sum[h][l][v];
      }
    }
  }
}
// One output: the partial sums of the SPLIT waves that share its K, in the order of the waves.
template <int SPLIT, int PLACES> HFC_FUNCTION float hfc_reduce_split_k(const float* partial) {
  float y = partial[0];
#pragma unroll
  for (int s = 1; s < SPLIT; s++) y += partial[s * (16 * PLACES)];
  return y;
}
#endif
