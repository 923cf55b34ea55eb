// Arithmetic of every width.
#include "common.h"

GLOBAL packed16(const half2* a, const half2* b, half2* c, short2* d) {
  int i = TID;
  half2 x = a[i], y = b[i];
  c[6 * i] = x * y + x;
  c[6 * i + 1] = x + y.yx;
  c[6 * i + 2] = __builtin_elementwise_max(x, y);
  c[6 * i + 3] = __builtin_elementwise_min(x, -y);
  c[6 * i + 4] = (half2){(half)(float(x.x) * 3.f + 0.5f), (half)__builtin_sqrtf((float)y.y * (float)y.y)};
  c[6 * i + 5] = __builtin_bit_cast(half2, __builtin_amdgcn_cvt_pkrtz(float(x.x) * 1.001f, float(y.y) * 1.001f));
  short2 s = __builtin_bit_cast(short2, x), t = __builtin_bit_cast(short2, y);
  d[4 * i] = s + t;
  d[4 * i + 1] = s * t;
  d[4 * i + 2] = __builtin_elementwise_max(s, t);
  d[4 * i + 3] = s >> (short2){3, 5};
}

GLOBAL dots(const int* a, const int* b, const half2* h, const half2* g, int* o, float* f) {
  int i = TID, x = a[i], y = b[i];
#if GFX11 || GFX12
  o[4 * i] = __builtin_amdgcn_sudot4(true, x, true, y, 7, false);
  o[4 * i + 1] = __builtin_amdgcn_sudot4(true, x, false, y, 7, false);
  o[4 * i + 3] = __builtin_amdgcn_sudot8(true, x, true, y, -3, false);
#elif !defined(__gfx1010__)
  o[4 * i] = __builtin_amdgcn_sdot4(x, y, 7, false);
  {
    int s = 7;
    for (int j = 0; j < 4; j++) s += (int)(i8)(x >> 8 * j) * (int)(u8)(y >> 8 * j);
    o[4 * i + 1] = s;
  }
  o[4 * i + 3] = __builtin_amdgcn_sdot8(x, y, -3, false);
#endif
#if !defined(__gfx1010__)
  o[4 * i + 2] = __builtin_amdgcn_udot4(x, y, 9, false);
#endif
  f[i] = dot2(h[i], g[i], 0.25f);
}

GLOBAL fmath(const float* a, const float* b, float* o) {  // 20 results per item
  int i = TID;
  float x = a[i], y = b[i], p = __builtin_fabsf(x);
  o += 20 * i;
  o[0] = x / y;
  o[1] = __builtin_sqrtf(p);
  o[2] = __builtin_amdgcn_rsqf(p);
  o[3] = __builtin_amdgcn_rcpf(y);
  o[4] = __builtin_amdgcn_exp2f(x);
  o[5] = __builtin_amdgcn_logf(p);
  o[6] = __builtin_fmaf(x, y, 1.5f);
  o[7] = __builtin_floorf(x * 3);
  o[8] = __builtin_rintf(x * 3);
  o[9] = __builtin_truncf(x * 3);
  o[10] = __builtin_ldexpf(x, 3);
  o[11] = __builtin_copysignf(x, y);
  o[12] = __builtin_fminf(__builtin_fmaxf(x, -1.f), 1.f);
  o[13] = __builtin_amdgcn_fmed3f(x, y, 0.5f);
  o[14] = __builtin_sinf(x);
  o[15] = __builtin_cosf(x);
  o[16] = (float)(int)(x * 100);
  o[17] = (float)(u32)(p * 1e5f);
  o[18] = __builtin_amdgcn_fractf(x * 7);
  o[19] = __builtin_exp2f(y) * __builtin_log2f(p);
}

DEVICE void int_ops(u32 x, u32 y, u32* o) {  // 20 results
  int sx = (int)x, sy = (int)y;
  o[0] = x * y;
  o[1] = (u32)((u64)x * y >> 32);
  o[2] = (u32)((long)sx * sy >> 32);
  o[3] = x / (y | 1);
  o[4] = x % (y | 1);
  o[5] = (u32)(sx / (sy | 1));
  o[6] = (u32)(sx % (sy | 1));
  o[7] = __builtin_popcount(x);
  o[8] = x ? __builtin_clz(x) : 32;
  o[9] = __builtin_bitreverse32(x);
  u64 w = (u64)x << 32 | y;
  o[10] = (u32)((w * 3 + x) >> 17);
  o[11] = (u32)(w >> (y & 63));
  o[12] = (u32)((w - 0x123456789ull) >> 32);
  o[13] = __builtin_amdgcn_perm(x, y, 0x06010502);
  o[14] = __builtin_amdgcn_alignbit(x, y, 9);
  o[15] = __builtin_amdgcn_ubfe(x, 5, 11);
  o[16] = (u32)__builtin_amdgcn_sbfe(sx, 7, 9);
  o[17] = (x & y) | (~x & 0x0f0f0f0f);
  o[18] = (x << 5) + y;
  o[19] = (u32)(sx < sy ? sx : sy) ^ (x > y ? x : y);
}
GLOBAL imath(const u32* a, const u32* b, u32* o) { int_ops(a[TID], b[TID], o + 20 * TID); }
GLOBAL smath(u32 x, u32 y, u32* o) { int_ops(x, y, o); }

