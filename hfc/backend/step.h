// What kernels ask of a step, beside its words (step_words.h.j2).
#pragma once

// The segment that holds a row, and the position behind its last token.
HFC_FUNCTION int hfc_segment_of(const int32_t* step, int row) {
  int segment = hfc_segments(step) - 1;
  while (segment > 0 && (hfc_segment_row(step, segment) > row || !hfc_segment_rows(step, segment))) segment--;
  return segment;
}
HFC_FUNCTION int hfc_segment_end(const int32_t* step, int row) {
  const int segment = hfc_segment_of(step, row);
  return hfc_segment_position(step, segment) + hfc_segment_rows(step, segment);
}
// Does the row `back` rows before belong to the same sequence, so many tokens before?
HFC_FUNCTION int hfc_follows(const int32_t* step, int row, int back) {
  return row >= back && hfc_slot(step, row) == hfc_slot(step, row - back)
      && hfc_position(step, row) == hfc_position(step, row - back) + back;
}
// Element j of what a row's slot keeps, [size] floats, or of the last row of its journal that counts.
HFC_FUNCTION float hfc_recall(
    const float* kept, const float* waiting, const int32_t* step, int row, int size, int journal_rows, int j) {
  const int segment = hfc_segment_of(step, row), replay = hfc_segment_replay(step, segment);
  const size_t slot = hfc_segment_slot(step, segment);
  return replay ? waiting[(slot * journal_rows + replay - 1) * size + j] : kept[slot * size + j];
}
