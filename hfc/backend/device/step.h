// The step buffer: what changes from step to step. int32, for a plan of at most MAX_ROWS rows:
// rows T, segments G, outputs R, 0, then token, position, slot and output_row of MAX_ROWS each, then 6 per segment.
#pragma once

HFC_FUNCTION int hfc_rows(const int32_t* step) { return step[0]; }
HFC_FUNCTION int hfc_segments(const int32_t* step) { return step[1]; }
HFC_FUNCTION int hfc_outputs(const int32_t* step) { return step[2]; }
HFC_FUNCTION int hfc_token(const int32_t* step, int row) { return step[4 + row]; }
HFC_FUNCTION int hfc_position(const int32_t* step, int row) { return step[4 + MAX_ROWS + row]; }
// In the first so many segments every token but the first stands for a guess of the draft.
HFC_FUNCTION int hfc_guessed(const int32_t* step) { return step[3]; }
HFC_FUNCTION int hfc_slot(const int32_t* step, int row) { return step[4 + 2 * MAX_ROWS + row]; }
HFC_FUNCTION int hfc_output_row(const int32_t* step, int output) { return step[4 + 3 * MAX_ROWS + output]; }
// The segment that holds a row, and the position behind its last token.
HFC_FUNCTION int hfc_segment_of(const int32_t* step, int row) {
  int segment = step[1] - 1;
  while (segment > 0 && (step[5 + 4 * MAX_ROWS + 6 * segment] > row || !step[6 + 4 * MAX_ROWS + 6 * segment])) segment--;
  return segment;
}
HFC_FUNCTION int hfc_segment_end(const int32_t* step, int row) {
  const int at = 4 + 4 * MAX_ROWS + 6 * hfc_segment_of(step, row);
  return step[at + 3] + step[at + 2];
}
HFC_FUNCTION int hfc_segment_slot(const int32_t* step, int segment) { return step[4 + 4 * MAX_ROWS + 6 * segment]; }
HFC_FUNCTION int hfc_segment_row(const int32_t* step, int segment) { return step[5 + 4 * MAX_ROWS + 6 * segment]; }
HFC_FUNCTION int hfc_segment_rows(const int32_t* step, int segment) { return step[6 + 4 * MAX_ROWS + 6 * segment]; }
HFC_FUNCTION int hfc_segment_position(const int32_t* step, int segment) { return step[7 + 4 * MAX_ROWS + 6 * segment]; }
HFC_FUNCTION int hfc_segment_replay(const int32_t* step, int segment) { return step[8 + 4 * MAX_ROWS + 6 * segment]; }
HFC_FUNCTION int hfc_segment_commit(const int32_t* step, int segment) { return step[9 + 4 * MAX_ROWS + 6 * segment]; }
// Does the row `back` rows before belong to the same sequence, so many tokens before?
HFC_FUNCTION bool hfc_follows(const int32_t* step, int row, int back) {
  return row >= back && hfc_slot(step, row) == hfc_slot(step, row - back) && hfc_position(step, row) == hfc_position(step, row - back) + back;
}
// Element j of what a row's slot keeps, [size] floats, or of the last row of its journal that counts.
HFC_FUNCTION float hfc_recall(const float* kept, const float* waiting, const int32_t* step, int row, int size, int journal_rows, int j) {
  const int segment = hfc_segment_of(step, row), replay = hfc_segment_replay(step, segment);
  const size_t slot = hfc_segment_slot(step, segment);
  return replay ? waiting[(slot * journal_rows + replay - 1) * size + j] : kept[slot * size + j];
}
