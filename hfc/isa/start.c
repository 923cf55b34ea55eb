/* The state in which a kernel's waves start: registers, ids of the block and of the work-items, poison everywhere else.
 */

typedef struct {
  const u32* sgprs; /* all SGPR codes: user values, poison, zero above VCC */
  u64 entry;
  u32 waves, threads, block[3], used_vgprs, poison, user_sgprs, rsrc2, mode, lds_bytes, scratch_bytes;
  u8 packed_ids, ttmp_ids, flat_scratch, has_agprs;
  u32 pad;
} Start;
enum { SGPR_CODES = 512, TTMP = 108 };

static void start_ids(VM* m, Wave* w, const Start* k, u32 first, u32 count) {
  for (u32 l = 0; l < count; l++) {
    u32 t = first + l, x = t % k->block[0], y = t / k->block[0] % k->block[1], z = t / (k->block[0] * k->block[1]);
    if (k->packed_ids)
      w->v[l] = x | y << 10 | z << 20;
    else {
      u32 id[3] = {x, y, z}, dims = 1 + (k->rsrc2 >> 11 & 3);
      for (u32 d = 0; d < dims && d < 3; d++) w->v[d * m->ws + l] = id[d];
    }
  }
}

static void start_wave(VM* m, Wave* w, const Start* k, const u32* group, u32 index) {
  u32 first = index * m->ws, count = k->threads - first < m->ws ? k->threads - first : m->ws, *s = w->s;
  memcpy(s, k->sgprs, 4 * SGPR_CODES);
  for (u32 i = 0; i < k->used_vgprs * m->ws; i++) w->v[i] = k->poison;
  if (k->has_agprs)
    for (u32 i = 0; i < 256 * m->ws; i++) w->a[i] = k->poison;
  if (k->ttmp_ids) {
    s[TTMP + 9] = group[0];
    s[TTMP + 7] = (group[1] & 0xffff) | group[2] << 16;
    s[TTMP + 8] = index << 25;
  } else {
    u32 o = k->user_sgprs;
    for (u32 d = 0; d < 3; d++)
      if (k->rsrc2 >> (7 + d) & 1) s[o++] = group[d];
    if (k->rsrc2 >> 10 & 1) s[o++] = 0;
    if (k->rsrc2 & 1 && !k->flat_scratch) s[o] = 0;
  }
  set_mask(m, w, EXEC, count == 64 ? ~0ull : (1ull << count) - 1);
  start_ids(m, w, k, first, count);
  w->pc = k->entry;
  w->icount = w->index = 0;
  w->state = ST_BUDGET;
  w->mode = k->mode;
  w->id = index;
}

/* Makes the waves of one thread block ready; `slot` is its place among the resident blocks. */
void vm_start(VM* m, Wave* waves, const Start* k, const u32* group, u32 slot, u32* alive, u32* arrived) {
  memset(waves->lds, k->poison ? 0xff : 0, k->lds_bytes);
  alive[slot] = k->waves;
  arrived[slot] = 0;
  for (u32 i = 0; i < k->waves; i++) {
    waves[i].group = slot;
    if (k->scratch_bytes) memset(waves[i].scratch, k->poison ? 0xff : 0, k->scratch_bytes);
    start_wave(m, waves + i, k, group, i);
  }
}
