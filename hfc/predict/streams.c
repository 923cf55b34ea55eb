/* A block's trace to what each of its waves executed. */
#include "unit.h"

typedef struct {
  u64 first, end, as; /* lines, and what the first is called: times must not depend on where memory happens to lie */
} Range;

static u64 renamed(const Range* ranges, u32 count, u64 line) {
  for (u32 i = 0; i < count; i++)
    if (line >= ranges[i].first && line < ranges[i].end) return line - ranges[i].first + ranges[i].as;
  return line & 31; /* arguments: the place in their page */
}

/* A block's trace as one stream a wave. Twice: without `streams` it only counts. */
void split(const Instruction* instructions, const u64* trace, u64 count, const Range* ranges, u32 range_count, u64** streams, u64* counts) {
  for (u64 at = 0; at < count;) {
    const u64 entry = trace[at], start = at;
    const u32 wave = entry >> 40 & 0xffff;
    const u32 lines = has_lines(instructions[entry & 0xffffff].unit) ? entry >> 24 & 0xffff : 0;
    for (u64 end = at + 1 + lines; at < end && at < count; at++) {
      if (streams) streams[wave][counts[wave]] = at == start ? entry : renamed(ranges, range_count, trace[at]);
      counts[wave]++;
    }
  }
}

u64 sizes(u32 which) {
  static const u64 found[] = {sizeof(Instruction), sizeof(Machine), sizeof(Stream), sizeof(Report), sizeof(Range), sizeof(Event), sizeof(Log)};
  return found[which];
}
