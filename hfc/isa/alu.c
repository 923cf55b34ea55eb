/* ALU instructions: fetches sources (constants, modifiers, op_sel, SDWA, DPP), calls the function that pcode.py made,
 * and commits the result under EXEC. */

enum Dpp {
  D_QUAD,
  D_SHL,
  D_SHR,
  D_ROR,
  D_MIRROR,
  D_HMIRROR,
  D_BCAST15,
  D_BCAST31,
  D_WSHL,
  D_WROL,
  D_WSHR,
  D_WROR,
  D_SHARE,
  D_XMASK,
  D_DPP8,
  D_NEWBCAST
};

static i32 dpp_lane(VM* m, Alu* a, u32 l) { /* the lane that lane l reads, -1: none */
  u32 i = l & 15, row = l & ~15u, arg = (u32)a->dpp_argument, ws = m->ws;
  switch (a->dpp_control) {
    case D_QUAD: return (l & ~3u) | (arg >> (2 * (l & 3)) & 3);
    case D_SHL: return i + arg < 16 ? (i32)(l + arg) : -1;
    case D_SHR: return i >= arg ? (i32)(l - arg) : -1;
    case D_ROR: return row | ((i - arg) & 15);
    case D_MIRROR: return row | (15 - i);
    case D_HMIRROR: return row | (i & 8) | (7 - (i & 7));
    case D_BCAST15: return (i32)row - 1;
    case D_BCAST31: return l >= 32 ? 31 : -1;
    case D_WSHL: return l + 1 < ws ? (i32)l + 1 : -1;
    case D_WROL: return (l + 1) & (ws - 1);
    case D_WSHR: return (i32)l - 1;
    case D_WROR: return (l - 1) & (ws - 1);
    case D_SHARE:
    case D_NEWBCAST: return row | arg;
    case D_XMASK: return row | (i ^ arg);
    case D_DPP8: return (l & ~7u) | (a->dpp8 >> (3 * (l & 7)) & 7);
  }
  return -1;
}

/* Moves source 0 between lanes into `out`; returns the lanes that execute. */
static u64 dpp(VM* m, Alu* a, const u32* in, u32* out, u64 ex, u32 rows) {
  u64 on = 0;
  for (u32 l = 0; l < m->ws; l++) {
    if (!(ex >> l & 1)) continue;
    int whole = a->dpp_control == D_DPP8;
    if (!whole && (!((u32)a->row_mask >> (l >> 4) & 1) || !((u32)a->bank_mask >> ((l & 15) >> 2) & 1))) continue;
    i32 j = dpp_lane(m, a, l);
    int valid = j >= 0 && ((ex >> j & 1) || a->fetch_inactive);
    if (!valid && !a->bound_control && !(whole && j >= 0)) continue;
    for (u32 r = 0; r < rows; r++) out[r * m->ws + l] = valid ? in[r * m->ws + j] : 0;
    on |= 1ull << l;
  }
  return on;
}

static u32 sdwa_get(u32 x, u32 sel, int sx) {
  if (sel < 4) {
    x = x >> (8 * sel) & 0xff;
    return sx ? (u32)(i32)(i8)x : x;
  }
  if (sel < 6) {
    x = x >> (16 * (sel - 4)) & 0xffff;
    return sx ? (u32)(i32)(i16)x : x;
  }
  return x;
}

static void shape(const Operand* o, const u32* in, u32* out, u32 ws) {
  u32 n = o->rows * ws, s = o->shape;
  if (in != out) memcpy(out, in, 4 * n);
  if (s & SHAPE_SDWA)
    for (u32 l = 0; l < ws; l++) out[l] = sdwa_get(out[l], o->select, o->extend);
  if (s & SHAPE_HIGH_HALF)
    for (u32 l = 0; l < ws; l++) out[l] >>= 16;
  if (s & SHAPE_HALVES) {
    u32 lo = o->low * 16, hi = o->high * 16;
    for (u32 l = 0; l < ws; l++) out[l] = (out[l] >> lo & 0xffff) | (out[l] >> hi & 0xffff) << 16;
  }
  if (s & SHAPE_ROWS)
    for (u32 l = 0; l < ws; l++) {
      u32 lo = out[o->low * ws + l], hi = out[o->high * ws + l];
      out[l] = lo;
      out[ws + l] = hi;
    }
  if (s & SHAPE_MODIFY)
    for (u32 r = 0; r < o->rows; r++) {
      u32 keep = o->keep[r], flip = o->flip[r], *row = out + r * ws;
      for (u32 l = 0; l < ws; l++) row[l] = (row[l] & keep) ^ flip;
    }
}

