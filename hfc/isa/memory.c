/* Memory instructions: global, flat, scratch, buffer, LDS and scalar, each access checked, and atomics. */

static inline int ok_range(VM* m, u64 a, u32 n, int write) {
  if (!m->check) return 1;
  Range* r = m->ranges + m->last;
  if (a >= r->lo && a + n <= r->hi) return !write || r->writable ? 1 : -1;
  for (u32 i = 0; i < m->nranges; i++) {
    r = m->ranges + i;
    if (a >= r->lo && a + n <= r->hi) {
      m->last = i;
      return !write || r->writable ? 1 : -1;
    }
  }
  return 0;
}

static u16 add_f16(u16 a, u16 b) { return bits_f16((f16)(float_f16(a) + float_f16(b))); }
static u32 add_bf16(u16 a, u16 b) { return f32_to_bf16(bf16_to_f32(a) + bf16_to_f32(b)); }

enum Atom {
  A_ADD,
  A_SUB,
  A_SMIN,
  A_UMIN,
  A_SMAX,
  A_UMAX,
  A_AND,
  A_OR,
  A_XOR,
  A_INC,
  A_DEC,
  A_SWAP,
  A_CMPSWAP,
  A_FADD,
  A_FMIN,
  A_FMAX,
  A_PKF16,
  A_PKBF16,
  A_RSUB,
  A_SUBCLAMP,
  A_CONDSUB,
  A_CMPST_REV
};

/* One atomic on memory `q` of 4 or 8 bytes; d: new value (+ compare value after it); old value goes to `old`. */
static void atomic(u32 op, u8* q, u32 n, const u32* d, u32* old) {
  u64 o = 0, v = 0, c = 0, r = 0;
  memcpy(&o, q, n);
  memcpy(&v, d, n);
  memcpy(&c, (const u8*)d + n, n);
  i64 so = n == 4 ? (i32)o : (i64)o, sv = n == 4 ? (i32)v : (i64)v;
  switch (op) {
    case A_ADD: r = o + v; break;
    case A_SUB: r = o - v; break;
    case A_RSUB: r = v - o; break;
    case A_SMIN: r = so < sv ? o : v; break;
    case A_SMAX: r = so > sv ? o : v; break;
    case A_UMIN: r = o < v ? o : v; break;
    case A_UMAX: r = o > v ? o : v; break;
    case A_AND: r = o & v; break;
    case A_OR: r = o | v; break;
    case A_XOR: r = o ^ v; break;
    case A_INC: r = o >= v ? 0 : o + 1; break;
    case A_DEC: r = o == 0 || o > v ? v : o - 1; break;
    case A_SWAP: r = v; break;
    case A_CMPSWAP: r = o == c ? v : o; break;
    case A_CMPST_REV: r = o == v ? c : o; break; /* ds_cmpst: compare value first */
    case A_SUBCLAMP: r = o < v ? 0 : o - v; break;
    case A_CONDSUB: r = o >= v ? o - v : o; break;
    case A_FADD:
    case A_FMIN:
    case A_FMAX:
      if (n == 4) {
        float a, b, x;
        memcpy(&a, &o, 4);
        memcpy(&b, &v, 4);
        x = op == A_FADD ? a + b : op == A_FMIN ? fminf(a, b) : fmaxf(a, b);
        memcpy(&r, &x, 4);
      } else {
        double a, b, x;
        memcpy(&a, &o, 8);
        memcpy(&b, &v, 8);
        x = op == A_FADD ? a + b : op == A_FMIN ? fmin(a, b) : fmax(a, b);
        memcpy(&r, &x, 8);
      }
      break;
    case A_PKF16: r = add_f16((u16)o, (u16)v) | (u32)add_f16((u16)(o >> 16), (u16)(v >> 16)) << 16; break;
    case A_PKBF16: r = add_bf16((u16)o, (u16)v) | add_bf16((u16)(o >> 16), (u16)(v >> 16)) << 16; break;
  }
  memcpy(q, &r, n);
  memcpy(old, &o, n);
}

enum { FL_RET = 1, FL_D16LO = 2, FL_D16HI = 4, FL_SEXT = 8, FL_STHI = 16 };

