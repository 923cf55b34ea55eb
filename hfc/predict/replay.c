/* The time of thread blocks on one unit of a GPU (a WGP of RDNA, a CU of GCN), replayed from what their waves executed.
 *
 * A SIMD issues one instruction of each kind a cycle, from its waves in turn. An instruction waits for the registers that it
 * reads, for its unit, and for its line of code. Loads pass an L0 cache; a line's first touch in memory that comes from DRAM
 * takes this unit's share of the bandwidth, everything else comes from L2. Times are cycles. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t u64;
typedef uint32_t u32;
typedef uint16_t u16;
typedef uint8_t u8;
typedef int32_t i32;

enum Unit { VALU, SALU, SCALAR, LOAD, STORE, ATOMIC, LDS, BRANCH, WAIT, BARRIER, INVALIDATE, NONE };
enum { REGISTERS = 768, IN_FLIGHT = 128, RANGES = 16, L0_LINES = 1024, WAYS = 4, CODE_LINES = 256, MOST_SIMDS = 8, MOST_CACHES = 4 };
enum { MOST_IN_FLIGHT = 63 }; /* what a wave's counters can hold */
enum { SALU_LATENCY = 2, BRANCH_CYCLES = 4, BARRIER_CYCLES = 8, START_CYCLES = 30, BACKLOG = 8, STORE_CYCLES = 4 };
#define NEVER (~0ull)

typedef struct {
  u8 unit, issue, latency, writes, reads, pad;
  i32 wait_loads, wait_lds, wait_stores;
  u16 written[4][2], read[8][2];
  u32 address, bytes;
} Instruction;

typedef struct {
  u32 simds, waves, caches, cache_lines; /* waves: most that a SIMD holds */
  double dram_cycles, l2_cycles;         /* of a line, for this unit */
  double l0_latency, l2_latency, dram_latency, lds_latency, scalar_latency, dispatch_cycles;
  u32 code_line_bytes, code_latency, request_bytes, ranges;
  u64 dram_first[RANGES], dram_end[RANGES]; /* lines whose first touch comes from DRAM */
} Machine;

typedef struct {
  const u64* entries;
  u64 count;
} Stream; /* what one wave of a sampled block executed, see isa/trace.py */

typedef struct {
  u64 cycles, issued, valu_cycles, lds_cycles, request_cycles, dram_lines, l2_lines, l0_hits, l0_misses;
  u64 wait_loads, wait_lds, wait_registers, wait_code, wait_units;
} Report;

typedef struct {
  u64 done[IN_FLIGHT];
  u32 first, end;
} Flight; /* accesses that return in order */

typedef struct {
  int live, at_barrier;
  u32 block, simd, code_line;
  const u64* entries;
  u64 count, at, ready, code_there, scalar_done, registers[REGISTERS];
  Flight loads, shared;
} Wave;

typedef struct {
  u64 tag[L0_LINES], used[L0_LINES], filled[L0_LINES], clock;
} Cache;

typedef struct {
  u32 waves_left, arrived, number;
} Block;

typedef struct {
  const Machine* machine;
  const Instruction* instructions;
  Report* report;
  u64 now, valu_free[MOST_SIMDS], request_free[MOST_CACHES], lds_free[2];
  double dram_free, l2_free;
  u64 code_tag[CODE_LINES], code_filled[CODE_LINES];
  u64 *seen, seen_count, seen_room;
  u64 wake[MOST_SIMDS]; /* no wave of the SIMD can go on before */
  u32 load[MOST_SIMDS], turn[MOST_SIMDS], wave_count, block_count, waves_per_block;
  Wave* waves;
  Block* blocks;
  Cache* caches;
} State;

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
  w->at += 1 + (has_lines(i->unit) ? lines : 0);
  if (w->at >= w->count) end_wave(s, w);
  return 1;
}

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

/* `count` blocks, up to `resident` at once, of which `sampled` were traced. 0, or 1: too long, 2: waves wait for ever, 3: no memory. */
int replay(const Machine* machine, const Instruction* instructions, const Stream* streams, u32 sampled, u32 waves_per_block, u32 count,
           u32 resident, u64 limit, Report* report) {
  State* s = calloc(1, sizeof *s);
  if (!s) return 3;
  memset(report, 0, sizeof *report);
  s->machine = machine, s->instructions = instructions, s->report = report;
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
  static const u64 found[] = {sizeof(Instruction), sizeof(Machine), sizeof(Stream), sizeof(Report), sizeof(Range)};
  return found[which];
}
