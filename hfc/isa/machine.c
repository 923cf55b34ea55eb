/* The emulator core: runs waves of AMDGPU code on plain CPU memory, with barriers, schedules and checks. */
#include "machine.h"

static inline void set_mode(Wave* w) { /* MODE: round[1:0], denorm f32 [5:4] -> host FP environment */
#if defined(__x86_64__)
  static const u32 rc[4] = {0, 0x4000, 0x2000, 0x6000}; /* ne, +inf, -inf, zero */
  u32 x = 0x1f80 | rc[w->mode & 3];
  if (!((w->mode >> 4) & 3)) x |= 0x8040;
  __builtin_ia32_ldmxcsr(x);
#endif
}

#include "memory.c"
#include "fp8.c"
#include "alu.c"
#include "lanes.c"
#include "matrix.c"
#include "start.c"

/* branch: p[0] = condition (0 always, 1 scc0, 2 scc1, 3 vccz, 4 vccnz, 5 execz, 6 execnz), imm = byte delta from this
 * pc */
static int taken(VM* m, Wave* w, i32 c) {
  u64 vcc = m->ws == 64 ? s64(w, VCC) : w->s[VCC];
  switch (c) {
    case 0: return 1;
    case 1: return !w->s[SCC];
    case 2: return w->s[SCC] != 0;
    case 3: return !vcc;
    case 4: return vcc != 0;
    case 5: return !exec_of(m, w);
    case 6: return exec_of(m, w) != 0;
  }
  return 0;
}

int vm_run(VM* m, Wave* w, u64 budget) {
  int r;
  set_mode(w);
  for (u64 step = 0; step < budget; step++) {
    u64 idx = (w->pc - m->base) >> 2;
    if (idx >= m->n) return fault(m, F_PC, w->pc, 0, 0);
    Inst* I = m->prog + idx;
    m->fault_pc = w->pc;
    if (I->kind == K_NONE) return ST_NEED;
    if (m->profile) I->lanes += __builtin_popcountll(exec_of(m, w));
    I->count++;
    w->icount++;
    if (m->trace) {
      m->trace_entry = m->traced;
      trace_add(m, idx | (u64)w->id << 40);
    }
    switch (I->kind) {
      case K_ALU: alu(m, w, I->alu); break;
      case K_NOP: break;
      case K_END: w->state = ST_END; return ST_END;
      case K_BARRIER:
        w->pc += I->size;
        w->state = ST_BARRIER;
        return ST_BARRIER;
      case K_BRANCH: w->pc += taken(m, w, I->p[0]) ? (u64)I->imm : I->size; continue;
      case K_GETPC: {
        u64 x = w->pc + I->size;
        w->s[I->p[0]] = (u32)x;
        w->s[I->p[0] + 1] = (u32)(x >> 32);
        break;
      }
      case K_SETPC: w->pc = s64(w, I->p[0]); continue;
      case K_SWAPPC: {
        u64 x = w->pc + I->size, y = s64(w, I->p[1]);
        w->s[I->p[0]] = (u32)x;
        w->s[I->p[0] + 1] = (u32)(x >> 32);
        w->pc = y;
        continue;
      }
      case K_CALL: {
        u64 x = w->pc + I->size;
        w->s[I->p[0]] = (u32)x;
        w->s[I->p[0] + 1] = (u32)(x >> 32);
        w->pc += (u64)I->imm;
        continue;
      }
      case K_SMEM:
        if ((r = smem(m, w, I)) >= 0) return r;
        break;
      case K_VMEM:
        if ((r = vmem(m, w, I)) >= 0) return r;
        break;
      case K_DS:
        if ((r = ds(m, w, I)) >= 0) return r;
        break;
      case K_MATRIX:
        if ((r = matrix(m, w, I)) >= 0) return r;
        break;
      case K_LANE: lane_op(m, w, I); break;
      case K_CVT8: cvt8(m, w, I); break;
      case K_SETREG: { /* p = first bit, width, source; MODE register only */
        u32 mask = (I->p[1] >= 32 ? ~0u : (1u << I->p[1]) - 1) << I->p[0];
        w->mode = (w->mode & ~mask) | (sval(w, I, I->p[2]) << I->p[0] & mask);
        set_mode(w);
        break;
      }
      case K_GETREG:
        w->s[I->p[0]] = I->p[3] == 1    ? w->mode >> I->p[1] & ((2u << (I->p[2] - 1)) - 1)
                        : I->p[3] == 29 ? (u32)w->icount
                                        : 0;
        break;
      case K_TIME:
        w->s[I->p[0]] = (u32)w->icount;
        w->s[I->p[0] + 1] = (u32)(w->icount >> 32);
        break;
      case K_APERTURE:
        w->s[I->p[0]] = 0;
        w->s[I->p[0] + 1] = I->p[1];
        break;
      case K_TRAP: return ST_TRAP;
      default: return fault(m, F_ILLEGAL, w->pc, 0, 0);
    }
    w->pc += I->size;
  }
  return ST_BUDGET;
}

/* Run a set of resident waves to completion.  quantum 0: each wave runs to its next barrier or end; otherwise waves
 * take turns of `quantum` instructions, in index order or reversed.  On ST_NEED/ST_FAULT/ST_TRAP m->wave is the wave.
 */
int vm_sched(VM* m, Wave* ws, u32 n, u64 quantum, u32 reverse, u32* alive, u32* arrived) {
#if defined(__x86_64__)
  u32 csr = __builtin_ia32_stmxcsr();
#endif
  int ret = -1;
  for (;;) {
    u32 left = 0, ran = 0;
    for (u32 k = 0; k < n && ret < 0; k++) {
      u32 i = reverse ? n - 1 - k : k;
      Wave* w = ws + i;
      if (w->state == ST_END) continue;
      left++;
      if (w->state == ST_BARRIER) continue;
      ran++;
      int r = vm_run(m, w, quantum ? quantum : m->limit);
      if (r == ST_END) {
        alive[w->group]--;
      } else if (r == ST_BARRIER)
        arrived[w->group]++;
      else if (r != ST_BUDGET || w->icount >= m->limit) {
        m->wave = i;
        ret = r;
        break;
      }
      if ((r == ST_END || r == ST_BARRIER) && arrived[w->group] && arrived[w->group] == alive[w->group]) {
        for (u32 j = 0; j < n; j++)
          if (ws[j].group == w->group && ws[j].state == ST_BARRIER) ws[j].state = ST_BUDGET;
        arrived[w->group] = 0;
      }
    }
    if (ret >= 0) break;
    if (!left) {
      ret = ST_END;
      break;
    }
    if (!ran) {
      ret = ST_DEADLOCK;
      break;
    }
  }
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(csr);
#endif
  return ret;
}

u64 vm_sizes(u32 which) {
  static const u64 sizes[] = {sizeof(Inst), sizeof(Wave),    sizeof(VM),   sizeof(Range),
                              sizeof(Alu),  sizeof(Operand), sizeof(Start)};
  return sizes[which];
}
