/* Cross-lane moves and indexed register moves. */

enum {
  L_READLANE,
  L_READFIRST,
  L_WRITELANE,
  L_PERM16,
  L_PERMX16,
  L_PERM64,
  L_PERM16V,
  L_PERMX16V,
  L_MOVRELS,
  L_MOVRELD,
  L_MOVRELSD,
  L_IDX_ON,
  L_IDX_MOV
};
static void lane_op(VM* m, Wave* w, Inst* I) { /* p = op, dst, src0, src1, src2, fi, bc */
  const i32* p = I->p;
  u64 ex = exec_of(m, w);
  u32 ws = m->ws, tmp[64];
  switch (p[0]) {
    case L_READLANE: w->s[p[1]] = lval(m, w, I, p[2], sval(w, I, p[3]) & (ws - 1)); return;
    case L_READFIRST: w->s[p[1]] = lval(m, w, I, p[2], ex ? (u32)__builtin_ctzll(ex) : 0); return;
    case L_WRITELANE: reg(m, w, p[1])[sval(w, I, p[3]) & (ws - 1)] = sval(w, I, p[2]); return;
    case L_IDX_ON:
      w->index = (sval(w, I, p[1]) & 0xff) | (u32)p[7] << 8;
      return; /* GFX9: index for the moves up to s_set_gpr_idx_off */
    case L_MOVRELS:
    case L_MOVRELD:
    case L_MOVRELSD:
    case L_IDX_MOV: {
      int s = p[0] == L_IDX_MOV ? w->index >> 8 & 1 : p[0] != L_MOVRELD,
          d = p[0] == L_IDX_MOV ? w->index >> 11 & 1 : p[0] != L_MOVRELS;
      i32 rel = p[0] == L_IDX_MOV ? (i32)(w->index & 0xff) : (i32)w->s[m->m0],
          a = p[2] + (s && p[2] >= 256 && p[2] < 1000 ? rel : 0), b = p[1] + (d ? rel : 0);
      if (b < 256 || b > 511 || (a > 511 && a < 1000)) return;
      for (u32 l = 0; l < ws; l++)
        if (ex >> l & 1) reg(m, w, b)[l] = lval(m, w, I, a, l);
      return;
    }
    default: break;
  }
  u32 *src = reg(m, w, p[2]), *dst = reg(m, w, p[1]);
  u64 keep = 0;
  for (u32 l = 0; l < ws; l++) {
    u32 i = l & 15, row = l & ~15u, j;
    if (p[0] == L_PERM64) {
      j = l ^ 32;
      if (ws == 32) j = l;
      tmp[l] = src[j];
      continue;
    }
    if (p[0] == L_PERM16V || p[0] == L_PERMX16V)
      j = reg(m, w, p[3])[l] & 15;
    else
      j = ((i < 8 ? sval(w, I, p[3]) : sval(w, I, p[4])) >> (4 * (i & 7))) & 15;
    j += p[0] == L_PERMX16 || p[0] == L_PERMX16V ? row ^ 16 : row;
    if ((ex >> j & 1) || p[5])
      tmp[l] = src[j];
    else if (p[6])
      tmp[l] = 0;
    else
      keep |= 1ull << l;
  }
  for (u32 l = 0; l < ws; l++)
    if ((ex >> l & 1) && !(keep >> l & 1)) dst[l] = tmp[l];
}
