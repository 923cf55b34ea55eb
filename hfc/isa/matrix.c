/* Matrix instructions: WMMA of RDNA3 and RDNA4, MFMA of CDNA. Sums are made in f64 and rounded once. */

enum { T_F16, T_BF16, T_I8, T_I4, T_FP8, T_BF8, T_F32, T_F64, T_I32 };
enum { M_GFX11, M_GFX12, M_MFMA };
static double elem(const u32* r, u32 ws, u32 lane, u32 e, int t, int sgn, int fnuz) {
  u32 x;
  switch (t) {
    case T_F16: return f16_bits_f32((u16)(r[(e >> 1) * ws + lane] >> (16 * (e & 1))));
    case T_BF16: return bf16_to_f32((u16)(r[(e >> 1) * ws + lane] >> (16 * (e & 1))));
    case T_I8: x = r[(e >> 2) * ws + lane] >> (8 * (e & 3)) & 0xff; return sgn ? (i8)x : (double)x;
    case T_I4: x = r[(e >> 3) * ws + lane] >> (4 * (e & 7)) & 15; return sgn ? (double)((i32)(x << 28) >> 28) : x;
    case T_FP8:
    case T_BF8: return fp8_f32((u8)(r[(e >> 2) * ws + lane] >> (8 * (e & 3))), t == T_BF8, fnuz);
    case T_F32: {
      float f;
      memcpy(&f, r + e * ws + lane, 4);
      return f;
    }
    case T_F64: {
      u64 v = r[2 * e * ws + lane] | (u64)r[(2 * e + 1) * ws + lane] << 32;
      double d;
      memcpy(&d, &v, 8);
      return d;
    }
  }
  return 0;
}
/* p = family, type_a, type_b, type_d, M, K, blocks, dst, a, b, c, neg_lo, neg_hi, clamp, opsel_hi, fnuz, cbsz, abid,
 * blgp */
