// Reductions over a wave of WAVE lanes and over a thread block. Every lane takes part and every lane gets the result,
// the same bits in all of them: each step adds two equal halves, and addition commutes.
#pragma once

HFC_FUNCTION int hfc_lane() { return hfc_thread() % WAVE; }
HFC_FUNCTION int hfc_wave() { return hfc_thread() / WAVE; }

// Adds one to a counter in LDS that several threads share.
HFC_FUNCTION void hfc_count(int32_t* at) { __atomic_fetch_add(at, 1, __ATOMIC_RELAXED); }

HFC_FUNCTION int hfc_bits(float x) { return __builtin_bit_cast(int, x); }
HFC_FUNCTION float hfc_float(int bits) { return __builtin_bit_cast(float, bits); }

#if defined(__HIP__)
// The value of all lanes, known to the compiler as one: branches on it are scalar.
HFC_FUNCTION int hfc_uniform(int x) { return __builtin_amdgcn_readfirstlane(x); }
// Data-parallel moves: quad permutes for 1 and 2, mirrors for 4 and 8 (lane ^ 7 and lane ^ 15 hold the same sums then).
template <int CONTROL> HFC_FUNCTION int hfc_move(int x) {
  return __builtin_amdgcn_update_dpp(0, x, CONTROL, 0xf, 0xf, true);
}
template <int MASK> HFC_FUNCTION int hfc_other(int x) {
  if constexpr (MASK == 1) return hfc_move<0xb1>(x);
  if constexpr (MASK == 2) return hfc_move<0x4e>(x);
  if constexpr (MASK == 4) return hfc_move<0x141>(x);
  if constexpr (MASK == 8) return hfc_move<0x140>(x);
  if constexpr (MASK == 16) return __builtin_amdgcn_ds_swizzle(x, 0x401f);
  return __builtin_amdgcn_ds_bpermute((hfc_lane() ^ MASK) * 4, x);
}
HFC_FUNCTION int hfc_from_lane(int x, int lane) { return __builtin_amdgcn_ds_bpermute(lane * 4, x); }
#if WAVE == 64
HFC_FUNCTION uint64_t hfc_ballot(bool x) { return __builtin_amdgcn_ballot_w64(x); }
#else
HFC_FUNCTION uint64_t hfc_ballot(bool x) { return __builtin_amdgcn_ballot_w32(x); }
#endif
// The lanes see each other's LDS.
HFC_FUNCTION void hfc_wave_barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "wavefront");
  __builtin_amdgcn_wave_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "wavefront");
}
#else
HFC_FUNCTION int hfc_uniform(int x) { return x; }
template <int MASK> HFC_FUNCTION int hfc_other(int x) { return __nvvm_shfl_sync_bfly_i32(0xffffffffu, x, MASK, 31); }
HFC_FUNCTION int hfc_from_lane(int x, int lane) { return __nvvm_shfl_sync_idx_i32(0xffffffffu, x, lane, 31); }
HFC_FUNCTION uint64_t hfc_ballot(bool x) { return (uint32_t)__nvvm_vote_ballot_sync(0xffffffffu, x); }
HFC_FUNCTION void hfc_wave_barrier() { __nvvm_bar_warp_sync(0xffffffffu); }
#endif

template <int MASK> HFC_FUNCTION float hfc_other(float x) { return hfc_float(hfc_other<MASK>(hfc_bits(x))); }

// Sum over groups of LANES neighbouring lanes (a power of two, at most WAVE).
template <int LANES> HFC_FUNCTION float hfc_sum_lanes(float x) {
  if constexpr (LANES >= 2) x += hfc_other<1>(x);
  if constexpr (LANES >= 4) x += hfc_other<2>(x);
  if constexpr (LANES >= 8) x += hfc_other<4>(x);
  if constexpr (LANES >= 16) x += hfc_other<8>(x);
  if constexpr (LANES >= 32) x += hfc_other<16>(x);
  if constexpr (LANES >= 64) x += hfc_other<32>(x);
  return x;
}
HFC_FUNCTION float hfc_wave_sum(float x) { return hfc_sum_lanes<WAVE>(x); }

HFC_FUNCTION float hfc_larger(float x, float y) { return x > y ? x : y; }

