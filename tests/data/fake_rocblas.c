// What the launch tape calls of rocBLAS, on host memory, with counts of what was asked. Columns stand together.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int products, handles, atomics = 1, last_columns;
void* last_stream;

int rocblas_create_handle(void** handle) {
  if (getenv("FAKE_ROCBLAS_STATUS")) return atoi(getenv("FAKE_ROCBLAS_STATUS"));
  *handle = malloc(1);
  handles++;
  return 0;
}
int rocblas_destroy_handle(void* handle) {
  free(handle);
  handles--;
  return 0;
}
int rocblas_set_stream(void* handle, void* stream) {
  last_stream = stream;
  return 0;
}
int rocblas_set_atomics_mode(void* handle, int mode) {
  atomics = mode;
  return 0;
}

static float half(const void* at, int64_t i, int type) {
  const uint16_t bits = ((const uint16_t*)at)[i];
  if (type == 168) {
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
  }
  _Float16 value;
  memcpy(&value, &bits, 2);
  return value;
}

// 150: f16, 151: f32, 168: bf16; 111: as it is, 112: transposed.
int rocblas_gemm_ex(void* handle, int left, int right, int m, int n, int k, const float* alpha, const void* a, int a_type, int lda, const void* b,
                    int b_type, int ldb, const float* beta, const float* c, int c_type, int ldc, float* d, int d_type, int ldd, int compute,
                    int algorithm, int32_t solution, uint32_t flags) {
  if (!handle || left != 112 || right != 111 || a_type != b_type || (a_type != 150 && a_type != 168)) return 11;
  if (c_type != 151 || d_type != 151 || compute != 151 || lda < k || ldb < k || ldd < m) return 11;
  products++;
  last_columns = n;
  for (int column = 0; column < n; column++) {
    for (int line = 0; line < m; line++) {
      double sum = 0;
      for (int i = 0; i < k; i++) sum += half(a, (int64_t)line * lda + i, a_type) * half(b, (int64_t)column * ldb + i, b_type);
      const float before = *beta ? *beta * c[(int64_t)column * ldc + line] : 0.0f;
      d[(int64_t)column * ldd + line] = (float)(*alpha * sum) + before;
    }
  }
  return 0;
}
