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
  u64 cycle, until; /* until: when a load's data are there, else the next cycle */
  u32 wave, unit;   /* wave: its place on the unit, which a later wave may take over */
} Event;

typedef struct {
  Event* events;
  u64 room, used; /* used counts on where there is no room */
} Log;            /* every instruction that was issued */

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
  Log* log; /* or none */
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