/* Move n bytes at q to lane registers from `dst` on, with sub-dword extension / D16 merging. */
static inline void put(VM* m, Wave* w, i32 dst, u32 lane, const u8* q, u32 n, u32 fl) {
  u32* d = reg(m, w, dst) + lane;
  if (n >= 4) {
    for (u32 i = 0; i < n / 4; i++) memcpy(d + i * m->ws, q + 4 * i, 4);
    return;
  }
  u32 x = 0;
  memcpy(&x, q, n);
  if (fl & FL_SEXT) x = n == 1 ? (u32)(i32)(i8)x : (u32)(i32)(i16)x;
  if (fl & FL_D16LO)
    x = (*d & 0xffff0000u) | (x & 0xffff);
  else if (fl & FL_D16HI)
    x = (*d & 0xffffu) | x << 16;
  *d = x;
}
static inline void get(VM* m, Wave* w, i32 src, u32 lane, u8* q, u32 n, u32 fl) {
  u32* d = reg(m, w, src) + lane;
  if (n >= 4) {
    for (u32 i = 0; i < n / 4; i++) memcpy(q + 4 * i, d + i * m->ws, 4);
    return;
  }
  u32 x = fl & FL_STHI ? *d >> 16 : *d;
  memcpy(q, &x, n);
}

/* vector memory: p = space, op, dst, vaddr, vaddr_is64, saddr, vdata, flags, bytes, atomic, soffset, offen, idxen */
enum { SP_GLOBAL, SP_FLAT, SP_SCRATCH, SP_BUFFER };
static int vmem(VM* m, Wave* w, Inst* I) {
  const i32* p = I->p;
  u64 ex = exec_of(m, w), lines[160];
  u32 nl = 0, n = p[8];
  u64 sbase = 0, nrec = 0;
  u32 stride = 0, soff = 0;
  int scr_buf = 0;
  if (p[0] == SP_BUFFER) {
    sbase = (w->s[p[5]] | (u64)w->s[p[5] + 1] << 32) & 0xffffffffffffull;
    stride = w->s[p[5] + 1] >> 16 & 0x3fff;
    nrec = w->s[p[5] + 2];
    soff = sval(w, I, p[10]);
    scr_buf = (w->s[p[5] + 1] & 0xffff) == SCRATCH_RSRC_HI;
    if (scr_buf && p[10] < 128) soff /= m->ws; /* stack pointers count bytes of the whole wave */
  } else if (p[5] >= 0)
    sbase = p[0] == SP_SCRATCH ? w->s[p[5]] : s64(w, p[5]);
  for (u32 l = 0; l < m->ws; l++) {
    if (!(ex >> l & 1)) continue;
    u64 a;
    u8* q = 0;
    int sp = p[0];
    u32 tmp[8];
    if (sp == SP_SCRATCH)
      a = (u32)(sbase + (p[3] >= 0 ? reg(m, w, p[3])[l] : 0) + (u32)I->imm);
    else if (sp == SP_BUFFER) {
      u32 vi = 0, vo = 0;
      i32 r = p[3];
      if (p[12]) vi = reg(m, w, r++)[l];
      if (p[11]) vo = reg(m, w, r)[l];
      u64 off = (u64)vo + (u64)I->imm;
      if (scr_buf) {
        a = off + soff;
        sp = SP_SCRATCH;
      } else {
        if (stride ? vi >= nrec || off + n > stride : off + n > nrec) { /* out of range: loads give 0, stores vanish */
          if (p[1] != 1 && p[2] >= 0) {
            memset(tmp, 0, sizeof tmp);
            put(m, w, p[2], l, (u8*)tmp, n, p[7]);
          }
          continue;
        }
        a = sbase + soff + (u64)stride * vi + off;
        sp = SP_GLOBAL;
      }
    } else {
      u64 va = p[3] >= 0 ? reg(m, w, p[3])[l] : 0;
      if (p[4]) va |= (u64)reg(m, w, p[3] + 1)[l] << 32;
      a = sbase + va + (u64)I->imm;
      if (sp == SP_FLAT && (u32)(a >> 32) == SHARED_HI) {
        u32 o = (u32)a;
        if ((u64)o + n > m->lds_size) return fault(m, F_LDS, o, l, n);
        q = w->lds + o;
      } else if (sp == SP_FLAT && (u32)(a >> 32) == PRIVATE_HI) {
        sp = SP_SCRATCH;
        a = (u32)a;
      }
    }
    if (sp == SP_SCRATCH) {
      if (a + n > m->scratch_stride) return fault(m, F_SCRATCH, a, l, n);
      q = w->scratch + (u64)l * m->scratch_stride + a;
    } else if (!q) {
      int k = ok_range(m, a, n, p[1] != 0);
      if (k != 1) return fault(m, k ? F_READONLY : F_GLOBAL, a, l, n);
      q = (u8*)a;
      if (a & ((n >= 4 ? 4 : n) - 1)) m->unaligned++;
      if (m->profile) {
        for (u64 x = a / m->line; x <= (a + n - 1) / m->line; x++) {
          u32 j = 0;
          while (j < nl && lines[nl - 1 - j] != x) j++;
          if (j == nl && nl < 160) lines[nl++] = x;
        }
      }
    }
    I->bytes += n;
    if (p[1] == 0)
      put(m, w, p[2], l, q, n, p[7]);
    else if (p[1] == 1)
      get(m, w, p[6], l, q, n, p[7]);
    else {
      u32 d[8], old[2];
      int cas = p[9] == A_CMPSWAP;
      get(m, w, p[6], l, (u8*)d, cas ? 2 * n : n, 0);
      atomic(p[9], q, n, d, old);
      if (p[7] & FL_RET) put(m, w, p[2], l, (u8*)old, n, 0);
    }
  }
  I->lines += nl;
  if (m->trace) {
    trace_lines(m, nl);
    for (u32 i = 0; i < nl; i++) trace_add(m, lines[i]);
  }
  return -1;
}