GLOBAL hmath(const half* a, const half* b, half* o, int* oi) {  // 16 + 4 results per item
  int i = TID;
  half x = a[i], y = b[i], p = __builtin_fabsf16(x);
  o += 16 * i;
  oi += 4 * i;
  o[0] = x / y;
  o[1] = __builtin_sqrtf16(p);
  o[2] = __builtin_fmaf16(x, y, (half)1.5f);
  o[3] = __builtin_floorf16(x * (half)3);
  o[4] = __builtin_rintf16(x * (half)3);
  o[5] = __builtin_fminf16(__builtin_fmaxf16(x, (half)-1), (half)1);
  o[6] = __builtin_exp2f16(x);
  o[7] = __builtin_log2f16(p);
  o[8] = x < y ? x : (half)(y + (half)1);
  o[9] = -__builtin_fabsf16(y);
  o[10] = (half)(short)(i * 37 - 999);
  o[11] = (half)(u16)(i * 1000);
  o[12] = __builtin_ceilf16(x);
  o[13] = __builtin_truncf16(y * (half)5);
  o[14] = __builtin_copysignf16(x, y);
  o[15] = x * y - p;
  oi[0] = (short)(x * (half)100);
  oi[1] = (u16)(p * (half)100);
  oi[2] = x < y;
  oi[3] = (int)__builtin_bit_cast(u16, x) >> 3;
}

GLOBAL small(const short* a, const short* b, short* o) {  // 16 results per item
  int i = TID;
  short x = a[i], y = b[i];
  u16 ux = (u16)x, uy = (u16)y;
  o += 16 * i;
  short2 v = {x, y}, w = {y, x};
  ushort2 uv = {ux, uy}, uw = {uy, ux};
  o[0] = __builtin_elementwise_add_sat(v, w).x;
  o[1] = __builtin_elementwise_sub_sat(v, w).y;
  o[2] = (short)__builtin_elementwise_add_sat(uv, uw).y;
  o[3] = (short)__builtin_elementwise_sub_sat(uv, uw).x;
  o[4] = x * y;
  o[5] = x < y ? x : y;
  o[6] = (short)(ux > uy ? ux : uy);
  o[7] = x >> (y & 15);
  o[8] = (short)(ux >> (uy & 15));
  o[9] = (short)(x << (y & 15));
  o[10] = (short)(x / (y | 1));
  o[11] = (short)(ux % (uy | 1));
  o[12] = (x < y) - (ux < uy);
  o[13] = (short)(__builtin_elementwise_add_sat(x * 65536 + 1, y * 65536 + 1) >> 16);
  o[14] = (short)((u8)x + (u8)(y >> 8));
  o[15] = (short)(x * y + 12345);
}

GLOBAL wide(const long* a, const long* b, long* o) {  // 12 results per item
  int i = TID;
  long x = a[i], y = b[i];
  u64 ux = (u64)x, uy = (u64)y;
  o += 12 * i;
  o[0] = x < y ? x : y;
  o[1] = (long)(ux > uy ? ux : uy);
  o[2] = x * y;
  o[3] = x - y;
  o[4] = x >> (y & 63);
  o[5] = (long)(ux << (uy & 63));
  o[6] = __builtin_popcountl(ux);
  o[7] = x ? __builtin_clzl(ux) : 64;
  o[8] = x ? __builtin_ctzl(ux) : 64;
  o[9] = (long)(float)x;
  o[10] = (x == y) + 2 * (x <= y) + 4 * (ux >= uy);
  o[11] = x / (y | 1);
}

GLOBAL dmath(const double* a, const double* b, double* o) {
  int i = TID;
  double x = a[i], y = b[i];
  o[4 * i] = x * y + 1.25;
  o[4 * i + 1] = x / y;
  o[4 * i + 2] = __builtin_sqrt(x * x);
  o[4 * i + 3] = (double)(float)x + (double)(long)(y * 1000);
}

GLOBAL bytes(const u32* a, float* o, u32* p) {  // byte converts and packs
  int i = TID;
  u32 x = a[i];
  o[4 * i] = (float)(x & 255);
  o[4 * i + 1] = (float)(x >> 8 & 255);
  o[4 * i + 2] = (float)(x >> 16 & 255);
  o[4 * i + 3] = (float)(x >> 24);
  p[i] = (x & 0xff) << 24 | (x & 0xff00) << 8 | (x >> 8 & 0xff00) | x >> 24;
}

GLOBAL denorm(const float* a, float* o, half* h) {
  int i = TID;
  o[i] = a[i] * 0.5f;
  h[i] = (half)(a[i] * 1e33f) * (half)0.5f;
}

GLOBAL bf16(const u16* a, const float* b, u16* o, float* f) {
  int i = TID;
  float x = as_f((u32)a[i] << 16);
  f[i] = x * b[i];
  u32 r = as_i(f[i]);
  o[i] = (u16)((r + 0x7fff + (r >> 16 & 1)) >> 16);
}

#if GFX12 || CDNA3
GLOBAL fp8cvt(const u8* a, const float* x, float* o, u32* p) {
  int i = TID;
  u32 w = *(const u32*)(a + 4 * i);
  float2 l = __builtin_amdgcn_cvt_pk_f32_fp8(w, false), h = __builtin_amdgcn_cvt_pk_f32_fp8(w, true);
  o[4 * i] = l.x;
  o[4 * i + 1] = l.y;
  o[4 * i + 2] = h.x;
  o[4 * i + 3] = h.y;
  p[i] = __builtin_amdgcn_cvt_pk_fp8_f32(x[2 * i], x[2 * i + 1], 0, false);
}
#endif

GLOBAL divide(const float *a, const float *b, float *o, const double *c, const double *d, double *p) {
  int i = BID * 64 + TID;
  o[i] = a[i] / b[i];
  p[i] = c[i] / d[i];
}
