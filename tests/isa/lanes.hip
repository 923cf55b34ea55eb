// One product of a matrix unit, each lane's operands and sums as they lie in its registers.
#if defined(__gfx12__) || defined(__GFX12__)
typedef _Float16 operand __attribute__((ext_vector_type(8)));
typedef float sums __attribute__((ext_vector_type(8)));
#define PRODUCT(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(a, b, c)
#elif defined(__GFX11__)
typedef _Float16 operand __attribute__((ext_vector_type(16)));
typedef float sums __attribute__((ext_vector_type(8)));
#define PRODUCT(a, b, c) __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(a, b, c)
#else
typedef _Float16 operand __attribute__((ext_vector_type(4)));
typedef float sums __attribute__((ext_vector_type(4)));
#define PRODUCT(a, b, c) __builtin_amdgcn_mfma_f32_16x16x16f16(a, b, c, 0, 0, 0)
#endif

extern "C" __attribute__((global)) void product(const operand* a, const operand* b, sums* out) {
  const int lane = __builtin_amdgcn_workitem_id_x();
  out[lane] = PRODUCT(a[lane], b[lane], (sums)0.0f);
}