/* LDS: p = op, dst, addr, data0, data1, offset0, offset1, bytes, flags, stride, atomic */
enum {
  DS_LOAD,
  DS_STORE,
  DS_ATOMIC,
  DS_LOAD2,
  DS_STORE2,
  DS_BPERMUTE,
  DS_PERMUTE,
  DS_SWIZZLE,
  DS_LOADTID,
  DS_STORETID,
  DS_XCHG2
};
static int ds(VM* m, Wave* w, Inst* I) {
  const i32* p = I->p;
  u64 ex = exec_of(m, w);
  u32 ws = m->ws, n = p[7], tmp[64];
  if (p[0] == DS_BPERMUTE || p[0] == DS_PERMUTE || p[0] == DS_SWIZZLE) {
    memset(tmp, 0, sizeof tmp);
    u32 *dst = reg(m, w, p[1]), off = (u32)I->imm;
    if (p[0] == DS_SWIZZLE) {
      u32* src = reg(m, w, p[2]);
      for (u32 l = 0; l < ws; l++) {
        u32 j;
        if (off >= 0xe000)
          j = l; /* FFT mode: not modelled */
        else if (off >= 0xc000) {
          u32 mask = off & 31, r = off >> 5 & 31;
          j = (l & 32) | (((off >> 10 & 1) ? l - r : l + r) & ~mask & 31) | (l & mask);
        } else if (off & 0x8000)
          j = (l & ~3u) | (off >> (2 * (l & 3)) & 3);
        else
          j = (l & 32) | ((((l & 31) & (off & 31)) | (off >> 5 & 31)) ^ (off >> 10 & 31));
        tmp[l] = ex >> j & 1 ? src[j] : 0;
      }
    } else {
      u32 *ad = reg(m, w, p[2]), *src = reg(m, w, p[3]);
      for (u32 l = 0; l < ws; l++) {
        if (!(ex >> l & 1)) continue;
        u32 j = ((ad[l] + off) >> 2) & (ws - 1);
        if (p[0] == DS_BPERMUTE)
          tmp[l] = ex >> j & 1 ? src[j] : 0;
        else
          tmp[j] = src[l];
      }
    }
    for (u32 l = 0; l < ws; l++)
      if (ex >> l & 1) dst[l] = tmp[l];
    return -1;
  }
  u32 words[64][4], nw[64];
  u32 act = 0;
  for (u32 l = 0; l < ws; l++) {
    nw[l] = 0;
    if (!(ex >> l & 1)) continue;
    u64 base = p[0] == DS_LOADTID || p[0] == DS_STORETID ? (w->s[m->m0] & 0xffff) + 4 * l : reg(m, w, p[2])[l], a[2];
    int two = p[0] == DS_LOAD2 || p[0] == DS_STORE2 || p[0] == DS_XCHG2;
    a[0] = two ? base + (u64)p[5] * p[9] : (u32)(base + (u64)I->imm);
    a[1] = base + (u64)p[6] * p[9];
    for (int k = 0; k <= two; k++)
      if (a[k] + n > m->lds_size) return fault(m, F_LDS, a[k], l, n);
    u8 *q = w->lds + a[0], *q1 = w->lds + a[1];
    u32 d[8], old[2];
    I->bytes += two ? 2 * n : n;
    if (m->profile) {
      nw[l] = (n + 3) / 4;
      for (u32 i = 0; i < nw[l] && i < 4; i++) words[l][i] = (u32)(a[0] / 4 + i);
      act++;
    }
    switch (p[0]) {
      case DS_LOAD:
      case DS_LOADTID: put(m, w, p[1], l, q, n, p[8]); break;
      case DS_STORE:
      case DS_STORETID: get(m, w, p[3], l, q, n, p[8]); break;
      case DS_LOAD2: {
        u8 b[16];
        memcpy(b, q, n);
        memcpy(b + n, q1, n);
        put(m, w, p[1], l, b, 2 * n, 0);
        break;
      }
      case DS_STORE2:
        get(m, w, p[3], l, q, n, 0);
        get(m, w, p[4], l, q1, n, 0);
        break;
      case DS_ATOMIC:
        get(m, w, p[3], l, (u8*)d, n, 0);
        if (p[4] >= 0) get(m, w, p[4], l, (u8*)d + n, n, 0);
        atomic(p[10], q, n, d, old);
        if (p[8] & FL_RET) put(m, w, p[1], l, (u8*)old, n, 0);
        break;
      case DS_XCHG2: {
        u8 b[16];
        memcpy(b, q, n);
        memcpy(b + n, q1, n);
        get(m, w, p[3], l, q, n, 0);
        get(m, w, p[4], l, q1, n, 0);
        put(m, w, p[1], l, b, 2 * n, 0);
        break;
      }
    }
  }
  if (m->profile && act) { /* LDS passes: groups of lanes moving at most 128 bytes, each as slow as its busiest bank */
    u32 per = n <= 4 ? 32 : n <= 8 ? 16 : 8, wpl = n <= 4 ? 1 : n / 4, passes = 0;
    for (u32 l0 = 0; l0 < ws; l0 += per) {
      u32 seen[256], cnt[32] = {0}, ns = 0, mx = 0;
      for (u32 l = l0; l < l0 + per && l < ws; l++)
        if (nw[l])
          for (u32 i = 0; i < wpl; i++) {
            u32 x = words[l][i], j = 0;
            while (j < ns && seen[j] != x) j++;
            if (j == ns) {
              seen[ns++] = x;
              u32 c = ++cnt[x & 31];
              if (c > mx) mx = c;
            }
          }
      passes += mx;
    }
    I->lines += passes;
    trace_lines(m, passes);
  }
  return -1;
}

