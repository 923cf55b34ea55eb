/* What one wave does in a cycle: what it waits for, and what its instruction takes. */
#include "unit.h"

static void write_registers(Wave* w, const Instruction* i, u64 when) {
  for (u32 n = 0; n < i->writes; n++)
    for (u32 r = i->written[n][0]; r < (u32)i->written[n][0] + i->written[n][1] && r < REGISTERS; r++) w->registers[r] = when;
}

static u64 registers_ready(const Wave* w, const Instruction* i, u64 now) {
  u64 when = now;
  for (u32 n = 0; n < i->reads; n++)
    for (u32 r = i->read[n][0]; r < (u32)i->read[n][0] + i->read[n][1] && r < REGISTERS; r++) when = later(when, w->registers[r]);
  return when;
}

/* When the code of `i` is there; asks for the line behind it too. A line that was asked for reaches its wave even if another
 * wave's takes its place meanwhile. */
static u64 code_ready(State* s, Wave* w, const Instruction* i) {
  const u32 line = i->address / s->machine->code_line_bytes;
  if (line == w->code_line) return later(w->code_there, s->now);
  for (u32 n = line; n <= line + 1; n++)
    if (s->code_tag[n % CODE_LINES] != n) {
      s->code_tag[n % CODE_LINES] = n;
      s->code_filled[n % CODE_LINES] = s->now + s->machine->code_latency;
    }
  w->code_line = line;
  w->code_there = s->code_filled[line % CODE_LINES];
  return later(w->code_there, s->now);
}

static void release(State* s, u32 block) {
  s->blocks[block].arrived = 0;
  for (u32 n = 0; n < s->waves_per_block; n++) {
    Wave* w = s->waves + block * s->waves_per_block + n;
    if (!w->live || !w->at_barrier) continue;
    w->at_barrier = 0;
    w->ready = later(w->ready, s->now + BARRIER_CYCLES);
    s->wake[w->simd] = sooner(s->wake[w->simd], w->ready);
  }
}

static void start_block(State* s, u32 slot, u64 number, const Stream* streams, u32 sampled) {
  Block* block = s->blocks + slot;
  *block = (Block){s->waves_per_block, 0, (u32)number};
  for (u32 n = 0; n < s->waves_per_block; n++) {
    const Stream* stream = streams + number % sampled * s->waves_per_block + n;
    Wave* w = s->waves + slot * s->waves_per_block + n;
    u32 best = 0;
    for (u32 simd = 1; simd < s->machine->simds; simd++)
      if (s->load[simd] < s->load[best]) best = simd;
    memset(w, 0, sizeof *w);
    w->live = 1, w->block = slot, w->simd = best, w->code_line = ~0u;
    w->entries = stream->entries, w->count = stream->count;
    w->ready = s->now + START_CYCLES + 2 * n;
    s->wake[best] = sooner(s->wake[best], w->ready);
    s->load[best]++;
  }
}

static void end_wave(State* s, Wave* w) {
  Block* block = s->blocks + w->block;
  w->live = 0;
  s->load[w->simd]--;
  block->waves_left--;
  if (block->arrived && block->arrived == block->waves_left) release(s, w->block);
}

static void load(State* s, Wave* w, const Instruction* i, u32 lines, u32 cache) {
  const u64 entry = w->at + 1, cycles = later(1, later(lines, i->bytes * 32 / s->machine->request_bytes));
  const u64 start = later(s->request_free[cache], s->now);
  u64 done = start + (u64)s->machine->l0_latency + cycles;
  s->request_free[cache] = start + cycles;
  s->report->request_cycles += cycles;
  for (u32 n = 0; n < lines; n++) {
    const int dram = from_dram(s->machine, w->entries[entry + n]);
    done = later(done, look_up(s, s->caches + cache, key_of(s, w, w->entries[entry + n], dram), dram, start, n));
  }
  depart(&w->loads, done);
}

static void store(State* s, u32 lines, u32 cache) {
  const u64 cycles = later(STORE_CYCLES, lines);
  s->request_free[cache] = later(s->request_free[cache], s->now) + cycles;
  s->report->request_cycles += cycles;
  for (u32 n = 0; n < lines; n++) serve(&s->l2_free, s->now, s->machine->l2_cycles);
}

static void share(State* s, Wave* w, u32 passes, u32 half) {
  const u64 cycles = later(1, passes), start = later(s->lds_free[half], s->now);
  s->lds_free[half] = start + cycles;
  s->report->lds_cycles += cycles;
  depart(&w->shared, start + cycles + (u64)s->machine->lds_latency);
}

