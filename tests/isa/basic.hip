// Memory, barriers, atomics, cross-lane moves, calls.
#include "common.h"

GLOBAL vadd(const float* a, const float* b, float* c, int n) {
  int i = BID * 256 + TID;
  if (i < n) c[i] = a[i] + b[i];
}

GLOBAL hidden(int* out) {  // sizes that come from hidden arguments (code object v5) or the dispatch packet (v4)
  int i = (__builtin_amdgcn_workgroup_id_y() * __builtin_amdgcn_workgroup_size_x() + TID);
  if (BID == 0) {
    out[4 * i] = __builtin_amdgcn_workgroup_size_x();
    out[4 * i + 1] = __builtin_amdgcn_workgroup_size_y();
    out[4 * i + 2] = __builtin_amdgcn_grid_size_x();
    out[4 * i + 3] = __builtin_amdgcn_grid_size_y();
  }
}

GLOBAL ids(int* out) {
  int x = TID, y = __builtin_amdgcn_workitem_id_y(), z = __builtin_amdgcn_workitem_id_z();
  int bx = BID, by = __builtin_amdgcn_workgroup_id_y(), bz = __builtin_amdgcn_workgroup_id_z();
  int g = (bz * 2 + by) * 3 + bx, t = (z * 4 + y) * 8 + x;
  out[g * 64 + t] = x | y << 4 | z << 8 | bx << 12 | by << 16 | bz << 20;
}

GLOBAL BOUNDS(256) lds_reduce(const float* x, float* y) {
  SHARED static float buf[256];
  buf[TID] = x[BID * 256 + TID];
  sync();
  for (int s = 128; s; s >>= 1) {
    if (TID < s) buf[TID] += buf[TID + s];
    sync();
  }
  if (TID == 0) y[BID] = buf[0];
}

GLOBAL BOUNDS(256) racy(const float* x, float* y) {  // missing barrier: must be found by changing the schedule
  SHARED static float buf[256];
  buf[TID] = x[TID];
  y[TID] = buf[TID ^ 128];
}

GLOBAL dynlds(const float* x, float* y, int n) {
  extern SHARED float dyn[];
  for (int i = TID; i < n; i += 64) dyn[i] = x[i];
  sync();
  for (int i = TID; i < n; i += 64) y[i] = dyn[n - 1 - i];
}

#define UDPP(old, x, ctrl, rm, bm, bc) __builtin_amdgcn_update_dpp(old, x, ctrl, rm, bm, bc)
GLOBAL BOUNDS(64) shuffles(const int* in, int* out) {  // 16 results per lane
  int l = lane_id(), x = in[l], *o = out + l * 16;
  o[0] = __builtin_amdgcn_ds_bpermute(((l * 7 + 3) & (WAVE - 1)) << 2, x);
  o[1] = __builtin_amdgcn_ds_permute((l ^ 5) << 2, x);
  o[2] = __builtin_amdgcn_ds_swizzle(x, 0x041f);  // xor 1
  o[3] = __builtin_amdgcn_ds_swizzle(x, 0x801b);  // quad: 3 2 1 0
  o[4] = UDPP(-1, x, 0x111, 0xf, 0xf, 0);         // row_shr:1, lane 0 of a row keeps -1
  o[5] = UDPP(0, x, 0x101, 0xf, 0xf, 1);          // row_shl:1, bound_ctrl: 0
  o[6] = UDPP(x, x, 0x124, 0xf, 0xf, 0);          // row_ror:4
  o[7] = UDPP(x, x, 0x140, 0xf, 0xf, 0);          // row_mirror
  o[8] = UDPP(x, x, 0x141, 0xf, 0xf, 0);          // row_half_mirror
  o[9] = UDPP(x, x, 0x1e, 0x5, 0xf, 0);           // quad_perm:[2,3,1,0], rows 0 and 2 only
  o[10] = __builtin_amdgcn_readlane(x, 5);
  o[11] = l >= 9 ? __builtin_amdgcn_readfirstlane(x) : 0;
#if !GFX9
  o[12] = __builtin_amdgcn_permlane16(x, x, 0x76543210, 0x89abcdef, 0, 0);
  o[13] = __builtin_amdgcn_permlanex16(x, x, 0x76543210, 0xfedcba98, 0, 0);
  o[14] = __builtin_amdgcn_mov_dpp8(x, 001234567);  // lanes of each 8 reversed
  o[15] = UDPP(x, x, 0x153, 0xf, 0xf, 0);           // row_share:3
#else
  o[12] = UDPP(-7, x, 0x142, 0xa, 0xf, 0);  // row_bcast:15
  o[13] = UDPP(-9, x, 0x143, 0xc, 0xf, 0);  // row_bcast:31
  o[14] = UDPP(-5, x, 0x138, 0xf, 0xf, 0);  // wave_shr:1
  o[15] = x;
#endif
}

GLOBAL BOUNDS(64) dpp_math(const float* in, float* out) {  // DPP folded into VOP1/VOP2/VOP3 by the compiler
  int l = lane_id();
  float x = in[l], s = x;
  s += as_f(UDPP(0, as_i(s), 0x111, 0xf, 0xf, 1));
  s += as_f(UDPP(0, as_i(s), 0x112, 0xf, 0xf, 1));
  s += as_f(UDPP(0, as_i(s), 0x114, 0xf, 0xf, 1));
  s += as_f(UDPP(0, as_i(s), 0x118, 0xf, 0xf, 1));  // inclusive scan of each row of 16
  out[l] = s;
  float m = x;
  m = __builtin_fmaxf(m, as_f(UDPP(as_i(m), as_i(m), 0xb1, 0xf, 0xf, 0)));
  m = __builtin_fmaxf(m, as_f(UDPP(as_i(m), as_i(m), 0x4e, 0xf, 0xf, 0)));
  m = __builtin_fmaxf(m, as_f(UDPP(as_i(m), as_i(m), 0x141, 0xf, 0xf, 0)));
  m = __builtin_fmaxf(m, as_f(UDPP(as_i(m), as_i(m), 0x140, 0xf, 0xf, 0)));
  out[WAVE + l] = m;  // maximum of each row of 16
  float q = as_f(UDPP(0, as_i(x), 0xb1, 0xf, 0xf, 1));
  out[2 * WAVE + l] = __builtin_fmaf(-q, x, __builtin_fabsf(q));
}