/* scalar memory: p = sdst, sbase, soffset, bytes, sext, is_buffer */
static int smem(VM* m, Wave* w, Inst* I) {
  const i32* p = I->p;
  u32 n = p[3];
  u64 off = (u64)I->imm + (p[2] >= 0 ? (p[2] >= 1000 ? (u32)I->lit[p[2] - 1000] : w->s[p[2]]) : 0), a = s64(w, p[1]);
  if (p[5]) a &= 0xffffffffffffull;
  a += off;
  if (n >= 4) a &= ~3ull;
  if (p[5] && off + n > w->s[p[1] + 2]) {
    for (u32 i = 0; i < (n + 3) / 4; i++) {
      u32 x = 0;
      if (off + 4 * i + 4 <= w->s[p[1] + 2]) memcpy(&x, (u8*)a + 4 * i, 4);
      w->s[p[0] + i] = x;
    }
    return -1;
  }
  /* The compiler may widen scalar loads past the data (only within the aligned block): check the first dword only. */
  if (ok_range(m, a, n < 4 ? n : 4, 0) != 1) return fault(m, F_GLOBAL, a, 0, n);
  I->bytes += n;
  if (m->trace) {
    trace_lines(m, 1);
    trace_add(m, a / m->line);
  }
  if (n >= 4) {
    u8 t[64];
    memcpy(t, (u8*)a, n);
    memcpy(w->s + p[0], t, n);
  } else {
    u32 x = 0;
    memcpy(&x, (u8*)a, n);
    if (p[4]) x = n == 1 ? (u32)(i32)(i8)x : (u32)(i32)(i16)x;
    w->s[p[0]] = x;
  }
  return -1;
}