static const u32* fetch(VM* m, Wave* w, const Operand* o, u32* tmp) {
  u32 ws = m->ws;
  if (o->reg >= VGPR) {
    const u32* in = reg(m, w, o->reg);
    if (!o->shape) return in;
    shape(o, in, tmp, ws);
    return tmp;
  }
  for (u32 r = 0; r < o->rows; r++) {
    u32 x = o->reg >= 0 ? w->s[o->reg + r] : o->value[r];
    for (u32 l = 0; l < ws; l++) tmp[r * ws + l] = x;
  }
  if (o->shape) shape(o, tmp, tmp, ws);
  return tmp;
}

static void prepare(VM* m, Wave* w, Alu* a, Env* e) {
  e->exec = exec_of(m, w);
  e->vcc = mask_of(m, w, VCC);
  e->carry_in = a->carry_in >= 0 ? mask_of(m, w, a->carry_in) : 0;
  e->scc = w->s[SCC];
  e->mode = w->mode;
  e->m0 = w->s[m->m0];
  e->simm = a->simm;
  e->op_sel = a->op_sel;
  e->op_sel_hi = a->op_sel_hi;
  e->neg = a->neg;
}

static void scalar_alu(VM* m, Wave* w, Alu* a) {
  u32 s[3][2], d[2] = {0, 0}, old[2] = {0, 0};
  Env e;
  prepare(m, w, a, &e);
  for (int i = 0; i < 3; i++) {
    const Operand* o = &a->s[i];
    for (u32 r = 0; r < o->rows; r++) s[i][r] = o->reg >= 0 ? w->s[o->reg + r] : o->value[r];
    if (o->shape) shape(o, s[i], s[i], 1);
  }
  for (u32 r = 0; a->dst >= 0 && r < a->rows; r++) old[r] = w->s[a->dst + r];
  u64 before = e.exec;
  a->fn(d, s[0], s[1], s[2], old, &e);
  w->s[SCC] = e.scc;
  if (e.exec != before) set_mask(m, w, EXEC, e.exec);
  for (u32 r = 0; a->dst >= 0 && r < a->rows; r++) w->s[a->dst + r] = d[r];
}

/* Output modifiers; type 0 f32, 1 f16, 2 two f16, 3 f64. */
static f64 output_modified(f64 x, int clamp, int omod) {
  static const f64 factor[4] = {1, 2, 4, 0.5};
  x *= factor[omod];
  return clamp ? (x > 0 ? x < 1 ? x : 1 : 0) : x; /* NaN clamps to 0 */
}
static void modify_output(Alu* a, u32* d, u32 ws) {
  for (u32 l = 0; l < ws; l++) {
    if (a->out_type == 0)
      d[l] = bits_f32((f32)output_modified(float_f32(d[l]), a->clamp, a->omod));
    else if (a->out_type == 3) {
      u64 v = bits_f64(output_modified(float_f64(d[l] | (u64)d[ws + l] << 32), a->clamp, a->omod));
      d[l] = (u32)v;
      d[ws + l] = (u32)(v >> 32);
    } else {
      u32 lo = bits_f16((f16)output_modified(float_f16((u16)d[l]), a->clamp, a->omod));
      u32 hi = a->out_type == 2 ? bits_f16((f16)output_modified(float_f16((u16)(d[l] >> 16)), a->clamp, a->omod))
                                : d[l] >> 16;
      d[l] = lo | hi << 16;
    }
  }
}

