// The products of one tile in LDS (skeletons/linear/mma). S: sizes of the region and its cut:
//   DEPTH: of K in a tile.  STRIDE: f16 from row to row.  TILE_ROWS, TILE_OUTPUTS: rows of inputs and of weights, each in planes.
//   ROWS, COLUMNS: products of a wave, 16 x 16 each.  DOWN: waves over the rows.  PART_OUTPUTS, PART_COLUMNS: of one matrix where two are zipped.
template <class S> using hfc_input_tile = _Float16[S::INPUT_PLANES][S::TILE_ROWS][S::STRIDE];
template <class S> using hfc_weight_tile = _Float16[S::PLANES][S::TILE_OUTPUTS][S::STRIDE];

// EXACT: weights without a low part.  PARTIAL: 16 rows that the tile does not have are left out.
// One product after another for all columns: two that add to the same sums stand far apart.
template <class S, bool EXACT, bool PARTIAL>
HFC_FUNCTION void hfc_multiply_tile(
    const hfc_input_tile<S>& inputs, const hfc_weight_tile<S>& weights, int wave_row, int wave_column, int count,
    hfc_acc_tile (&sum)[S::ROWS][S::COLUMNS]) {
  if (PARTIAL && wave_row >= count) return;
#pragma unroll
  for (int d = 0; d < S::DEPTH; d += 16) {
    hfc_operand column[EXACT ? 1 : 2][S::COLUMNS];
#pragma unroll
    for (int b = 0; b < S::COLUMNS; b++) {
      const int weight_row = b / S::PART_COLUMNS * S::PART_OUTPUTS + wave_column + b % S::PART_COLUMNS * 16;
      column[0][b] = hfc_load_second<S::STRIDE>(&weights[0][weight_row][d]);
      if constexpr (!EXACT) column[1][b] = hfc_load_second<S::STRIDE>(&weights[1][weight_row][d]);
    }
#pragma unroll
    for (int a = 0; a < S::ROWS; a++) {
      if (PARTIAL && a && wave_row + a * 16 * S::DOWN >= count) continue;
      const hfc_operand high = hfc_load_first<S::STRIDE>(&inputs[0][wave_row + a * 16 * S::DOWN][d]);
      if constexpr (S::INPUT_PLANES == 2) {
        const hfc_operand low = hfc_load_first<S::STRIDE>(&inputs[1][wave_row + a * 16 * S::DOWN][d]);
#pragma unroll
        for (int b = 0; b < S::COLUMNS; b++) hfc_multiply(sum[a][b], low, column[0][b]);
      }
      if constexpr (!EXACT) {
#pragma unroll
        for (int b = 0; b < S::COLUMNS; b++) hfc_multiply(sum[a][b], high, column[1][b]);
      }
#pragma unroll
      for (int b = 0; b < S::COLUMNS; b++) hfc_multiply(sum[a][b], high, column[0][b]);
    }
  }
}
