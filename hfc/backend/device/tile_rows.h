// Rows of accumulator tiles (device/matrix.h): reductions over the columns of a row, and operands whose k runs over rows in LDS.
#pragma once
HFC_FUNCTION uint32_t hfc_pair(float x, float y) {
  const hfc_half2 pair = {(_Float16)x, (_Float16)y};
  return __builtin_bit_cast(uint32_t, pair);
}
// Behind a row of inputs in one f16 each: what they are multiplied by; and, where one input has a large part of the row's energy, that input
// over `unit` and its number, which else is -1.
typedef struct { float unit, largest; int channel; } hfc_staged_row;
// What rounding to f16 leaves of a number.
HFC_FUNCTION float hfc_rounding(float x) { return x - (float)(_Float16)x; }
// Of ROWS rows in LDS: the lowest of their channels above `after`, in all lanes; -1: there is none.
template <int ROWS> HFC_FUNCTION int hfc_next_channel(const hfc_staged_row* ends, int after) {
  float next = -HFC_INFINITY;
#pragma unroll
  for (int r = 0; r < ROWS; r += WAVE) {
    const int channel = ends[(r + hfc_lane()) % ROWS].channel;
    if (channel > after) next = hfc_larger(-(float)channel, next);
  }
  next = hfc_wave_max(next);
  return next == -HFC_INFINITY ? -1 : hfc_uniform(-(int)next);
}
#if defined(HFC_MMA_F16) || defined(HFC_WMMA_F16) || defined(HFC_MFMA_F16)
// Different columns among a lane's accumulators: accumulator v has that number hfc_column_of(v), the first with it is hfc_first_of_column.
#if defined(HFC_MMA_F16)
enum { HFC_LANE_TILE_COLUMNS = 4 };
HFC_FUNCTION constexpr int hfc_column_of(int v) { return v / 4 * 2 + v % 2; }
#else
enum { HFC_LANE_TILE_COLUMNS = 1 };
HFC_FUNCTION constexpr int hfc_column_of(int v) { return 0; }
#endif
HFC_FUNCTION constexpr int hfc_first_of_column(int c) { return c / 2 * 4 + c % 2; }
// x: one value for each accumulator of a lane; afterwards that of its whole row, in every lane that holds a part of it.
#if defined(HFC_MMA_F16)
HFC_FUNCTION void hfc_tile_row_max(float (&x)[HFC_ACCUMULATORS]) {
  const float first = hfc_max_between<2, 1>(hfc_larger(hfc_larger(x[0], x[1]), hfc_larger(x[4], x[5])));
  const float second = hfc_max_between<2, 1>(hfc_larger(hfc_larger(x[2], x[3]), hfc_larger(x[6], x[7])));
  x[0] = x[1] = x[4] = x[5] = first, x[2] = x[3] = x[6] = x[7] = second;
}
HFC_FUNCTION void hfc_tile_row_sum(float (&x)[HFC_ACCUMULATORS]) {
  const float first = hfc_sum_between<2, 1>((x[0] + x[1]) + (x[4] + x[5]));
  const float second = hfc_sum_between<2, 1>((x[2] + x[3]) + (x[6] + x[7]));
  x[0] = x[1] = x[4] = x[5] = first, x[2] = x[3] = x[6] = x[7] = second;
}
// The second operand of 16 columns from `at` on, its k being 16 rows of STRIDE halves.
template <int STRIDE> HFC_FUNCTION hfc_operand hfc_load_across(const _Float16* at) {
  const _Float16* mine = at + (hfc_lane() % 8 + hfc_lane() / 8 % 2 * 8) * STRIDE + hfc_lane() / 16 * 8;
  const uint32_t address = (uint32_t)(uint64_t)(__attribute__((address_space(3))) const void*)mine;
  hfc_operand r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 { %0, %1, %2, %3}, [%4];"
               : "=r"(r.part[0]), "=r"(r.part[1]), "=r"(r.part[2]), "=r"(r.part[3])
               : "r"(address)
               : "memory");
  return r;
}
#else
HFC_FUNCTION void hfc_tile_row_max(float (&x)[HFC_ACCUMULATORS]) {
#pragma unroll
  for (int v = 0; v < HFC_ACCUMULATORS; v++) x[v] = hfc_max_between<8, 1>(x[v]);
}
HFC_FUNCTION void hfc_tile_row_sum(float (&x)[HFC_ACCUMULATORS]) {
#pragma unroll
  for (int v = 0; v < HFC_ACCUMULATORS; v++) x[v] = hfc_sum_between<8, 1>(x[v]);
}
#endif
#endif
