/* 8-bit floats: e4m3 and e5m2, in the OCP form or the "fnuz" form (no infinities, no -0) of the first matrix parts. */

static float f16_bits_f32(u16 h) { return (float)float_f16(h); }
static u16 f32_bits_f16(float f) { return bits_f16((f16)f); }

static float fp8_f32(u8 v, int bf8, int fnuz) { /* e4m3 / e5m2, OCP or the fnuz variants of gfx940 */
  int mb = bf8 ? 2 : 3, eb = 7 - mb, bias = (1 << (eb - 1)) - 1 + (fnuz ? 1 : 0);
  int e = (v >> mb) & ((1 << eb) - 1), f = v & ((1 << mb) - 1);
  float r;
  if (fnuz) {
    if (v == 0x80) return NAN;
  } else if (bf8 ? e == 31 : (v & 0x7f) == 0x7f) {
    if (bf8 && !f) return v & 0x80 ? -INFINITY : INFINITY;
    return NAN;
  }
  if (!e)
    r = ldexpf((float)f, 1 - bias - mb);
  else
    r = ldexpf((float)(f + (1 << mb)), e - bias - mb);
  return v & 0x80 ? -r : r;
}

/* fp8 conversions: p = op (0 to f32, 1 pair to f32, 2 pair from f32), dst, src0, src1, bf8, fnuz, select, high half */
static u32 f32_fp8(float f, int bf8,
                   int fnuz) { /* round to nearest even; overflow gives NaN (or infinity for OCP e5m2) */
  int mb = bf8 ? 2 : 3, eb = 7 - mb, bias = (1 << (eb - 1)) - 1 + (fnuz ? 1 : 0), e;
  u32 x;
  memcpy(&x, &f, 4);
  u32 s = x >> 31 << 7, bad = fnuz ? 0x80 : s | 0x7f, inf = fnuz ? 0x80 : bf8 ? s | 0x7c : bad;
  if (f != f) return bad;
  f = fabsf(f);
  if (f == 0) return fnuz ? 0 : s;
  if (isinf(f)) return inf;
  frexpf(f, &e);
  e--;
  if (e < 1 - bias) e = 1 - bias;
  double q = nearbyint(ldexp(f, mb - e));
  if (q >= 2 << mb) {
    q /= 2;
    e++;
  }
  u32 be = q < (1 << mb) ? 0 : (u32)(e + bias), r = be << mb | ((u32)q & ((1u << mb) - 1));
  u32 max = fnuz ? 0x7f : bf8 ? 0x7b : 0x7e;
  if (be >= (1u << eb) || r > max) return inf;
  return r || !fnuz ? s | r : 0;
}
static void cvt8(VM* m, Wave* w, Inst* I) {
  const i32* p = I->p;
  u64 ex = exec_of(m, w);
  for (u32 l = 0; l < m->ws; l++) {
    if (!(ex >> l & 1)) continue;
    u32 x = lval(m, w, I, p[2], l), *d = reg(m, w, p[1]) + l;
    if (p[0] < 2) {
      for (int k = 0; k <= p[0]; k++) {
        float f = fp8_f32((u8)(x >> (p[0] ? 16 * p[6] + 8 * k : 8 * p[6])), p[4], p[5]);
        memcpy(d + k * m->ws, &f, 4);
      }
    } else {
      u32 y = lval(m, w, I, p[3], l);
      float f, g;
      memcpy(&f, &x, 4);
      memcpy(&g, &y, 4);
      u32 h = f32_fp8(f, p[4], p[5]) | f32_fp8(g, p[4], p[5]) << 8;
      *d = p[7] ? (*d & 0xffff) | h << 16 : (*d & 0xffff0000u) | h;
    }
  }
}
