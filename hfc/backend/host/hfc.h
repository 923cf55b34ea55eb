// What every host kernel starts from: vectors of 16 lanes, the thread team, scratch, row reductions.
#ifndef HFC_HOST_H
#define HFC_HOST_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "math.h"

#define HFC_ELEMENTWISE _Pragma("clang loop vectorize(assume_safety)")  // the iterations of a hook's loop are independent
#define HFC_UNROLL _Pragma("clang loop unroll(full)")
#define HFC_ALIGN64(bytes) (((size_t)(bytes) + 63) / 64 * 64)

typedef float f32x16 __attribute__((ext_vector_type(16)));
typedef float f32x8 __attribute__((ext_vector_type(8)));
typedef int32_t i32x8 __attribute__((ext_vector_type(8)));
typedef int32_t i32x16 __attribute__((ext_vector_type(16)));
typedef uint32_t u32x16 __attribute__((ext_vector_type(16)));
typedef uint64_t u64x4 __attribute__((ext_vector_type(4)));
typedef int16_t i16x32 __attribute__((ext_vector_type(32)));
typedef uint16_t u16x16 __attribute__((ext_vector_type(16)));
typedef uint8_t u8x64 __attribute__((ext_vector_type(64)));
typedef uint8_t u8x16 __attribute__((ext_vector_type(16)));
typedef int8_t i8x16 __attribute__((ext_vector_type(16)));
typedef _Float16 f16x16 __attribute__((ext_vector_type(16)));

// Unaligned loads and stores; the compiler splits them where registers are narrower.
#define HFC_LOADER(type, name) \
  HFC_INLINE type name(const void* p) { type v; memcpy(&v, p, sizeof v); return v; }
HFC_LOADER(f32x16, hfc_load_f32)
HFC_LOADER(f16x16, hfc_load_f16)
HFC_LOADER(i32x16, hfc_load_i32)
HFC_LOADER(u32x16, hfc_load_u32)
HFC_LOADER(u16x16, hfc_load_u16)
HFC_LOADER(u8x16, hfc_load_u8)
HFC_LOADER(i8x16, hfc_load_i8)
HFC_LOADER(uint32_t, hfc_load_u32_at)
HFC_LOADER(uint16_t, hfc_load_u16_at)
HFC_INLINE float hfc_load_half(const void* p) { return hfc_f16_to_f32(hfc_load_u16_at(p)); }
HFC_INLINE void hfc_store_f32(void* p, f32x16 v) { memcpy(p, &v, sizeof v); }

// One rounding where the machine has fused multiply-add, two elsewhere; the same for every row count.
HFC_INLINE f32x16 hfc_fma(f32x16 a, f32x16 b, f32x16 c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_elementwise_fma(a, b, c);
#else
  return a * b + c;
#endif
}
HFC_INLINE f32x16 hfc_wide_f16(f16x16 h) { return __builtin_convertvector(h, f32x16); }
HFC_INLINE f32x16 hfc_wide_bf16(u16x16 h) {
  const u32x16 wide = __builtin_convertvector(h, u32x16) << 16;
  f32x16 v;
  memcpy(&v, &wide, sizeof v);
  return v;
}

