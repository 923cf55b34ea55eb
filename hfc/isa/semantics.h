/* What the functions and types of AMD's pseudocode mean, for the C that pcode.py writes. Rounding and denormals follow
 * the host's floating-point environment, which machine.c sets from the wave's MODE register. */
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;
typedef _Float16 f16;
typedef float f32;
typedef double f64;

/* Machine state that an instruction may read or change; the same struct as in machine.h. */
typedef struct {
  u64 exec, vcc, carry_in, carry_out, mask_out, exec_out;
  u32 scc, mode, m0, op_sel, op_sel_hi, neg;
  i32 simm, pad;
} Env;

#define SHARED static inline __attribute__((always_inline, unused))
#define BITS(N)                    \
  SHARED u##N bits_f##N(f##N x) {  \
    u##N b;                        \
    memcpy(&b, &x, sizeof b);      \
    return b;                      \
  }                                \
  SHARED f##N float_f##N(u##N b) { \
    f##N x;                        \
    memcpy(&x, &b, sizeof x);      \
    return x;                      \
  }
BITS(16)
BITS(32) BITS(64)

    SHARED u64 bits_mask(u32 width) {
  return width >= 64 ? ~0ull : (1ull << width) - 1;
}
SHARED u64 reversed_bits(u64 x, u32 width) { return __builtin_bitreverse64(x) >> (64 - width); }
#define SHIFTS(N)                                                                           \
  SHARED u##N shift_left_u##N(u##N x, u64 n) { return n >= N ? 0 : x << n; }                \
  SHARED i##N shift_left_i##N(i##N x, u64 n) { return n >= N ? 0 : (i##N)((u##N)x << n); }  \
  SHARED u##N shift_right_u##N(u##N x, u64 n) { return n >= N ? 0 : x >> n; }               \
  SHARED i##N shift_right_i##N(i##N x, u64 n) { return x >> (n >= N ? N - 1 : n); }         \
  SHARED i##N signext_from_bit_##N(u##N x, u32 width) {                                     \
    return width == 0 ? 0 : width >= N ? (i##N)x : (i##N)(x << (N - width)) >> (N - width); \
  }
SHIFTS(32)
SHIFTS(64)
#define CLASSES(N, MANTISSA, EXPONENT)                                                                        \
  SHARED int sign_f##N(f##N x) { return bits_f##N(x) >> (N - 1); }                                            \
  SHARED i32 exponent_f##N(f##N x) { return (i32)(bits_f##N(x) >> MANTISSA & ((1 << EXPONENT) - 1)); }        \
  SHARED u##N magnitude_f##N(f##N x) { return (u##N)(bits_f##N(x) & ((u##N) ~(u##N)0 >> 1)); }                \
  SHARED int isNAN_f##N(f##N x) { return magnitude_f##N(x) > (u##N)(((u##N)1 << EXPONENT) - 1) << MANTISSA; } \
  SHARED int isQuietNAN_f##N(f##N x) { return isNAN_f##N(x) && bits_f##N(x) >> (MANTISSA - 1) & 1; }          \
  SHARED int isSignalNAN_f##N(f##N x) { return isNAN_f##N(x) && !(bits_f##N(x) >> (MANTISSA - 1) & 1); }      \
  SHARED int is_denormal_f##N(f##N x) { return magnitude_f##N(x) != 0 && exponent_f##N(x) == 0; }             \
  SHARED f##N abs_f##N(f##N x) { return float_f##N(magnitude_f##N(x)); }                                      \
  SHARED f##N cvtToQuietNAN_f##N(f##N x) { return float_f##N((u##N)(bits_f##N(x) | (u##N)1 << (MANTISSA - 1))); }
    CLASSES(16, 10, 5) CLASSES(32, 23, 8) CLASSES(64, 52, 11)

