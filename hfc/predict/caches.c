/* When memory answers: L0 caches, what is read from DRAM the first time, accesses in flight. */
#include "unit.h"

static u64 later(u64 a, u64 b) { return a > b ? a : b; }
static u64 sooner(u64 a, u64 b) { return a < b ? a : b; }

/* Whether a line is asked for the first time; an open hash table. */
static int first_touch(State* s, u64 line) {
  line++;
  u64 at = (line * 0x9e3779b97f4a7c15ull) >> 20 & (s->seen_room - 1);
  while (s->seen[at] && s->seen[at] != line) at = (at + 1) & (s->seen_room - 1);
  if (s->seen[at]) return 0;
  if (s->seen_count < s->seen_room / 2) {
    s->seen[at] = line;
    s->seen_count++;
  }
  return 1;
}

static int from_dram(const Machine* m, u64 line) {
  for (u32 i = 0; i < m->ranges; i++)
    if (line >= m->dram_first[i] && line < m->dram_end[i]) return 1;
  return 0;
}

/* Sampled blocks stand for others: their lines of DRAM are the block's own. */
static u64 key_of(State* s, const Wave* w, u64 line, int dram) { return dram ? line + ((u64)s->blocks[w->block].number << 36) : line; }

static double serve(double* free_at, u64 now, double cycles) {
  const double start = *free_at > now ? *free_at : now;
  *free_at = start + cycles;
  return *free_at;
}

/* When a line that L0 lacks is there. */
static double fetch(State* s, u64 key, int dram) {
  const Machine* m = s->machine;
  if (dram && first_touch(s, key)) {
    s->report->dram_lines++;
    return serve(&s->dram_free, s->now, m->dram_cycles) + m->dram_latency;
  }
  s->report->l2_lines++;
  return serve(&s->l2_free, s->now, m->l2_cycles) + m->l2_latency;
}

/* When the `number`-th line of a request that starts at `start` is there. */
static u64 look_up(State* s, Cache* cache, u64 key, int dram, u64 start, u32 number) {
  const u64 latency = (u64)s->machine->l0_latency;
  const u32 set = (key ^ key >> 7 ^ key >> 36) % (s->machine->cache_lines / WAYS) * WAYS;
  for (u32 way = set; way < set + WAYS; way++)
    if (cache->tag[way] == key) {
      s->report->l0_hits++;
      cache->used[way] = ++cache->clock;
      return later(cache->filled[way], start + number + latency);
    }
  s->report->l0_misses++;
  u32 oldest = set;
  for (u32 way = set + 1; way < set + WAYS; way++)
    if (cache->used[way] < cache->used[oldest]) oldest = way;
  cache->tag[oldest] = key;
  cache->used[oldest] = ++cache->clock;
  return cache->filled[oldest] = (u64)fetch(s, key, dram);
}

static void depart(Flight* flight, u64 done) {
  const u64 before = flight->end != flight->first ? flight->done[(flight->end - 1) % IN_FLIGHT] : 0;
  flight->done[flight->end++ % IN_FLIGHT] = later(done, before);
}

/* When no more than `allowed` are in flight. */
static u64 landed(Flight* flight, u64 now, u32 allowed) {
  while (flight->first != flight->end && flight->done[flight->first % IN_FLIGHT] <= now) flight->first++;
  return flight->end - flight->first > allowed ? flight->done[(flight->end - allowed - 1) % IN_FLIGHT] : now;
}

/* When a wave may begin another access of this unit. */
static u64 counted(Wave* w, u32 unit, u64 now) {
  if (unit == LDS) return landed(&w->shared, now, MOST_IN_FLIGHT - 1);
  return unit == LOAD || unit == ATOMIC ? landed(&w->loads, now, MOST_IN_FLIGHT - 1) : now;
}