HFC_INLINE float hfc_sum16(f32x16 v) {
  v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return v[0] + v[1];
}
HFC_INLINE f32x16 hfc_larger(f32x16 a, f32x16 b) { return a > b ? a : b; }
HFC_INLINE float hfc_max16(f32x16 v) {
  v = hfc_larger(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
  v = hfc_larger(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
  v = hfc_larger(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
  return v[0] > v[1] ? v[0] : v[1];
}

// Reductions of n floats, always in the same order. `x` has room for n rounded up to 16; the rest is overwritten.
HFC_INLINE float hfc_reduce_sum(float* x, int n) {
  for (int j = n; j % 16; j++) x[j] = 0.0f;
  f32x16 sum = 0.0f, sum1 = 0.0f;
  int j = 0;
  for (; j + 32 <= n; j += 32) {
    sum += hfc_load_f32(x + j);
    sum1 += hfc_load_f32(x + j + 16);
  }
  for (; j < n; j += 16) sum += hfc_load_f32(x + j);
  return hfc_sum16(sum + sum1);
}
HFC_INLINE float hfc_reduce_max(float* x, int n) {
  for (int j = n; j % 16; j++) x[j] = x[0];
  f32x16 best = hfc_load_f32(x);
  for (int j = 16; j < n; j += 16) best = hfc_larger(best, hfc_load_f32(x + j));
  return hfc_max16(best);
}

// The threads that run a step together. A launch is one or more phases; a phase is a number of units that threads take.
// A phase ends when all its units are done, not when all threads have come: a thread whose core was taken away holds the
// others up only if it holds units. So a kernel may touch shared memory only while it holds a unit; a thread that comes
// late finds nothing to take and falls through.
typedef struct HfcTeam {
  int threads;
  char* shared;                            // scratch that all threads see
  _Alignas(64) atomic_uint_fast64_t next;  // step | launch | phase | next unit to take, see HFC_UNIT_BITS
  _Alignas(64) atomic_int done;            // units of the phase that are done
  _Alignas(64) atomic_uint steps;          // steps begun, what idle threads sleep on
  atomic_int sleepers;
} HfcTeam;

typedef struct HfcWorker {
  HfcTeam* team;
  char *own, *shared;  // scratch of this thread and of the team
  uint64_t phase;      // the phase this thread is in, as in `next`, with unit 0
  int thread, taken;   // units of the phase that this thread has taken
} HfcWorker;

enum { HFC_UNIT_BITS = 26, HFC_PHASE_BITS = 3, HFC_LAUNCH_BITS = 13 };  // the rest counts steps
#define HFC_NEXT_PHASE (1ull << HFC_UNIT_BITS)
#define HFC_NEXT_LAUNCH (HFC_NEXT_PHASE << HFC_PHASE_BITS)
#define HFC_NEXT_STEP (HFC_NEXT_LAUNCH << HFC_LAUNCH_BITS)

void hfc_wait(const HfcWorker* w);

// The first of up to `chunk` units to do now, or `units` when there are none left.
HFC_INLINE int hfc_take(HfcWorker* w, int units, int chunk) {
  uint_fast64_t next = atomic_load_explicit(&w->team->next, memory_order_acquire);
  for (;;) {
    const uint64_t unit = next - w->phase;
    if (unit >= (uint64_t)units) return units;  // also where the team is in another phase: a huge number
    const int end = (int)unit + chunk < units ? (int)unit + chunk : units;
    if (atomic_compare_exchange_weak_explicit(&w->team->next, &next, w->phase + end, memory_order_acquire, memory_order_acquire)) {
      w->taken += end - (int)unit;
      return (int)unit;
    }
  }
}

// Ends a phase of `units` units for this thread; returns when all units are done. No units: no phase.
HFC_INLINE void hfc_join(HfcWorker* w, int units) {
  if (units <= 0) return;
  const int mine = w->taken;
  w->taken = 0;
  if (mine && atomic_fetch_add_explicit(&w->team->done, mine, memory_order_acq_rel) + mine == units) {
    atomic_store_explicit(&w->team->done, 0, memory_order_relaxed);
    atomic_store_explicit(&w->team->next, w->phase + HFC_NEXT_PHASE, memory_order_release);
  } else {
    hfc_wait(w);
  }
  w->phase += HFC_NEXT_PHASE;
}

// Units to take at a time: a few chunks a thread, each worth `least` units or more.
HFC_INLINE int hfc_chunk(const HfcWorker* w, int units, int least) {
  const int fair = units / (w->team->threads * 4);
  return w->team->threads == 1 ? units + 1 : fair > least ? fair : least;
}

#endif
