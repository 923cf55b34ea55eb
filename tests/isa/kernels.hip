// Small kernels as inference uses them, and matrix instructions.
#include "common.h"

// y[row] = sum over columns of (q - zero) * scale * x: 4-bit weights, groups of 256 columns, f16 scale and zero, one
// wave a row
GLOBAL BOUNDS(128) gemv4(const u32* w, const half2* sz, const half* x, float* y, int cols) {
  int wave = TID / WAVE, l = lane_id(), row = BID * (128 / WAVE) + wave, groups = cols / 256;
  float acc = 0;
  for (int g = 0; g < groups; g++) {
    half2 s = sz[row * groups + g];
    for (int j = l; j < 32; j += WAVE) {
      u32 q = w[(row * groups + g) * 32 + j];
      half8 v = *(const half8*)(x + g * 256 + j * 8);
      half2 z2 = {s.y, s.y}, sc = {s.x, s.x};
      for (int k = 0; k < 4; k++) {
        // two nibbles as f16 1024+n by setting exponent bits
        half2 n = __builtin_bit_cast(half2, (q >> (4 * k) & 0x000f000fu) | 0x64006400u) - (half2){1024.f, 1024.f};
        half2 d = (n - z2) * sc;
        acc = dot2(d, (half2){v[k], v[k + 4]}, acc);
      }
    }
  }
  acc = wave_sum(acc);
  if (l == 0) y[row] = acc;
}

#pragma pack(push, 1)
struct q4_0 {
  half d;
  u8 q[16];
};  // 18 bytes: dword loads are only 2-byte aligned
#pragma pack(pop)
GLOBAL BOUNDS(64) gemv_q4_0(const q4_0* w, const float* x, float* y, int blocks) {
  int row = BID, l = TID;
  float acc = 0;
  for (int b = l; b < blocks; b += 64) {
    const q4_0* p = w + row * blocks + b;
    float s = 0;
    for (int j = 0; j < 4; j++) {
      u32 q;
      __builtin_memcpy(&q, p->q + 4 * j, 4);
      for (int k = 0; k < 4; k++) {
        s += (float)((int)(q >> 8 * k & 15) - 8) * x[b * 32 + 4 * j + k];
        s += (float)((int)(q >> (8 * k + 4) & 15) - 8) * x[b * 32 + 16 + 4 * j + k];
      }
    }
    acc += s * (float)p->d;
  }
  SHARED static float buf[64];
  buf[l] = acc;
  sync();
  if (l == 0) {
    float s = 0;
    for (int i = 0; i < 64; i++) s += buf[i];
    y[row] = s;
  }
}

// One query, one head: split over the key positions, online softmax in base 2, waves combined through LDS.
#define HD 64
GLOBAL BOUNDS(128) flash_decode(const half* q, const half* k, const half* v, float* o, int n, float scale_log2e) {
  const int nw = 128 / WAVE;
  SHARED static float sm[4], sl[4], so[4][HD];
  int wave = TID / WAVE, l = lane_id();
  float qv[HD / 32], acc[HD / 32], m = -__builtin_inff(), sum = 0;
  const int per = HD / WAVE ? HD / WAVE : 1;
  for (int i = 0; i < per; i++) {
    qv[i] = (float)q[l * per + i] * scale_log2e;
    acc[i] = 0;
  }
  for (int p = wave; p < n; p += nw) {
    float s = 0;
    for (int i = 0; i < per; i++) s += qv[i] * (float)k[p * HD + l * per + i];
    s = wave_sum(s);
    float mn = __builtin_fmaxf(m, s), c = __builtin_amdgcn_exp2f(m - mn), e = __builtin_amdgcn_exp2f(s - mn);
    sum = sum * c + e;
    m = mn;
    for (int i = 0; i < per; i++) acc[i] = acc[i] * c + e * (float)v[p * HD + l * per + i];
  }
  if (l == 0) {
    sm[wave] = m;
    sl[wave] = sum;
  }
  for (int i = 0; i < per; i++) so[wave][l * per + i] = acc[i];
  sync();
  if (TID < HD) {
    float M = sm[0], L = 0, r = 0;
    for (int i = 1; i < nw; i++) M = __builtin_fmaxf(M, sm[i]);
    for (int i = 0; i < nw; i++) {
      float c = __builtin_amdgcn_exp2f(sm[i] - M);
      L += sl[i] * c;
      r += so[i][TID] * c;
    }
    o[TID] = r / L;
  }
}

