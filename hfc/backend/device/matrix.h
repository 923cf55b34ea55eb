// 16 x 16 x 16 MMAs of a wave: f16 operands from LDS, f32 accumulators. hfc_operand holds 16 rows of 16 neighbouring k;
// each operand of an MMA has its loader. Accumulator v of a lane is that of row hfc_acc_row(v) of the first operand
// and row hfc_acc_column(v) of the second.
#pragma once
typedef _Float16 hfc_half2 __attribute__((ext_vector_type(2)));
typedef _Float16 hfc_half4 __attribute__((ext_vector_type(4)));
typedef _Float16 hfc_half8 __attribute__((ext_vector_type(8)));
typedef _Float16 hfc_half16 __attribute__((ext_vector_type(16)));
typedef float hfc_float8 __attribute__((ext_vector_type(8)));

// Two floats as f16 in one word, and what is left of them in another.
HFC_FUNCTION void hfc_split(float x, float y, uint32_t& high, uint32_t& low) {
  const hfc_half2 h = {(_Float16)x, (_Float16)y};
  const hfc_half2 l = {(_Float16)(x - (float)h.x), (_Float16)(y - (float)h.y)};
  high = __builtin_bit_cast(uint32_t, h), low = __builtin_bit_cast(uint32_t, l);
}

#if defined(HFC_MMA_F16)  // mma.sync m16n8k16, twice: sums 0-3 are columns 0-7, sums 4-7 columns 8-15
enum { HFC_ACCUMULATORS = 8 };
typedef struct { uint32_t part[4]; } hfc_operand;
typedef struct { float sum[8]; } hfc_acc_tile;
HFC_FUNCTION hfc_operand hfc_load_quarters(const _Float16* at) {  // a lane names one row of one 8 x 8 quarter
  const uint32_t address = (uint32_t)(uint64_t)(__attribute__((address_space(3))) const void*)at;
  hfc_operand r;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 { %0, %1, %2, %3}, [%4];"
               : "=r"(r.part[0]), "=r"(r.part[1]), "=r"(r.part[2]), "=r"(r.part[3])
               : "r"(address)
               : "memory");
  return r;
}
template <int STRIDE> HFC_FUNCTION hfc_operand hfc_load_first(const _Float16* rows) {
  return hfc_load_quarters(rows + hfc_lane() % 16 * STRIDE + hfc_lane() / 16 * 8);
}
// Quarters in the order in which a product takes them: two in neighbouring registers.
template <int STRIDE> HFC_FUNCTION hfc_operand hfc_load_second(const _Float16* rows) {
  return hfc_load_quarters(rows + (hfc_lane() % 8 + hfc_lane() / 16 * 8) * STRIDE + hfc_lane() / 8 % 2 * 8);
}
HFC_FUNCTION void hfc_multiply(hfc_acc_tile& c, const hfc_operand& a, const hfc_operand& b) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float* s = c.sum + 4 * half;
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 { %0, %1, %2, %3}, { %4, %5, %6, %7}, { %8, %9}, { %0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a.part[0]), "r"(a.part[1]), "r"(a.part[2]), "r"(a.part[3]), "r"(b.part[2 * half]), "r"(b.part[2 * half + 1]));
  }
}
HFC_FUNCTION int hfc_acc_row(int v) { return v % 4 / 2 * 8 + hfc_lane() / 4; }
HFC_FUNCTION int hfc_acc_column(int v) { return v / 4 * 8 + hfc_lane() % 4 * 2 + v % 2; }

#elif defined(HFC_WMMA_REPLICATED)  // RDNA 3: both halves of the wave hold the same operands
enum { HFC_ACCUMULATORS = 8 };
// Two loads until they are multiplied: an array of whole operands became one vector of i256, each word cut and joined again.
typedef struct { hfc_uint4 part[2]; } hfc_operand;
typedef struct { hfc_float8 sum; } hfc_acc_tile;
template <int STRIDE> HFC_FUNCTION hfc_operand hfc_load_first(const _Float16* rows) {
  const hfc_uint4* at = (const hfc_uint4*)(rows + hfc_lane() % 16 * STRIDE);
  return { {at[0], at[1]} };
}
HFC_FUNCTION hfc_half16 hfc_joined(const hfc_operand& x) {
  return __builtin_bit_cast(hfc_half16, __builtin_shufflevector(x.part[0], x.part[1], 0, 1, 2, 3, 4, 5, 6, 7));
}
HFC_FUNCTION void hfc_multiply(hfc_acc_tile& c, const hfc_operand& a, const hfc_operand& b) {
  c.sum = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32(hfc_joined(a), hfc_joined(b), c.sum);
}
HFC_FUNCTION int hfc_acc_row(int v) { return 2 * v + hfc_lane() / 16; }
HFC_FUNCTION int hfc_acc_column(int v) { return hfc_lane() % 16; }

#elif defined(HFC_WMMA_SPLIT)  // RDNA 4: the upper half of the wave holds k 8-15
enum { HFC_ACCUMULATORS = 8 };
typedef hfc_half8 hfc_operand;
typedef struct { hfc_float8 sum; } hfc_acc_tile;
template <int STRIDE> HFC_FUNCTION hfc_operand hfc_load_first(const _Float16* rows) {
  return *(const hfc_half8*)(rows + hfc_lane() % 16 * STRIDE + hfc_lane() / 16 * 8);
}
HFC_FUNCTION void hfc_multiply(hfc_acc_tile& c, const hfc_operand& a, const hfc_operand& b) {
  c.sum = __builtin_amdgcn_wmma_f32_16x16x16_f16_w32_gfx12(a, b, c.sum);
}
HFC_FUNCTION int hfc_acc_row(int v) { return v + hfc_lane() / 16 * 8; }
HFC_FUNCTION int hfc_acc_column(int v) { return hfc_lane() % 16; }

#elif defined(HFC_MFMA_F16)  // CDNA, 64 lanes: each quarter of the wave holds 4 of k
enum { HFC_ACCUMULATORS = 4 };
typedef hfc_half4 hfc_operand;
typedef struct { hfc_float4 sum; } hfc_acc_tile;
template <int STRIDE> HFC_FUNCTION hfc_operand hfc_load_first(const _Float16* rows) {
  return *(const hfc_half4*)(rows + hfc_lane() % 16 * STRIDE + hfc_lane() / 16 * 4);
}
HFC_FUNCTION void hfc_multiply(hfc_acc_tile& c, const hfc_operand& a, const hfc_operand& b) {
  c.sum = __builtin_amdgcn_mfma_f32_16x16x16f16(a, b, c.sum, 0, 0, 0);
}
HFC_FUNCTION int hfc_acc_row(int v) { return v + hfc_lane() / 16 * 4; }
HFC_FUNCTION int hfc_acc_column(int v) { return hfc_lane() % 16; }
#endif

#if !defined(HFC_MMA_F16) && (defined(HFC_WMMA_F16) || defined(HFC_MFMA_F16))
template <int STRIDE> HFC_FUNCTION hfc_operand hfc_load_second(const _Float16* rows) { return hfc_load_first<STRIDE>(rows); }
#endif