static void load_scalar(State* s, Wave* w, u32 lines) {
  const u64 line = lines ? w->entries[w->at + 1] : 0;
  u64 done = s->now + (u64)s->machine->scalar_latency;
  if (lines && from_dram(s->machine, line)) {
    const u64 key = key_of(s, w, line, 1);
    if (first_touch(s, key)) {
      s->report->dram_lines++;
      done = (u64)(serve(&s->dram_free, s->now, s->machine->dram_cycles) + s->machine->dram_latency);
    } else
      done = s->now + (u64)s->machine->l2_latency;
  }
  w->scalar_done = later(w->scalar_done, done);
}

/* When a wait instruction is over; the wait goes to what it was for. */
static u64 waited(State* s, Wave* w, const Instruction* i) {
  u64 loads = s->now, shared = s->now;
  if (i->wait_loads >= 0) loads = landed(&w->loads, s->now, (u32)i->wait_loads);
  if (i->wait_lds >= 0) shared = landed(&w->shared, s->now, (u32)i->wait_lds);
  if (i->wait_lds == 0) shared = later(shared, w->scalar_done);
  if (loads > s->now && loads >= shared) s->report->wait_loads += loads - s->now;
  if (shared > loads) s->report->wait_lds += shared - s->now;
  return later(loads, shared);
}

typedef struct {
  int valu, scalar, memory, lds, branch;
} Used; /* by a SIMD in this cycle */

static int unit_free(const State* s, const Used* used, u32 unit, u32 cache) {
  switch (unit) {
    case VALU: return !used->valu;
    case SALU:
    case SCALAR: return !used->scalar;
    case LOAD:
    case STORE:
    case ATOMIC: return !used->memory && s->request_free[cache] <= s->now + BACKLOG;
    case LDS: return !used->lds && s->lds_free[cache % 2] <= s->now + BACKLOG;
    case BRANCH: return !used->branch;
  }
  return 1;
}

static void execute(State* s, Wave* w, const Instruction* i, u32 lines, Used* used, u32 cache) {
  w->ready = s->now + 1;
  switch (i->unit) {
    case VALU:
      used->valu = 1;
      s->valu_free[w->simd] = s->now + i->issue;
      s->report->valu_cycles += i->issue;
      write_registers(w, i, s->now + i->latency + i->issue - 1);
      break;
    case SALU:
      used->scalar = 1;
      write_registers(w, i, s->now + SALU_LATENCY);
      break;
    case SCALAR:
      used->scalar = 1;
      load_scalar(s, w, lines);
      break;
    case LOAD:
    case ATOMIC:
      used->memory = 1;
      load(s, w, i, lines, cache);
      break;
    case STORE:
      used->memory = 1;
      store(s, lines, cache);
      break;
    case LDS:
      used->lds = 1;
      share(s, w, lines, cache % 2);
      break;
    case INVALIDATE: memset(s->caches[cache].tag, 255, sizeof s->caches[cache].tag); break;
    case BRANCH:
      used->branch = 1;
      w->ready = s->now + BRANCH_CYCLES;
      break;
    case BARRIER:
      w->at_barrier = 1;
      if (++s->blocks[w->block].arrived == s->blocks[w->block].waves_left) release(s, w->block);
      break;
  }
}

static int has_lines(u32 unit) { return unit == LOAD || unit == STORE || unit == ATOMIC || unit == SCALAR; }

static void note(const State* s, const Wave* w, u32 unit) {
  if (s->log->used < s->log->room) {
    const u64 until = unit == LOAD ? w->loads.done[(w->loads.end - 1) % IN_FLIGHT] : s->now + 1;
    s->log->events[s->log->used] = (Event){s->now, until, (u32)(w - s->waves), unit};
  }
  s->log->used++;
}

/* One cycle of one wave. Returns whether an instruction was issued; else w->ready says when to look again. */
static int step(State* s, Wave* w, Used* used, u32 cache) {
  const u64 entry = w->entries[w->at];
  const Instruction* i = s->instructions + (entry & 0xffffff);
  const u32 lines = entry >> 24 & 0xffff;
  u64 when;
  if ((when = code_ready(s, w, i)) > s->now) {
    s->report->wait_code += when - s->now;
    w->ready = when;
    return 0;
  }
  if ((when = registers_ready(w, i, s->now)) > s->now) {
    s->report->wait_registers += when - s->now;
    w->ready = when;
    return 0;
  }
  if (i->unit == WAIT && (when = waited(s, w, i)) > s->now) {
    w->ready = when;
    return 0;
  }
  if ((when = counted(w, i->unit, s->now)) > s->now) {
    w->ready = when;
    return 0;
  }
  if (!unit_free(s, used, i->unit, cache)) {
    s->report->wait_units++;
    w->ready = s->now + 1;
    return 0;
  }
  s->report->issued++;
  execute(s, w, i, lines, used, cache);
  if (s->log) note(s, w, i->unit);
  w->at += 1 + (has_lines(i->unit) ? lines : 0);
  if (w->at >= w->count) end_wave(s, w);
  return 1;
}
