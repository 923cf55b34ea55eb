// What the self-test kernels share. They need no ROCm headers.
#define GLOBAL extern "C" __attribute__((global)) void
#define DEVICE static __attribute__((device))
#define SHARED __attribute__((shared))
#define BOUNDS(n) __attribute__((amdgpu_flat_work_group_size(1, n)))
typedef unsigned char u8;
typedef signed char i8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long u64;
typedef _Float16 half;
typedef half half2 __attribute__((ext_vector_type(2)));
typedef half half4 __attribute__((ext_vector_type(4)));
typedef half half8 __attribute__((ext_vector_type(8)));
typedef half half16 __attribute__((ext_vector_type(16)));
typedef short short2 __attribute__((ext_vector_type(2)));
typedef u16 ushort2 __attribute__((ext_vector_type(2)));
typedef short short4 __attribute__((ext_vector_type(4)));
typedef short short8 __attribute__((ext_vector_type(8)));
typedef short short16 __attribute__((ext_vector_type(16)));
typedef int int2 __attribute__((ext_vector_type(2)));
typedef int int4 __attribute__((ext_vector_type(4)));
typedef int int8v __attribute__((ext_vector_type(8)));
typedef int int16v __attribute__((ext_vector_type(16)));
typedef u32 uint4 __attribute__((ext_vector_type(4)));
typedef float float2 __attribute__((ext_vector_type(2)));
typedef float float4 __attribute__((ext_vector_type(4)));
typedef float float8 __attribute__((ext_vector_type(8)));
typedef float float16 __attribute__((ext_vector_type(16)));
#if defined(__GFX12__)
#define GFX12 1
#elif defined(__GFX11__)
#define GFX11 1
#elif defined(__GFX10__)
#define GFX10 1
#else
#define GFX9 1
#endif
#if defined(__gfx942__) || defined(__gfx940__) || defined(__gfx950__)
#define CDNA3 1
#endif
#define WAVE __builtin_amdgcn_wavefrontsize()
#define TID ((int)__builtin_amdgcn_workitem_id_x())
#define BID ((int)__builtin_amdgcn_workgroup_id_x())
DEVICE int lane_id() { return __builtin_amdgcn_mbcnt_hi(~0u, __builtin_amdgcn_mbcnt_lo(~0u, 0)); }
DEVICE void sync() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
DEVICE float as_f(int x) { return __builtin_bit_cast(float, x); }
DEVICE int as_i(float x) { return __builtin_bit_cast(int, x); }
DEVICE float shfl(float x, int src) { return as_f(__builtin_amdgcn_ds_bpermute(src << 2, as_i(x))); }
DEVICE float wave_sum(float x) {
  for (int m = WAVE / 2; m; m >>= 1) x += shfl(x, lane_id() ^ m);
  return x;
}

DEVICE float dot2(half2 a, half2 b, float c) {
#if defined(__gfx1010__)
  return (float)a.x * (float)b.x + ((float)a.y * (float)b.y + c);
#else
  return __builtin_amdgcn_fdot2(a, b, c, false);
#endif
}
