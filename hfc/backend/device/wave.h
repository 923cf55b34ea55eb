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
#else
HFC_FUNCTION int hfc_uniform(int x) { return x; }
template <int MASK> HFC_FUNCTION int hfc_other(int x) { return __nvvm_shfl_sync_bfly_i32(0xffffffffu, x, MASK, 31); }
HFC_FUNCTION int hfc_from_lane(int x, int lane) { return __nvvm_shfl_sync_idx_i32(0xffffffffu, x, lane, 31); }
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
HFC_FUNCTION float hfc_wave_max(float x) {
  x = hfc_larger(x, hfc_other<1>(x));
  x = hfc_larger(x, hfc_other<2>(x));
  x = hfc_larger(x, hfc_other<4>(x));
  x = hfc_larger(x, hfc_other<8>(x));
  x = hfc_larger(x, hfc_other<16>(x));
  if constexpr (WAVE == 64) x = hfc_larger(x, hfc_other<32>(x));
  return x;
}

// Over a block of WAVES waves, in the order of the waves. Two barriers: the slots may be used again at once.
template <int WAVES> HFC_FUNCTION float hfc_block_sum(float x) {
  __shared__ float slots[WAVES];
  x = hfc_wave_sum(x);
  if (hfc_lane() == 0) slots[hfc_wave()] = x;
  hfc_barrier();
  float total = slots[0];
  for (int w = 1; w < WAVES; w++) total += slots[w];
  hfc_barrier();
  return total;
}
template <int WAVES> HFC_FUNCTION float hfc_block_max(float x) {
  __shared__ float slots[WAVES];
  x = hfc_wave_max(x);
  if (hfc_lane() == 0) slots[hfc_wave()] = x;
  hfc_barrier();
  float total = slots[0];
  for (int w = 1; w < WAVES; w++) total = hfc_larger(total, slots[w]);
  hfc_barrier();
  return total;
}