#define MATH(N, T, S)                                                                              \
  SHARED f##N floor_f##N(f##N x) { return (f##N)__builtin_floor##S((T)x); }                        \
  SHARED f##N trunc_f##N(f##N x) { return (f##N)__builtin_trunc##S((T)x); }                        \
  SHARED f##N sqrt_f##N(f##N x) { return (f##N)__builtin_sqrt##S((T)x); }                          \
  SHARED f##N rint_f##N(f##N x) { return (f##N)__builtin_rint##S((T)x); }                          \
  SHARED i32 frexp_exponent_f##N(f##N x) {                                                         \
    int n = 0;                                                                                     \
    if (exponent_f##N(x) != (1 << (N == 16 ? 5 : N == 32 ? 8 : 11)) - 1) (void)frexp##S((T)x, &n); \
    return n;                                                                                      \
  }                                                                                                \
  SHARED f##N log2_f##N(f##N x) { return (f##N)log2##S((T)x); }                                    \
  SHARED f##N exp2_f##N(f##N x) { return (f##N)exp2##S((T)x); }                                    \
  SHARED f##N sin_f##N(f##N x) { return (f##N)sin##S((T)x); }                                      \
  SHARED f##N cos_f##N(f##N x) { return (f##N)cos##S((T)x); }                                      \
  SHARED f##N ldexp_f##N(f##N x, i32 n) { return (f##N)ldexp##S((T)x, n); }                        \
  SHARED f##N mantissa_f##N(f##N x) {                                                              \
    int n;                                                                                         \
    return (f##N)frexp##S((T)x, &n);                                                               \
  }
        MATH(16, f32, f) MATH(32, f32, f) MATH(64, f64, ) SHARED f16 fract_f16(f16 x) {
  return (f16)(x - floor_f16(x));
}
SHARED f32 fract_f32(f32 x) { return x - floor_f32(x); }
SHARED f64 fract_f64(f64 x) { return x - floor_f64(x); }
SHARED int isEven_f64(f64 x) { return __builtin_floor(x * 0.5) * 2 == x; }
SHARED f16 fma_f16(f16 a, f16 b, f16 c) { return (f16)((f64)a * b + c); } /* exact in f64, so rounded once */
SHARED f32 fma_f32(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
SHARED f64 fma_f64(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }

/* (a * b + c) * 2^n, rounded once: the wider type holds the sum with bits to spare */
SHARED f32 fma_scaled_f32(f32 a, f32 b, f32 c, i32 n) { return (f32)ldexp((f64)a * b + c, n); }
SHARED f64 fma_scaled_f64(f64 a, f64 b, f64 c, i32 n) { return (f64)ldexpl(fmal(a, b, c), n); }

/* sine and cosine of x turns: x loses its whole part exactly, then one rounding */
SHARED f32 sin_turns_f32(f32 x) { return (f32)sin((x - __builtin_floor(x)) * 6.283185307179586477); }
SHARED f32 cos_turns_f32(f32 x) { return (f32)cos((x - __builtin_floor(x)) * 6.283185307179586477); }
SHARED f16 sin_turns_f16(f16 x) { return (f16)sin_turns_f32((f32)x); }
SHARED f16 cos_turns_f16(f16 x) { return (f16)cos_turns_f32((f32)x); }

/* conversions: to integers they truncate and saturate, and NaN gives 0 */
#define TO_INT(NAME, FROM, TO, LOW, HIGH) \
  SHARED TO NAME(FROM x) { return x != x ? 0 : x <= LOW ? (TO)LOW : x >= HIGH ? (TO)HIGH : (TO)x; }
SHARED i32 f32_to_i32(f32 x) { return x != x ? 0 : x >= 0x1p31f ? INT32_MAX : x <= -0x1p31f ? INT32_MIN : (i32)x; }
SHARED u32 f32_to_u32(f32 x) { return !(x > 0) ? 0 : x >= 0x1p32f ? UINT32_MAX : (u32)x; }
TO_INT(f64_to_i32, f64, i32, -0x1p31, 2147483647.0)
TO_INT(f64_to_u32, f64, u32, 0.0, 4294967295.0)
SHARED i32 f16_to_i16(f16 h) {
  f32 x = h;
  return x != x ? 0 : x <= -32768.f ? -32768 : x >= 32767.f ? 32767 : (i32)x;
}
SHARED u32 f16_to_u16(f16 h) {
  f32 x = h;
  return !(x > 0) ? 0 : x >= 65535.f ? 65535 : (u32)x;
}
SHARED u32 f32_to_u8(f32 x) { return !(x > 0) ? 0 : x >= 255.f ? 255 : (u32)x; }
SHARED f32 f16_to_f32(f16 x) { return (f32)x; }
SHARED f16 f32_to_f16(f32 x) { return (f16)x; }
SHARED f64 f32_to_f64(f32 x) { return x; }
SHARED f32 f64_to_f32(f64 x) { return (f32)x; }
SHARED f32 i32_to_f32(i32 x) { return (f32)x; }
SHARED f32 u32_to_f32(u32 x) { return (f32)x; }
SHARED f64 i32_to_f64(i32 x) { return x; }
SHARED f64 u32_to_f64(u32 x) { return x; }
SHARED f16 u16_to_f16(u32 x) { return (f16)(f32)x; }
SHARED f16 i16_to_f16(i32 x) { return (f16)(f32)x; }
SHARED f16 f32_to_f16_rtz(f32 x) { /* toward zero; a finite number never becomes infinite */
  f16 h = (f16)x;
  u16 b = bits_f16(h);
  if (x != x) return h;
  if ((b & 0x7fff) == 0x7c00) return __builtin_isinf(x) ? h : float_f16((u16)(b - 1));
  f32 back = (f32)h;
  return abs_f32(back) > abs_f32(x) ? float_f16((u16)(b - 1)) : h;
}
SHARED f32 bf16_to_f32(u32 x) { return float_f32(x << 16); }
SHARED u32 f32_to_bf16(f32 x) {
  u32 b = bits_f32(x);
  return x != x ? (b >> 16 | 0x40) : (b + 0x7fff + (b >> 16 & 1)) >> 16;
}
SHARED i32 i8_to_i32(i32 x) { return x; }
SHARED u32 u8_to_u32(u32 x) { return x; }
SHARED i32 i4_to_i32(i32 x) { return x; }
SHARED u32 u4_to_u32(u32 x) { return x; }
SHARED i32 i16_to_i32(i32 x) { return x; }
SHARED u32 u16_to_u32(u32 x) { return x; }
SHARED u32 u32_to_u16(u32 x) { return x > 65535 ? 65535 : x; }
SHARED i32 i32_to_i16(i32 x) { return x < -32768 ? -32768 : x > 32767 ? 32767 : x; }
SHARED i32 f32_to_snorm(f32 x) { return (i32)__builtin_rintf((x != x ? 0 : x < -1 ? -1 : x > 1 ? 1 : x) * 32767.f); }
SHARED u32 f32_to_unorm(f32 x) { return (u32)__builtin_rintf((!(x > 0) ? 0 : x > 1 ? 1 : x) * 65535.f); }
SHARED i32 f16_to_snorm(f16 x) { return f32_to_snorm(x); }
SHARED u32 f16_to_unorm(f16 x) { return f32_to_unorm(x); }

SHARED i32 sat_i16(i64 x) { return x < -32768 ? -32768 : x > 32767 ? 32767 : (i32)x; }
SHARED u32 sat_u16(i64 x) { return x < 0 ? 0 : x > 65535 ? 65535 : (u32)x; }
SHARED i32 sat_i32(i64 x) { return x < INT32_MIN ? INT32_MIN : x > INT32_MAX ? INT32_MAX : (i32)x; }
SHARED u32 sat_u32(i64 x) { return x < 0 ? 0 : x > UINT32_MAX ? UINT32_MAX : (u32)x; }