GLOBAL atomics(u32* g, float* gf, u64* g64, u32* ret, const int* x) {
  SHARED static u32 h[16];
  int t = TID, v = x[BID * 64 + t];
  if (t < 16) h[t] = t == 15 ? 1000u : 0u;
  sync();
  __atomic_fetch_add(&h[v & 7], 1u, __ATOMIC_RELAXED);
  u32 slot = __hip_atomic_fetch_add(&h[8], 1u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  __hip_atomic_fetch_max((int*)&h[9], v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  __hip_atomic_fetch_min(&h[15], (u32)v, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_WORKGROUP);
  ret[BID * 64 + t] = slot;
  sync();
  if (t < 10) __hip_atomic_fetch_add(&g[t], h[t], __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  if (t == 0) __hip_atomic_fetch_min(&g[15], h[15], __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  u32 old =
      __hip_atomic_fetch_add(&g[10], 3u, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);  // value used: returning form
  __hip_atomic_fetch_or(&g[11 + old % 3 * 0], 1u << (old / 3 & 31), __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  u32 e = g[12], d;
  do {
    d = e * 2 + 1;
  } while (!__hip_atomic_compare_exchange_strong(&g[12], &e, t == 0 ? d : e, __ATOMIC_RELAXED, __ATOMIC_RELAXED,
                                                 __HIP_MEMORY_SCOPE_AGENT));
  __hip_atomic_fetch_add(gf, (float)(v & 255), __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
  __hip_atomic_fetch_add(g64, (u64)v << 20, __ATOMIC_RELAXED, __HIP_MEMORY_SCOPE_AGENT);
}

GLOBAL narrow(const u8* b, const i8* sb, const u16* h, const short* sh, u8* ob, u16* oh, int* oi) {
  int i = TID;
  oi[4 * i] = b[i] + 1;
  oi[4 * i + 1] = sb[i] * 3;
  oi[4 * i + 2] = h[i] - 5;
  oi[4 * i + 3] = sh[i] * 7;
  ob[2 * i + 1] = (u8)(b[i] ^ 0x55);
  ob[2 * i] = (u8)sb[i] >> 1;
  oh[2 * i] = (u16)(h[i] + sh[i]);
  oh[2 * i + 1] = (u16)((b[i] << 8) | (u8)sb[i]);
}

GLOBAL scratch(const int* idx, int* out, int n) {  // private array with run-time indices
  int a[16], t = TID;
  for (int i = 0; i < 16; i++) a[i] = i * i + t;
  for (int i = 0; i < n; i++) {
    int j = idx[t * n + i] & 15;
    a[j] += a[(j + 5) & 15] ^ i;
  }
  int s = 0;
  for (int i = 0; i < 16; i++) s = s * 31 + a[i];
  out[t] = s;
}

GLOBAL BOUNDS(128) scratch_barrier(const int* idx, int* out, int n) {  // scratch of several waves must not mix
  int a[16], t = TID;
  SHARED static int x[128];
  for (int i = 0; i < 16; i++) a[i] = t * 100 + i;
  for (int i = 0; i < n; i++) {
    a[idx[i] & 15] += t;
    x[t] = a[idx[i + 1] & 15];
    sync();
    a[idx[i + 2] & 15] ^= x[(t + 33) & 127];
    sync();
  }
  out[t] = a[idx[0] & 15];
}

GLOBAL collatz(const u32* x, u32* y) {
  u32 v = x[TID], n = 0;
  while (v != 1) {
    v = v & 1 ? 3 * v + 1 : v >> 1;
    n++;
    if (n > 500) break;
  }
  y[TID] = n;
}

__attribute__((device)) const float table[16] = {-1.f,   -.6962f, -.5251f, -.3949f, -.2844f, -.1848f, -.0911f, 0.f,
                                                 .0796f, .1609f,  .2461f,  .3379f,  .4407f,  .5626f,  .723f,   1.f};
GLOBAL rodata(const u8* q, float* y) { y[TID] = table[q[TID] & 15] * 2 + table[q[TID] >> 4]; }

DEVICE __attribute__((noinline)) float poly(float x, int n) {
  float r = 0;
  for (int i = n; i >= 0; i--) r = r * x + (float)i;
  return r;
}
GLOBAL calls(const float* x, float* y, int n) { y[TID] = poly(x[TID], n) + poly(-x[TID], n + 1); }

GLOBAL buffer(const float* x, float* y, int n) {
  __amdgpu_buffer_rsrc_t r = __builtin_amdgcn_make_buffer_rsrc((void*)x, 0, n * 4, 0x31004000),
                         q = __builtin_amdgcn_make_buffer_rsrc(y, 0, n * 4, 0x31004000);
  float v = as_f(__builtin_amdgcn_raw_buffer_load_b32(r, TID * 4 + 4, 0, 0));
  __builtin_amdgcn_raw_buffer_store_b32(as_i(v * 2), q, TID * 4, 0, 0);
}

GLOBAL stage_oob(float* x, int n) { x[TID + n] = 1.f; }