static int matrix(VM* m, Wave* w, Inst* I) {
  const i32* p = I->p;
  u32 ws = m->ws, fam = p[0], M = p[4], K = p[5], B = p[6], td = p[3];
  u32 *A = reg(m, w, p[8]), *Bm = reg(m, w, p[9]), *D = reg(m, w, p[7]),
      *C = p[10] >= 256 && p[10] < 1000 ? reg(m, w, p[10]) : 0;
  static double a[64 * 64], b[64 * 64], acc[64 * 32];
  static u32 out[32 * 64];
  u32 groups = ws / M, kg = fam == M_GFX11 ? 1 : groups / B, ke = K / kg; /* k groups across lanes, k per lane */
  double cs = 0;
  if (!C) {
    u32 x = sval(w, I, p[10]);
    if (td == T_I32)
      cs = (i32)x;
    else if (td == T_F64) {
      float f;
      memcpy(&f, &x, 4);
      cs = f;
    } else {
      float f;
      memcpy(&f, &x, 4);
      cs = f;
    }
  }
  if (fam == M_GFX11 && m->strict_wmma) { /* hardware wants lanes 16-31 to repeat lanes 0-15 for A and B */
    u32 na = K * (p[1] == T_I4 ? 4 : p[1] == T_I8 ? 8 : 16) / 32;
    for (u32 r = 0; r < na; r++)
      for (u32 l = 0; l < 16; l++)
        if (A[r * ws + l] != A[r * ws + l + 16] || Bm[r * ws + l] != Bm[r * ws + l + 16])
          return fault(m, F_WMMA_REPL, r, l, 0);
  }
  int sa = p[11] & 1, sb = p[11] >> 1 & 1, ints = p[1] == T_I8 || p[1] == T_I4;
  if (fam == M_MFMA) sa = sb = 1;
  for (u32 blk = 0; blk < B; blk++) {
    for (u32 i = 0; i < M; i++)
      for (u32 k = 0; k < K; k++) {
        u32 g = fam == M_GFX11 ? 0 : blk * kg + k / ke, lane = g * M + i, e = k % ke;
        double x = elem(A, ws, lane, e, p[1], sa, p[15]), y = elem(Bm, ws, lane, e, p[2], sb, p[15]);
        if (!ints && fam != M_MFMA) {
          if ((k & 1 ? p[12] : p[11]) & 1) x = -x;
          if ((k & 1 ? p[12] : p[11]) & 2) y = -y;
        }
        a[i * K + k] = x;
        b[i * K + k] = y;
      }
    u32 regs = M == 4 ? 4 : M * M / ws; /* outputs per lane and block */
    for (u32 r = 0; r < regs; r++)
      for (u32 l = 0; l < ws; l++) {
        u32 row, col = l % M, o;
        if (fam == M_GFX11) {
          row = 2 * r + l / 16;
          o = r;
        } else if (fam == M_GFX12) {
          row = 8 * (l / 16) + r;
          o = r;
        } else if (M == 32) {
          row = 8 * (r / 4) + 4 * (l / 32) + r % 4;
          o = 16 * blk + r;
        } else if (M == 16) {
          row = td == T_F64 ? 4 * r + l / 16 : 4 * (l / 16) + r;
          o = 4 * blk + r;
        } else {
          if (l / 4 != blk) continue;
          row = r;
          o = r;
        }
        double c = cs, s = 0;
        if (C) {
          u32 x;
          if (td == T_F64) {
            u64 v = C[2 * o * ws + l] | (u64)C[(2 * o + 1) * ws + l] << 32;
            memcpy(&c, &v, 8);
          } else if (td == T_F16 || td == T_BF16) {
            x = fam == M_GFX12 ? C[(o / 2) * ws + l] >> (16 * (o & 1)) : C[o * ws + l] >> (p[14] ? 16 : 0);
            c = td == T_F16 ? f16_bits_f32((u16)x) : bf16_to_f32((u16)x);
          } else {
            x = C[o * ws + l];
            if (td == T_I32)
              c = (i32)x;
            else {
              float f;
              memcpy(&f, &x, 4);
              c = f;
            }
          }
        }
        if (!ints && fam != M_MFMA) {
          if (p[12] & 4) c = fabs(c);
          if (p[11] & 4) c = -c;
        }
        for (u32 k = 0; k < K; k++) s += a[row * K + k] * b[col * K + k];
        acc[o * ws + l] = s + c;
      }
  }
  u32 total = fam == M_MFMA ? (M == 4 ? 4 : M * M / 64 * B) : 8;
  if (td == T_F16 || td == T_BF16) {
    for (u32 o = 0; o < total; o++)
      for (u32 l = 0; l < ws; l++) {
        u16 h = td == T_F16 ? f32_bits_f16((float)acc[o * ws + l]) : f32_to_bf16((float)acc[o * ws + l]);
        if (fam == M_GFX12) {
          u32* d = out + (o / 2) * 64 + l;
          *d = o & 1 ? (*d & 0xffff) | (u32)h << 16 : h;
        } else {
          u32 old = C ? D[o * ws + l] : 0;
          out[o * 64 + l] = p[14] ? (old & 0xffff) | (u32)h << 16 : (old & 0xffff0000u) | h;
        }
      }
    if (fam == M_GFX12) total /= 2;
    for (u32 o = 0; o < total; o++)
      for (u32 l = 0; l < ws; l++) D[o * ws + l] = out[o * 64 + l];
    return -1;
  }
  for (u32 o = 0; o < total; o++)
    for (u32 l = 0; l < ws; l++) {
      double v = acc[o * ws + l];
      if (td == T_F64) {
        u64 x;
        memcpy(&x, &v, 8);
        D[2 * o * ws + l] = (u32)x;
        D[(2 * o + 1) * ws + l] = (u32)(x >> 32);
        continue;
      }
      u32 x;
      if (td == T_I32) {
        i64 q = (i64)v;
        if (p[13]) q = q > INT32_MAX ? INT32_MAX : q < INT32_MIN ? INT32_MIN : q;
        x = (u32)q;
      } else {
        float f = (float)v;
        memcpy(&x, &f, 4);
      }
      D[o * ws + l] = x;
    }
  return -1;
}
