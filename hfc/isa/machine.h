/* State and records of the emulator's core; machine.py mirrors the structs. Everything reports through return codes. */
#include "semantics.h"

enum Kind {
  K_NONE,
  K_ALU,
  K_NOP,
  K_END,
  K_BARRIER,
  K_BRANCH,
  K_GETPC,
  K_SETPC,
  K_SWAPPC,
  K_CALL,
  K_SMEM,
  K_VMEM,
  K_DS,
  K_MATRIX,
  K_LANE,
  K_SETREG,
  K_GETREG,
  K_TRAP,
  K_TIME,
  K_APERTURE,
  K_CVT8
};
enum Status { ST_BUDGET, ST_BARRIER, ST_END, ST_NEED, ST_FAULT, ST_TRAP, ST_DEADLOCK };
enum Fault { F_NONE, F_GLOBAL, F_LDS, F_SCRATCH, F_PC, F_READONLY, F_WMMA_REPL, F_ILLEGAL };
enum { SHARED_HI = 0x10000, PRIVATE_HI = 0x20000, SCRATCH_RSRC_HI = 0xBAD5 };
enum { VCC = 106, EXEC = 126, SCC = 253, JUNK = 251, VGPR = 256, AGPR = 512, LITERAL = 1000, MAX_WAVE = 64 };

/* A source of an ALU instruction and what is done to it before the operation. */
enum Shape { SHAPE_MODIFY = 1, SHAPE_HIGH_HALF = 2, SHAPE_HALVES = 4, SHAPE_ROWS = 8, SHAPE_SDWA = 16 };
typedef struct {
  i32 reg;                        /* register code, or -1: `value` */
  u32 value[2], keep[2], flip[2]; /* modifiers: row = row & keep ^ flip */
  u8 rows, shape, select, extend; /* 32-bit rows (0: unused); SDWA selector and sign extension */
  u8 low, high, pad[2];           /* SHAPE_HALVES / SHAPE_ROWS: which half (row) goes where */
} Operand;

enum Half { WHOLE, LOW_HALF, HIGH_HALF };
typedef struct Alu {
  void (*fn)(u32*, const u32*, const u32*, const u32*, const u32*, Env*);
  struct Alu* next; /* the second half of a dual-issue pair */
  u64 dpp8;
  Operand s[3];
  i32 dst, carry_in, carry_out, simm; /* -1: none */
  u32 op_sel, op_sel_hi, neg;
  u8 scalar, rows, half, reads_old, mask, exec_out, clamp, omod, out_type, sdwa_select, sdwa_unused, dpp;
  i32 dpp_control, dpp_argument, row_mask, bank_mask, bound_control, fetch_inactive;
} Alu;

typedef struct Inst {
  Alu* alu;
  i64 imm;
  u64 count, lanes, bytes, lines; /* profile: executions, active lanes, bytes moved, cache lines / LDS passes */
  i32 p[20];
  i32 lit[4];
  u16 kind, size;
  u32 pad;
} Inst;

typedef struct {
  u64 lo, hi;
  u32 writable, pad;
} Range;

typedef struct {
  u32 *s, *v, *a;
  u8 *lds, *scratch;
  u64 pc, icount;
  u32 state, mode, group, id;
  u32 index, pad;
} Wave;

typedef struct {
  Inst* prog;
  u64 base, n;
  Range* ranges;
  u32 nranges, last;
  u32 ws, lds_size, scratch_stride, m0;
  u32 check, profile, line, strict_wmma;
  u64 fault_addr, fault_pc, limit, unaligned;
  u32 fault, fault_lane, fault_bytes, wave;
  u64* trace;                          /* or null: what was executed, see isa/trace.py */
  u64 traced, trace_room, trace_entry; /* entries written or lost, room for them, the last instruction's */
} VM;

static inline void trace_add(VM* m, u64 entry) {
  if (m->traced < m->trace_room) m->trace[m->traced] = entry;
  m->traced++;
}
static inline void trace_lines(VM* m, u64 count) { /* of the last instruction: cache lines, or LDS passes */
  if (m->trace && m->trace_entry < m->trace_room) m->trace[m->trace_entry] |= count << 24;
}

static inline u64 exec_of(VM* m, Wave* w) { return m->ws == 64 ? w->s[EXEC] | (u64)w->s[EXEC + 1] << 32 : w->s[EXEC]; }
static inline void set_mask(VM* m, Wave* w, i32 reg, u64 mask) {
  w->s[reg] = (u32)mask;
  if (m->ws == 64) w->s[reg + 1] = (u32)(mask >> 32);
}
static inline u64 mask_of(VM* m, Wave* w, i32 reg) {
  return m->ws == 64 ? w->s[reg] | (u64)w->s[reg + 1] << 32 : w->s[reg];
}
static inline u32* reg(VM* m, Wave* w, i32 r) {
  return r >= AGPR ? w->a + (u64)(r - AGPR) * m->ws : w->v + (u64)(r - VGPR) * m->ws;
}
static inline u32 sval(Wave* w, Inst* I, i32 c) { return c >= LITERAL ? (u32)I->lit[c - LITERAL] : w->s[c]; }
static inline u32 lval(VM* m, Wave* w, Inst* I, i32 c, u32 lane) {
  return c >= LITERAL ? (u32)I->lit[c - LITERAL] : c >= VGPR ? reg(m, w, c)[lane] : w->s[c];
}
static inline u64 s64(Wave* w, i32 r) { return w->s[r] | (u64)w->s[r + 1] << 32; }

static inline int fault(VM* m, u32 kind, u64 addr, u32 lane, u32 bytes) {
  m->fault = kind;
  m->fault_addr = addr;
  m->fault_lane = lane;
  m->fault_bytes = bytes;
  return ST_FAULT;
}
