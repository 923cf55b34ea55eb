// What kernels need from HIP and CUDA, declared here: clang needs no vendor header. __HIP__: AMD, else PTX.
#pragma once
#define __global__ __attribute__((global))
#define __device__ __attribute__((device))
#define __shared__ __attribute__((shared))
// HFC_RESIDENT(threads, blocks): the compiler keeps registers so low that `blocks` blocks fit a compute unit; HFC_SIMD_WAVES(count):
// that a SIMD holds so many waves.
#if defined(__HIP__)  // without it the compiler assumes 1024 threads, and spills to fit them
#define __launch_bounds__(threads) __attribute__((amdgpu_flat_work_group_size(1, threads)))
#define HFC_RESIDENT(threads, blocks) __launch_bounds__(threads)
#define HFC_SIMD_WAVES(count) __attribute__((amdgpu_waves_per_eu(count)))
#else
#define __launch_bounds__(threads) __attribute__((launch_bounds(threads)))
#define HFC_RESIDENT(threads, blocks) __attribute__((launch_bounds(threads, blocks)))
#endif
#define HFC_FUNCTION static __device__ inline __attribute__((always_inline))

typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __SIZE_TYPE__ size_t;

#if defined(__HIP__)
HFC_FUNCTION int hfc_thread() { return (int)__builtin_amdgcn_workitem_id_x(); }
HFC_FUNCTION int hfc_block_x() { return (int)__builtin_amdgcn_workgroup_id_x(); }
HFC_FUNCTION int hfc_block_y() { return (int)__builtin_amdgcn_workgroup_id_y(); }
HFC_FUNCTION int hfc_block_z() { return (int)__builtin_amdgcn_workgroup_id_z(); }
HFC_FUNCTION int hfc_grid_x(int threads) { return (int)__builtin_amdgcn_grid_size_x() / threads; }  // of a block

// All threads of the block arrive, and see each other's LDS and global writes.
HFC_FUNCTION void hfc_barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup");
}
// All threads of the block arrive, and see each other's LDS: what the vector cache holds stays valid.
HFC_FUNCTION void hfc_lds_barrier() {
#if __clang_major__ >= 19
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
#else
  hfc_barrier();
#endif
}
#else
HFC_FUNCTION int hfc_thread() { return __nvvm_read_ptx_sreg_tid_x(); }
HFC_FUNCTION int hfc_block_x() { return __nvvm_read_ptx_sreg_ctaid_x(); }
HFC_FUNCTION int hfc_block_y() { return __nvvm_read_ptx_sreg_ctaid_y(); }
HFC_FUNCTION int hfc_block_z() { return __nvvm_read_ptx_sreg_ctaid_z(); }
HFC_FUNCTION int hfc_grid_x(int) { return __nvvm_read_ptx_sreg_nctaid_x(); }
HFC_FUNCTION int hfc_grid_y() { return __nvvm_read_ptx_sreg_nctaid_y(); }
// Where something lies in LDS, as asynchronous copies and matrix units take it.
HFC_FUNCTION uint32_t hfc_lds_address(const void* at) {
  return (uint32_t)(uint64_t)(__attribute__((address_space(3))) const void*)at;
}
HFC_FUNCTION void hfc_barrier() { __syncthreads(); }
HFC_FUNCTION void hfc_lds_barrier() { __syncthreads(); }
#endif

// Loads that stand before it are asked for before those behind it.
HFC_FUNCTION void hfc_keep_order() { asm volatile("" ::: "memory"); }
// The compiler moves nothing across: without it AMD's loads so many operands ahead that registers run out.
HFC_FUNCTION void hfc_in_order() {
#if defined(__HIP__)
  __builtin_amdgcn_sched_barrier(0);
#endif
}
// hfc_not_before: what is done with x behind it is not done before: a choice would wait for what was asked for.
// hfc_any: the pointer, of which the compiler does not know that nobody writes there: what is read keeps its place.
#if defined(__HIP__)
HFC_FUNCTION void hfc_not_before(float& x) { asm volatile("" : "+v"(x)); }
typedef const __attribute__((address_space(1))) float hfc_global_float;
HFC_FUNCTION hfc_global_float* hfc_any(const float* from) {
  hfc_global_float* at = (hfc_global_float*)from;
  asm volatile("" : "+s"(at));
  return at;
}
#else
HFC_FUNCTION void hfc_not_before(float& x) { asm volatile("" : "+f"(x)); }
HFC_FUNCTION const float* hfc_any(const float* at) { asm volatile("" : "+l"(at)); return at; }
#endif

// A kernel may start before the one ahead of it has ended (feature early_launch): as soon as all blocks of that one run and have called
// hfc_start_next. Until it has waited it reads weights, tables and the step's shape, and states that no other kernel of the step writes.
// A kernel that ends has waited, so all kernels ahead of it have ended, too.
HFC_FUNCTION void hfc_start_next() {
#if defined(HFC_EARLY_LAUNCH)
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
HFC_FUNCTION void hfc_wait_for_inputs() {
#if defined(HFC_EARLY_LAUNCH)
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// What all blocks read once their inputs are there comes into the caches meanwhile.
HFC_FUNCTION void hfc_prefetch(const void* at) {
#if defined(HFC_EARLY_LAUNCH)
  asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
#endif
}
HFC_FUNCTION void hfc_begin() {
  hfc_start_next();
  hfc_wait_for_inputs();
}