static u32 sdwa_put(u32 old, u32 r, u32 sel, u32 unused) {
  if (sel == 6) return r;
  u32 sh = sel < 4 ? 8 * sel : 16 * (sel - 4), mask = sel < 4 ? 0xff : 0xffff, v = (r & mask) << sh,
      end = sh + (sel < 4 ? 8 : 16);
  if (unused == 2) return (old & ~(mask << sh)) | v;
  if (unused == 1 && r & (mask + 1) >> 1 && end < 32) return v | ~0u << end;
  return v;
}

static void commit(VM* m, Wave* w, Alu* a, const u32* out, u64 on) {
  u32 ws = m->ws;
  for (u32 r = 0; r < a->rows; r++) {
    u32* d = reg(m, w, a->dst) + r * ws;
    const u32* x = out + r * ws;
    for (u32 l = 0; l < ws; l++) {
      u32 old = d[l], v = x[l];
      if (a->sdwa_select != 6)
        v = sdwa_put(old, v, a->sdwa_select, a->sdwa_unused);
      else if (a->half == LOW_HALF)
        v = (old & 0xffff0000u) | (v & 0xffff);
      else if (a->half == HIGH_HALF)
        v = (old & 0xffff) | v << 16;
      d[l] = on >> l & 1 ? v : old;
    }
  }
}

/* Runs the operation; the result goes to `out`, or straight to the register when every lane writes all of it. */
static u64 vector_compute(VM* m, Wave* w, Alu* a, Env* e, u32* out, int direct) {
  u32 tmp[3][2 * MAX_WAVE], halves[MAX_WAVE], ws = m->ws;
  const u32 *src[3] = {tmp[0], tmp[1], tmp[2]}, *old = out;
  prepare(m, w, a, e);
  u64 on = e->exec, full = ws == 64 ? ~0ull : 0xffffffffull;
  for (int i = 0; i < 3; i++) {
    if (!a->s[i].rows) continue;
    if (i == 0 && a->dpp) {
      u32 moved[2 * MAX_WAVE];
      memset(moved, 0, sizeof moved);
      on = dpp(m, a, reg(m, w, a->s[0].reg), moved, on, a->s[0].rows);
      shape(&a->s[0], moved, tmp[0], ws);
    } else
      src[i] = fetch(m, w, &a->s[i], tmp[i]);
  }
  if (a->reads_old) {
    old = reg(m, w, a->dst);
    if (a->half == HIGH_HALF) {
      for (u32 l = 0; l < ws; l++) halves[l] = old[l] >> 16;
      old = halves;
    }
  }
  direct &= on == full && a->half == WHOLE && a->sdwa_select == 6 && !a->clamp && !a->omod;
  a->fn(a->rows && direct ? reg(m, w, a->dst) : out, src[0], src[1], src[2], old, e);
  if (a->clamp || a->omod) modify_output(a, out, ws);
  return direct ? 0 : on;
}

static void vector_finish(VM* m, Wave* w, Alu* a, Env* e, const u32* out, u64 on) {
  if (a->rows && on) commit(m, w, a, out, on);
  if (a->mask && a->dst >= 0) set_mask(m, w, a->dst, e->mask_out & e->exec);
  if (a->carry_out >= 0) set_mask(m, w, a->carry_out, e->carry_out & e->exec);
  if (a->exec_out) set_mask(m, w, EXEC, e->exec_out & e->exec);
}

static void alu(VM* m, Wave* w, Alu* a) {
  u32 out[2 * MAX_WAVE], second[2 * MAX_WAVE];
  Env e, f;
  if (a->scalar) {
    scalar_alu(m, w, a);
    return;
  }
  u64 on = vector_compute(m, w, a, &e, out, !a->next);
  if (a->next) { /* both halves of a pair read before either writes */
    u64 on2 = vector_compute(m, w, a->next, &f, second, 0);
    vector_finish(m, w, a->next, &f, second, on2);
  }
  vector_finish(m, w, a, &e, out, on);
}
