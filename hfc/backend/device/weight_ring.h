// Weights of skinny products by asynchronous copies (Hopper): each wave has a ring of STAGES slots in LDS, one for the 16 weight rows of an
// iteration of its K loop. A wave copies what it multiplies itself, so none waits for another; copies go on over tiles of outputs, so that
// memory is not idle between them. W: as of device/skinny.h, with what ring.py adds. S: likewise, with STAGES and SLOT, bytes of a slot.
#pragma once
// Where a wave's copies go on. tile, k_iter: what is copied next.  at: its first weight row there.  from: of each copy, from `at`.
template <class W> struct hfc_ring_cursor {
  enum { COPIES = (16 * W::RING_CHUNKS + WAVE - 1) / WAVE };
  const uint8_t* at;
  uint32_t from[COPIES], slots;
  int tile, k_iter, slot;
};

// select(tile, weights, limit, n): the matrix of this wave, its rows, and the first that the wave multiplies.
template <class W, class S, class Select> HFC_FUNCTION void hfc_ring_tile(hfc_ring_cursor<W>& next, int wave_k, const Select& select) {
  const uint8_t* weights;
  int limit, n;
  select(next.tile, weights, limit, n);
  const int first = n < limit ? n : limit - 1, last = limit - 1 - first;
  next.at = weights + (size_t)first * W::ROW_BYTES + wave_k * W::ITER_BYTES;
  next.k_iter = wave_k;
#pragma unroll
  for (int i = 0; i < next.COPIES; i++) {
    const int chunk = hfc_lane() + i * WAVE, row = chunk / W::RING_CHUNKS;
    next.from[i] = (row < last ? row : last) * W::ROW_BYTES + chunk % W::RING_CHUNKS * 16;
  }
}
// Copies the next iteration's weights, if there are any. L2 reads whole lines: neighbouring waves copy what lies beside them.
template <class W, class S, class Select>
HFC_FUNCTION void hfc_ring_copy(hfc_ring_cursor<W>& next, int wave_k, int tiles, int tile_step, const Select& select) {
  constexpr int k_iters = S::K / S::ITER_ELEMENTS;
  if (next.tile < tiles) {
    const uint8_t* at = W::ITER_BYTES % 16 ? (const uint8_t*)((uint64_t)next.at & ~(uint64_t)15) : next.at;
#pragma unroll
    for (int i = 0; i < next.COPIES; i++) {
      const int chunk = hfc_lane() + i * WAVE;
      const uint32_t to = next.slots + next.slot * S::SLOT + chunk * 16 + chunk / W::RING_CHUNKS * (W::RING_STRIDE - W::RING_CHUNKS * 16);
      if (chunk < 16 * W::RING_CHUNKS)
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(at + next.from[i]) : "memory");
    }
    next.k_iter += S::SPLIT, next.at += S::SPLIT * W::ITER_BYTES;
    if (next.k_iter >= k_iters) {
      next.tile += tile_step;
      if (next.tile < tiles) hfc_ring_tile<W, S>(next, wave_k, select);
    }
  }
  asm volatile("cp.async.commit_group;" ::: "memory");
  next.slot = next.slot + 1 == S::STAGES ? 0 : next.slot + 1;
}

// The K loop of one tile. ring: this wave's slots; slot: that of its first iteration.
template <class W, class S, class Select>
HFC_FUNCTION void hfc_ring_k_loop(const uint8_t* ring, int& slot, hfc_ring_cursor<W>& next, int wave_k, int tiles, int tile_step,
                                  const Select& select, const hfc_uint4* inputs, const float* sums, const float* units,
                                  hfc_accumulators<S>& sum) {
  constexpr int k_iters = S::K / S::ITER_ELEMENTS;
  const int column[S::COLUMN_TILES] = {};
#pragma unroll 1
  for (int k_iter = wave_k; k_iter < k_iters; k_iter += S::SPLIT) {
    asm volatile("cp.async.wait_group %0;" ::"n"(S::STAGES - 2) : "memory");
    __nvvm_bar_warp_sync(0xffffffffu);  // the copies of all lanes are there, and the slot before has been read
    hfc_raw_weights<W> raw;
    const uint8_t* weights = ring + slot * S::SLOT + (W::ITER_BYTES % 16 ? k_iter * W::ITER_BYTES % 16 : 0);
#pragma unroll
    for (int piece = 0; piece < W::PIECES; piece++) {
#pragma unroll
      for (int l = 0; l < HFC_LANE_OUTPUTS; l++) {
        W::read(weights + hfc_lane_output(l) * W::RING_STRIDE, piece * HFC_K_LANES + hfc_k_lane(), raw[l][piece]);
      }
    }
    hfc_ring_copy<W, S>(next, wave_k, tiles, tile_step, select);
    hfc_k_iteration<W, S>({}, raw, k_iter, inputs, sums, units, 0, column, sum);
    slot = slot + 1 == S::STAGES ? 0 : slot + 1;
  }
}

// Over the first WAVES waves of the block, in their order, for all of its threads.
template <int WAVES> HFC_FUNCTION float hfc_first_waves_sum(float x) {
  __shared__ float slots[WAVES];
  x = hfc_wave_sum(x);
  if (hfc_lane() == 0 && hfc_wave() < WAVES) slots[hfc_wave()] = x;
  hfc_barrier();
  float total = slots[0];
#pragma unroll
  for (int w = 1; w < WAVES; w++) total += slots[w];
  return total;
}
template <int WAVES> HFC_FUNCTION float hfc_first_waves_max(float x) {
  __shared__ float slots[WAVES];
  x = hfc_wave_max(x);
  if (hfc_lane() == 0 && hfc_wave() < WAVES) slots[hfc_wave()] = x;
  hfc_barrier();
  float total = slots[0];
#pragma unroll
  for (int w = 1; w < WAVES; w++) total = hfc_larger(total, slots[w]);
  return total;
}