// Over the lanes that differ in one or more of the bits HIGH … LOW of their number, and below LOW hold the same.
template <int HIGH, int LOW> HFC_FUNCTION float hfc_sum_between(float x) {
  if constexpr (HIGH > 0 && HIGH >= LOW) return hfc_sum_between<HIGH / 2, LOW>(x + hfc_other<HIGH>(x));
  return x;
}
template <int HIGH, int LOW> HFC_FUNCTION float hfc_max_between(float x) {
  if constexpr (HIGH > 0 && HIGH >= LOW) return hfc_max_between<HIGH / 2, LOW>(hfc_larger(x, hfc_other<HIGH>(x)));
  return x;
}
// N sums over groups of LANES neighbouring lanes, both powers of two, each in one lane: lane l of a group is left with sums
// l * N / LANES … in v[0] … (N / LANES of them, or one).
template <int N, int LANES> HFC_FUNCTION void hfc_scatter_sums(float* v) {
  if constexpr (LANES > 1) {
    if constexpr (N > 1) {
      const bool upper = hfc_lane() & LANES / 2;
#pragma unroll
      for (int i = 0; i < N / 2; i++) {
        const float given = upper ? v[i] : v[i + N / 2], kept = upper ? v[i + N / 2] : v[i];
        v[i] = kept + hfc_other<LANES / 2>(given);
      }
      hfc_scatter_sums<N / 2, LANES / 2>(v);
    } else {
      v[0] += hfc_other<LANES / 2>(v[0]);
      hfc_scatter_sums<1, LANES / 2>(v);
    }
  }
}
// What lane FROM of the group of LANES lanes holds.
template <int LANES, int FROM> HFC_FUNCTION float hfc_spread(float x) {
#if defined(__HIP__)
  if constexpr (LANES == WAVE) return hfc_float(__builtin_amdgcn_readlane(hfc_bits(x), FROM));
  return hfc_float(__builtin_amdgcn_ds_swizzle(hfc_bits(x), (32 - LANES) | FROM << 5));
#else
  return hfc_float(__nvvm_shfl_sync_idx_i32(0xffffffffu, hfc_bits(x), FROM, (32 - LANES) << 8 | 31));
#endif
}
#if defined(__HIP__)
HFC_FUNCTION float hfc_wave_max(float x) {
  x = hfc_larger(x, hfc_other<1>(x));
  x = hfc_larger(x, hfc_other<2>(x));
  x = hfc_larger(x, hfc_other<4>(x));
  x = hfc_larger(x, hfc_other<8>(x));
  x = hfc_larger(x, hfc_other<16>(x));
  if constexpr (WAVE == 64) x = hfc_larger(x, hfc_other<32>(x));
  return x;
}
HFC_FUNCTION int hfc_smaller(int x, int y) { return x < y ? x : y; }
HFC_FUNCTION int hfc_wave_min(int x) {
  x = hfc_smaller(x, hfc_other<1>(x));
  x = hfc_smaller(x, hfc_other<2>(x));
  x = hfc_smaller(x, hfc_other<4>(x));
  x = hfc_smaller(x, hfc_other<8>(x));
  x = hfc_smaller(x, hfc_other<16>(x));
  if constexpr (WAVE == 64) x = hfc_smaller(x, hfc_other<32>(x));
  return x;
}
#else
// Floats in the order of whole numbers, which one instruction reduces.
HFC_FUNCTION float hfc_wave_max(float x) {
  const int bits = hfc_bits(x + 0.0f);  // no -0, which would be less than 0
  const int most = __nvvm_redux_sync_max(bits ^ (bits >> 31 & 0x7fffffff), 0xffffffffu);
  return hfc_float(most ^ (most >> 31 & 0x7fffffff));
}
HFC_FUNCTION int hfc_wave_min(int x) { return __nvvm_redux_sync_min(x, 0xffffffffu); }
#endif

// Over a block of WAVES waves, in the order of the waves. Two barriers of LDS: the slots may be used again at once.
template <int WAVES> HFC_FUNCTION float hfc_block_sum(float x) {
  __shared__ float slots[WAVES];
  x = hfc_wave_sum(x);
  if (hfc_lane() == 0) slots[hfc_wave()] = x;
  hfc_lds_barrier();
  float total = slots[0];
  for (int w = 1; w < WAVES; w++) total += slots[w];
  hfc_lds_barrier();
  return total;
}
template <int WAVES> HFC_FUNCTION float hfc_block_max(float x) {
  __shared__ float slots[WAVES];
  x = hfc_wave_max(x);
  if (hfc_lane() == 0) slots[hfc_wave()] = x;
  hfc_lds_barrier();
  float total = slots[0];
  for (int w = 1; w < WAVES; w++) total = hfc_larger(total, slots[w]);
  hfc_lds_barrier();
  return total;
}
template <int WAVES> HFC_FUNCTION void hfc_block_max_and_sum(float& largest, float& sum) {
  __shared__ float slots[2][WAVES];
  largest = hfc_wave_max(largest), sum = hfc_wave_sum(sum);
  if (hfc_lane() == 0) slots[0][hfc_wave()] = largest, slots[1][hfc_wave()] = sum;
  hfc_lds_barrier();
  largest = slots[0][0], sum = slots[1][0];
  for (int w = 1; w < WAVES; w++) largest = hfc_larger(largest, slots[0][w]), sum += slots[1][w];
  hfc_lds_barrier();
}