// ---- matrix: one wave, row-major A (M x K), row-major B^T (N x K), row-major C (M x N), C = A B + C
#if GFX11 || GFX12
#if GFX11
#define AB_KBASE(l) 0
#define ROW(r, l) (2 * (r) + (l) / 16)
#define PER 16
#else
#define AB_KBASE(l) (8 * ((l) / 16))
#define ROW(r, l) (8 * ((l) / 16) + (r))
#define PER 8
#endif
#define FOR_C for (int r = 0; r < 8; r++)
template <class V, class T>
DEVICE V ab(const T* a, int l) {
  return *(const V*)(a + (l % 16) * 16 + AB_KBASE(l));
}
GLOBAL BOUNDS(32) mat_f16(const half* a, const half* b, float* c) {
  int l = TID;
  float8 acc;
  FOR_C acc[r] = c[ROW(r, l) * 16 + l % 16];
#if GFX11
  acc = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(ab<half16>(a, l), ab<half16>(b, l), acc);
#else
  acc = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(ab<half8>(a, l), ab<half8>(b, l), acc);
#endif
  FOR_C c[ROW(r, l) * 16 + l % 16] = acc[r];
}
GLOBAL BOUNDS(32) mat_bf16(const short* a, const short* b, float* c) {
  int l = TID;
  float8 acc;
  FOR_C acc[r] = c[ROW(r, l) * 16 + l % 16];
#if GFX11
  acc = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32(ab<short16>(a, l), ab<short16>(b, l), acc);
#else
  acc = __builtin_amdgcn_wmma_f32_16x16x16_bf16_w32_gfx12(ab<short8>(a, l), ab<short8>(b, l), acc);
#endif
  FOR_C c[ROW(r, l) * 16 + l % 16] = acc[r];
}
GLOBAL BOUNDS(32) mat_f16f16(const half* a, const half* b, half* c) {
  int l = TID;
#if GFX11
  half16 acc;
  for (int r = 0; r < 8; r++) {
    acc[2 * r] = c[ROW(r, l) * 16 + l % 16];
    acc[2 * r + 1] = 0;
  }
  acc = __builtin_amdgcn_wmma_f16_16x16x16_f16_w32(ab<half16>(a, l), ab<half16>(b, l), acc, false);
  FOR_C c[ROW(r, l) * 16 + l % 16] = acc[2 * r];
#else
  half8 acc;
  FOR_C acc[r] = c[ROW(r, l) * 16 + l % 16];
  acc = __builtin_amdgcn_wmma_f16_16x16x16_f16_w32_gfx12(ab<half8>(a, l), ab<half8>(b, l), acc);
  FOR_C c[ROW(r, l) * 16 + l % 16] = acc[r];
#endif
}
GLOBAL BOUNDS(32) mat_i8(const i8* a, const i8* b, int* c) {
  int l = TID;
  int8v acc;
  FOR_C acc[r] = c[ROW(r, l) * 16 + l % 16];
#if GFX11
  acc = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, ab<int4>(a, l), true, ab<int4>(b, l), acc, false);
#else
  acc = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, ab<int2>(a, l), true, ab<int2>(b, l), acc, false);
#endif
  FOR_C c[ROW(r, l) * 16 + l % 16] = acc[r];
}
GLOBAL BOUNDS(32)
    mat_u4(const u32* a, const u32* b, int* c) {  // unsigned A, signed B; 8 nibbles a dword, 2 dwords a row
  int l = TID;
  int8v acc;
  FOR_C acc[r] = c[ROW(r, l) * 16 + l % 16];
#if GFX11
  acc = __builtin_amdgcn_wmma_i32_16x16x16_iu4_w32(false, *(const int2*)(a + l % 16 * 2), true,
                                                   *(const int2*)(b + l % 16 * 2), acc, false);
#else
  acc = __builtin_amdgcn_wmma_i32_16x16x16_iu4_w32_gfx12(false, a[l % 16 * 2 + l / 16], true, b[l % 16 * 2 + l / 16],
                                                         acc, false);
#endif
  FOR_C c[ROW(r, l) * 16 + l % 16] = acc[r];
}
#if GFX12
GLOBAL BOUNDS(32) mat_fp8(const u8* a, const u8* b, float* c) {
  int l = TID;
  float8 acc;
  FOR_C acc[r] = c[ROW(r, l) * 16 + l % 16];
  acc = __builtin_amdgcn_wmma_f32_16x16x16_fp8_fp8_w32_gfx12(ab<int2>(a, l), ab<int2>(b, l), acc);
  FOR_C c[ROW(r, l) * 16 + l % 16] = acc[r];
}
#endif

