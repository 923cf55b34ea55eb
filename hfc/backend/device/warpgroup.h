// Products of a warpgroup (4 warps): 64 weight rows in registers times rows of inputs in LDS, sums in registers. W: how a lane takes
// weights of one format, see operand_source in backend/lanes/operands.py. Rows of inputs lie 128 bytes apart, 64 elements of K each,
// their 16 bytes swizzled (tile_row_piece), a tile at a multiple of 1024 bytes.
enum { HFC_PIECES = 8 };  // of 16 bytes in a row

// Where 16 bytes number `piece` of a row lie in its tile, in f16.
HFC_FUNCTION int hfc_piece_at(int row, int piece) { return row * (8 * HFC_PIECES) + (piece ^ row % 8) * 8; }
HFC_FUNCTION void hfc_copy_piece(_Float16* to, const _Float16* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(hfc_lds_address(to)), "l"(from) : "memory");
}
HFC_FUNCTION void hfc_copies_issued() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// All but the last MISSING groups of copies are there, and matrix units see them behind the next barrier.
template <int MISSING> HFC_FUNCTION void hfc_copies_arrived() {
  asm volatile("cp.async.wait_group %0;\nfence.proxy.async.shared::cta;" ::"n"(MISSING) : "memory");
}
// 16 elements of K of a tile, from 16 * step on, as the second operand of a product.
HFC_FUNCTION uint64_t hfc_tile_operand(const _Float16* tile, int step) {
  const uint64_t address = hfc_lds_address(tile) + (uint32_t)step * 32;
  return (address & 0x3ffffu) >> 4 | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
HFC_FUNCTION void hfc_products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
HFC_FUNCTION void hfc_products_end() {
  asm volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::: "memory");
}
HFC_FUNCTION uint32_t hfc_round_pair(float x, float y) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(y), "f"(x));
  return pair;
}

// An iteration's weights of this lane's rows, as they lie in memory.
template <class W>
HFC_FUNCTION void hfc_load_raw_weights(const uint8_t* const (&weight_row)[HFC_LANE_OUTPUTS], int k_iter,
                                       uint32_t (&raw)[HFC_LANE_OUTPUTS][W::PIECES][W::WORDS]) {
#pragma unroll
  for (int piece = 0; piece < W::PIECES; piece++) {
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++)
      W::read(weight_row[l], (uint32_t)(k_iter * W::PIECES + piece) * HFC_K_LANES + hfc_k_lane(), raw[l][piece]);
  }
}
// Weights of COUNT products from number FIRST of an iteration on, as f16 first operands.
template <class W, int FIRST, int COUNT>
HFC_FUNCTION void hfc_weights_of(const uint32_t (&raw)[HFC_LANE_OUTPUTS][W::PIECES][W::WORDS], int k_iter, uint32_t (*operand)[4]) {
  constexpr int batch_products = W::BATCH_WORDS / W::PRODUCT_WORDS;
  if constexpr (COUNT > batch_products) {
    hfc_weights_of<W, FIRST, COUNT / 2>(raw, k_iter, operand);
    hfc_weights_of<W, FIRST + COUNT / 2, COUNT / 2>(raw, k_iter, operand + COUNT / 2);
  } else {
    constexpr int piece = FIRST / W::PRODUCTS, first = FIRST % W::PRODUCTS, batch = first / batch_products;
#pragma unroll
    for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
      uint32_t codes[W::BATCH_WORDS];
      float scale[W::BATCH_GROUPS], low[W::BATCH_GROUPS] = {};
      W::template cut<batch>(raw[l][piece], (uint32_t)(k_iter * W::PIECES + piece) * HFC_K_LANES + hfc_k_lane(), codes, scale, low);
#pragma unroll
      for (int p = 0; p < COUNT; p++) {
        const int word = (first + p - batch * batch_products) * W::PRODUCT_WORDS;
        if constexpr (W::CODED) {
          const int group = W::group_of(first + p) - batch * W::BATCH_GROUPS;
          const float zero = __builtin_fmaf(scale[group], (float)W::ZERO - hfc_floats_offset<W::BITS>, low[group]);
          float q[4];
          hfc_floats<W::BITS>(codes[word], q);
#pragma unroll
          for (int i = 0; i < 4; i++) q[i] = __builtin_fmaf(q[i], scale[group], zero);
          operand[p][l] = hfc_round_pair(q[0], q[1]), operand[p][HFC_LANE_OUTPUTS + l] = hfc_round_pair(q[2], q[3]);
        } else {
          operand[p][l] = codes[word], operand[p][HFC_LANE_OUTPUTS + l] = codes[word + 1];
        }
      }
    }
  }
}
