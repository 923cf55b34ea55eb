// The integer products of one row, behind device/skinny.h.
#pragma once
#if defined(HFC_MMA_I8)
// One row leaves seven of eight columns free, so there a column is a scale group: its lanes take the inputs of that group, and zeros for
// the others. Sums of whole numbers are exact in any order: these are those of hfc_int8_group. A lane finds those of its own groups and
// scales no others, a quarter of the work.
template <class W, class S> HFC_FUNCTION constexpr int hfc_column_of_group(int group) {
  return hfc_groups_each<W, S> == 2 ? group % 8 : group % 4 * 2;
}
template <class W, class S, int SET>
HFC_FUNCTION void hfc_scale_own_groups(const hfc_int_acc& high, const hfc_int_acc& low, int l, const float (&scale)[hfc_groups_each<W, S>],
                                       const float (&minimum)[hfc_groups_each<W, S>], const float* sums, int begin, hfc_accumulators<S>& here) {
  constexpr int each = hfc_groups_each<W, S>;
#pragma unroll
  for (int v = 0; v < each; v++) {
    const float dot = hfc_whole_number<S>(high.sum[l][v], low.sum[l][v]);
    float sum = __builtin_fmaf(scale[v], dot, here[0][l][0]);
    if constexpr (W::HAS_LOW) {
      const float add = __builtin_fmaf(scale[v], (float)W::ZERO, minimum[v]);
      const float* chunks = sums + (begin + W::template own_begin<SET>(hfc_k_lane()) + v * W::OWN_STEP) / S::SUM_GROUP;
#pragma unroll
      for (int i = 0; i < W::CHUNKS; i++) sum = __builtin_fmaf(add, chunks[i], sum);
    }
    here[0][l][0] = sum;
  }
}
template <class W, class S, int BATCH>
HFC_FUNCTION void hfc_int8_row(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], hfc_raw_weights<W>& raw, int k_iter, int next, int piece,
                               const hfc_uint4* inputs, const float* sums, int begin, hfc_int_acc high, hfc_int_acc low,
                               hfc_accumulators<S>& here) {
  constexpr int each = hfc_groups_each<W, S>, first = BATCH * W::BATCH_WORDS, zero = W::HAS_LOW ? 0 : W::ZERO;
  constexpr bool whole = (BATCH + 1) % each == 0;  // with this batch the lanes have all their groups
  const uint32_t call = (k_iter * W::PIECES + piece) * HFC_K_LANES + hfc_k_lane();
  uint32_t codes[HFC_LANE_OUTPUTS][W::BATCH_WORDS];
  float scale[HFC_LANE_OUTPUTS][each], minimum[HFC_LANE_OUTPUTS][each] = {};
#pragma unroll
  for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
    float unused[W::BATCH_GROUPS];
    W::template cut<BATCH>(raw[l][piece], call, codes[l], unused, unused);
    if constexpr (whole) W::template own<BATCH / each>(raw[l][piece], call, hfc_k_lane(), scale[l], minimum[l]);
  }
  const hfc_uint4* from = inputs + hfc_unit(begin / 32, 1, 0, hfc_k_lane(), 0);
  const hfc_uint4* zeros = inputs + S::ZEROS + hfc_k_lane();
#pragma unroll
  for (int p = first; p < first + W::BATCH_WORDS; p += 2) {
    if constexpr (S::LATE && BATCH + 1 == W::BATCHES) {
#pragma unroll
      for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
        const bool at = (p - first) / 2 == (2 * l + 1) * (W::BATCH_WORDS / 2) / (2 * HFC_LANE_OUTPUTS);
        if (at) hfc_load_late<W, S>(weight_row, k_iter, next, piece, l, raw);
      }
    }
    uint32_t one[HFC_LANE_OUTPUTS], two[HFC_LANE_OUTPUTS];
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
      one[l] = hfc_signed_bytes<zero>(codes[l][p - first]);
      two[l] = hfc_signed_bytes<zero>(codes[l][p + 1 - first]);
    }
    const bool shared = W::group_of(p) == W::group_of(p + 1);
    const bool has_one = hfc_input_row() == hfc_column_of_group<W, S>(W::group_of(p));
    const bool has_two = hfc_input_row() == hfc_column_of_group<W, S>(W::group_of(p + 1));
    const hfc_uint4 x = (has_one || has_two ? from : zeros)[W::place_of(p) / 2 * HFC_K_LANES];
    hfc_multiply_int8<zero != 0>(high, one, two, shared || has_one ? x.x : 0u, shared || has_two ? x.y : 0u);
    if constexpr (S::PLANES == 2) hfc_multiply_int8<zero != 0>(low, one, two, shared || has_one ? x.z : 0u, shared || has_two ? x.w : 0u);
  }
  if constexpr (whole) {
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) hfc_scale_own_groups<W, S, BATCH / each>(high, low, l, scale[l], minimum[l], sums, begin, here);
    high = {}, low = {};
  }
  if constexpr (BATCH + 1 < W::BATCHES)
    hfc_int8_row<W, S, BATCH + 1>(weight_row, raw, k_iter, next, piece, inputs, sums, begin, high, low, here);
}
#endif
