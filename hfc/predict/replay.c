/* The unit cycle by cycle, until all blocks of a launch have run. */
#include "unit.h"

/* One SIMD in this cycle: every wave that can goes on, the next one first each time. */
static void cycle_of(State* s, u32 simd) {
  const u32 cache = simd * s->machine->caches / s->machine->simds, first = s->turn[simd];
  Used used = {.valu = s->valu_free[simd] > s->now};
  u64 wake = NEVER;
  s->wake[simd] = NEVER; /* a barrier that opens, or a block that ends, may set it */
  for (u32 n = 0; n < s->wave_count; n++) {
    Wave* w = s->waves + (first + n < s->wave_count ? first + n : first + n - s->wave_count);
    if (!w->live || w->simd != simd || w->at_barrier) continue;
    if (w->ready <= s->now) step(s, w, &used, cache);
    if (w->live && !w->at_barrier) wake = sooner(wake, w->ready);
  }
  s->wake[simd] = sooner(s->wake[simd], wake);
}

/* All SIMDs in this cycle; when something can happen next. */
static u64 cycle(State* s) {
  u64 soon = NEVER;
  for (u32 simd = 0; simd < s->machine->simds; simd++) {
    if (s->valu_free[simd] > s->now) soon = sooner(soon, s->valu_free[simd]);
    if (s->wake[simd] <= s->now) cycle_of(s, simd);
    s->turn[simd] = s->turn[simd] + 1 < s->wave_count ? s->turn[simd] + 1 : 0;
  }
  for (u32 simd = 0; simd < s->machine->simds; simd++) soon = sooner(soon, s->wake[simd]);
  return soon;
}

static int room_for(const State* s) {
  u32 room = 0;
  for (u32 simd = 0; simd < s->machine->simds; simd++) room += s->machine->waves - s->load[simd];
  return room >= s->waves_per_block;
}

static int run(State* s, const Stream* streams, u32 sampled, u32 count, u64 limit) {
  u64 started = 0, next_start = 0;
  for (;;) {
    u32 resident = 0, empty = s->block_count;
    for (u32 b = s->block_count; b-- > 0;)
      if (s->blocks[b].waves_left) resident++;
      else empty = b;
    if (started == count && !resident) return 0;
    const int more = started < count && empty < s->block_count && room_for(s);
    if (more && s->now >= next_start) {
      start_block(s, empty, started++, streams, sampled);
      next_start = s->now + (u64)s->machine->dispatch_cycles;
    }
    u64 soon = cycle(s);
    if (started < count && next_start > s->now && next_start < soon) soon = next_start;
    if (soon == NEVER && started == count) {
      int live = 0;
      for (u32 w = 0; w < s->wave_count; w++) live |= s->waves[w].live && !s->waves[w].at_barrier;
      for (u32 w = 0; w < s->wave_count && !live; w++)
        if (s->waves[w].live) return 2; /* all wait at a barrier */
    }
    s->now = soon == NEVER || soon <= s->now ? s->now + 1 : soon;
    if (s->now > limit) return 1;
  }
}

/* `count` blocks, up to `resident` at once, of which `sampled` were traced. 0, or 1: too long, 2: waves wait for ever, 3: no memory. log: or none. */
int replay(const Machine* machine, const Instruction* instructions, const Stream* streams, u32 sampled, u32 waves_per_block, u32 count,
           u32 resident, u64 limit, Report* report, Log* log) {
  State* s = calloc(1, sizeof *s);
  if (!s) return 3;
  memset(report, 0, sizeof *report);
  s->machine = machine, s->instructions = instructions, s->report = report, s->log = log;
  s->waves_per_block = waves_per_block, s->block_count = resident, s->wave_count = resident * waves_per_block;
  s->seen_room = 1 << 22;
  s->seen = calloc(s->seen_room, sizeof *s->seen);
  s->waves = calloc(s->wave_count, sizeof *s->waves);
  s->blocks = calloc(resident, sizeof *s->blocks);
  s->caches = calloc(machine->caches, sizeof *s->caches);
  memset(s->code_tag, 255, sizeof s->code_tag);
  memset(s->wake, 255, sizeof s->wake);
  int error = 3;
  if (s->seen && s->waves && s->blocks && s->caches) {
    for (u32 c = 0; c < machine->caches; c++) memset(s->caches[c].tag, 255, sizeof s->caches[c].tag);
    error = run(s, streams, sampled, count, limit);
    report->cycles = s->now;
  }
  free(s->seen), free(s->waves), free(s->blocks), free(s->caches), free(s);
  return error;
}