// 64x64 tile of C = A B^T (f16 in, f32 out): 4 waves of 32x32, K staged through LDS
GLOBAL BOUNDS(128) gemm(const half* a, const half* b, float* c, int n, int k) {
  SHARED static half sa[64][40], sb[64][40];
  int l = TID % 32, w = TID / 32, m0 = BID * 64, n0 = __builtin_amdgcn_workgroup_id_y() * 64, wm = w / 2 * 32,
      wn = w % 2 * 32;
  float8 acc[2][2] = {};
  for (int k0 = 0; k0 < k; k0 += 32) {
    for (int i = TID; i < 256; i += 128) {
      int r = i / 4, q = i % 4 * 8;
      *(half8*)&sa[r][q] = *(const half8*)(a + (m0 + r) * k + k0 + q);
      *(half8*)&sb[r][q] = *(const half8*)(b + (n0 + r) * k + k0 + q);
    }
    sync();
    for (int kk = 0; kk < 32; kk += 16)
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
#if GFX11
          half16 x, y;
          *(half8*)&x = *(half8*)&sa[wm + 16 * i + l % 16][kk];
          *((half8*)&x + 1) = *(half8*)&sa[wm + 16 * i + l % 16][kk + 8];
          *(half8*)&y = *(half8*)&sb[wn + 16 * j + l % 16][kk];
          *((half8*)&y + 1) = *(half8*)&sb[wn + 16 * j + l % 16][kk + 8];
          acc[i][j] = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(x, y, acc[i][j]);
#else
          half8 x = *(half8*)&sa[wm + 16 * i + l % 16][kk + AB_KBASE(l)],
                y = *(half8*)&sb[wn + 16 * j + l % 16][kk + AB_KBASE(l)];
          acc[i][j] = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(x, y, acc[i][j]);
#endif
        }
    sync();
  }
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) FOR_C c[(m0 + wm + 16 * i + ROW(r, l)) * n + n0 + wn + 16 * j + l % 16] = acc[i][j][r];
}
#endif
#if defined(CDNA3) || defined(__gfx90a__) || defined(__gfx908__)
#define MFMA 1
GLOBAL BOUNDS(64) mat_f16(const half* a, const half* b, float* c) {
  int l = TID;
  float4 acc;
  for (int r = 0; r < 4; r++) acc[r] = c[(4 * (l / 16) + r) * 16 + l % 16];
  acc = __builtin_amdgcn_mfma_f32_16x16x16f16(*(const half4*)(a + l % 16 * 16 + 4 * (l / 16)),
                                              *(const half4*)(b + l % 16 * 16 + 4 * (l / 16)), acc, 0, 0, 0);
  for (int r = 0; r < 4; r++) c[(4 * (l / 16) + r) * 16 + l % 16] = acc[r];
}
GLOBAL BOUNDS(64) mat32_f16(const half* a, const half* b, float* c) {  // 32x32x8
  int l = TID;
  float16 acc;
  for (int r = 0; r < 16; r++) acc[r] = c[(8 * (r / 4) + 4 * (l / 32) + r % 4) * 32 + l % 32];
  acc = __builtin_amdgcn_mfma_f32_32x32x8f16(*(const half4*)(a + l % 32 * 8 + 4 * (l / 32)),
                                             *(const half4*)(b + l % 32 * 8 + 4 * (l / 32)), acc, 0, 0, 0);
  for (int r = 0; r < 16; r++) c[(8 * (r / 4) + 4 * (l / 32) + r % 4) * 32 + l % 32] = acc[r];
}
#endif
#if defined(CDNA3) || defined(__gfx90a__)
GLOBAL BOUNDS(64) agpr(const half* a, const half* b, float* c) {  // accumulator and B in AGPRs
  int l = TID;
  float4 acc;
  for (int r = 0; r < 4; r++) acc[r] = c[(4 * (l / 16) + r) * 16 + l % 16];
  half4 x = *(const half4*)(a + l % 16 * 16 + 4 * (l / 16)), y = *(const half4*)(b + l % 16 * 16 + 4 * (l / 16));
#ifdef CDNA3
  asm volatile(
      "v_mfma_f32_16x16x16_f16 %0, %1, %2, %0\n s_nop 7\n s_nop 7\n v_mfma_f32_16x16x16_f16 %0, %1, %2, %0\n s_nop 7\n "
      "s_nop 7"
      : "+a"(acc)
      : "v"(x), "a"(y));
#else
  asm volatile(
      "v_mfma_f32_16x16x16f16 %0, %1, %2, %0\n s_nop 7\n s_nop 7\n v_mfma_f32_16x16x16f16 %0, %1, %2, %0\n s_nop 7\n "
      "s_nop 7"
      : "+a"(acc)
      : "v"(x), "a"(y));
#endif
  for (int r = 0; r < 4; r++) c[(4 * (l / 16) + r) * 16 + l % 16] = acc[r];
}
#endif
#ifdef CDNA3
// 64x64 tile of C = A B^T: 2 waves of 32x64
GLOBAL BOUNDS(128) gemm(const half* a, const half* b, float* c, int n, int k) {
  SHARED static half sa[64][40], sb[64][40];
  int l = TID % 64, w = TID / 64, m0 = BID * 64, n0 = __builtin_amdgcn_workgroup_id_y() * 64;
  float16 acc[2] = {};
  for (int k0 = 0; k0 < k; k0 += 32) {
    for (int i = TID; i < 256; i += 128) {
      int r = i / 4, q = i % 4 * 8;
      *(half8*)&sa[r][q] = *(const half8*)(a + (m0 + r) * k + k0 + q);
      *(half8*)&sb[r][q] = *(const half8*)(b + (n0 + r) * k + k0 + q);
    }
    sync();
    for (int kk = 0; kk < 32; kk += 8)
      for (int j = 0; j < 2; j++)
        acc[j] =
            __builtin_amdgcn_mfma_f32_32x32x8f16(*(half4*)&sa[w * 32 + l % 32][kk + 4 * (l / 32)],
                                                 *(half4*)&sb[j * 32 + l % 32][kk + 4 * (l / 32)], acc[j], 0, 0, 0);
    sync();
  }
  for (int j = 0; j < 2; j++)
    for (int r = 0; r < 16; r++)
      c[(m0 + w * 32 + 8 * (r / 4) + 4 * (l / 32) + r % 4) * n + n0 + j * 32 + l % 32] = acc[j][r];
}
GLOBAL BOUNDS(64) mat_bf16(const short* a, const short* b, float* c) {
  int l = TID;
  float4 acc;
  for (int r = 0; r < 4; r++) acc[r] = c[(4 * (l / 16) + r) * 16 + l % 16];
  acc = __builtin_amdgcn_mfma_f32_16x16x16bf16_1k(*(const short4*)(a + l % 16 * 16 + 4 * (l / 16)),
                                                  *(const short4*)(b + l % 16 * 16 + 4 * (l / 16)), acc, 0, 0, 0);
  for (int r = 0; r < 4; r++) c[(4 * (l / 16) + r) * 16 + l % 16] = acc[r];
}
GLOBAL BOUNDS(64) mat_i8k32(const i8* a, const i8* b, int* c) {  // 16x16x32
  int l = TID;
  int4 acc;
  for (int r = 0; r < 4; r++) acc[r] = c[(4 * (l / 16) + r) * 16 + l % 16];
  acc = __builtin_amdgcn_mfma_i32_16x16x32_i8(*(const long*)(a + l % 16 * 32 + 8 * (l / 16)),
                                              *(const long*)(b + l % 16 * 32 + 8 * (l / 16)), acc, 0, 0, 0);
  for (int r = 0; r < 4; r++) c[(4 * (l / 16) + r) * 16 + l % 16] = acc[r];
}
GLOBAL BOUNDS(64) mat_fp8k32(const u8* a, const u8* b, float* c) {  // 16x16x32, fnuz formats
  int l = TID;
  float4 acc;
  for (int r = 0; r < 4; r++) acc[r] = c[(4 * (l / 16) + r) * 16 + l % 16];
  acc = __builtin_amdgcn_mfma_f32_16x16x32_fp8_fp8(*(const long*)(a + l % 16 * 32 + 8 * (l / 16)),
                                                   *(const long*)(b + l % 16 * 32 + 8 * (l / 16)), acc, 0, 0, 0);
  for (int r = 0; r < 4; r++) c[(4 * (l / 16) + r) * 16 + l % 16] = acc[r];
}
#endif
