// Kernels for the tests of the emulator's own interface.
#include "constants.cuh"
#define KERNEL(NAME) extern "C" __global__ void NAME

KERNEL(saxpy)(float a, const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
struct Scalars {
  char c;
  double d;
};
KERNEL(scalars)(double* out, bool b, int i, unsigned u, long long l, float f, double d, Scalars s,
                unsigned short h) {
  const double values[] = {(double)b, (double)i, (double)u, (double)l, f, d, (double)s.c, s.d,
                           (double)h};
  for (int k = 0; k < 9; k++) out[k] = values[k];
}
struct Pair {
  float* y;
  const float* x;
};
KERNEL(struct_of_pointers)(Pair pair, int n) {
  if (threadIdx.x < n) pair.y[threadIdx.x] = pair.x ? pair.x[threadIdx.x] : -1;
}
KERNEL(indices)(int* out) {
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  int at = block * blockDim.x * blockDim.y * blockDim.z + thread;
  out[at] = 100 * at + threadIdx.y + 10 * blockIdx.z;
}
KERNEL(is_null)(const float* p, int* out) { *out = p == nullptr; }
KERNEL(volatile_pointers)(volatile float* y, const volatile double* x, volatile void* p) { y[0] = x[0]; }
KERNEL(shift_by_one)(const float* x, float* y, int n) {
  if (threadIdx.x == 0)
    for (int i = n - 1; i >= 0; i--) y[i] = x[i];
}
KERNEL(order)(int* out, int* next) { out[atomicAdd(next, 1)] = blockIdx.x * blockDim.x + threadIdx.x; }
KERNEL(speak)(int n) {
  if (threadIdx.x == 0) printf("n is %d\n", n);
}
__constant__ float table[4] = {1, 2, 3, 4};
__device__ int visits;
KERNEL(use_variables)(float* out) {
  out[threadIdx.x] = table[threadIdx.x] * FACTOR;
  atomicAdd(&visits, 1);
}
KERNEL(strided_copy)(const float* x, float* y, int stride) {
  y[threadIdx.x] = x[threadIdx.x * stride];
}
KERNEL(column_of_a_tile)(float* y, int pad) {
  __shared__ float s[32 * 33];
  for (int i = threadIdx.x; i < 32 * 33; i += 32) s[i] = i;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x * (32 + pad)];
}
KERNEL(fill_dynamic)(int* out) {
  extern __shared__ int memory[];
  memory[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = memory[blockDim.x - 1 - threadIdx.x];
}
KERNEL(write_at)(float* y, long long i) { y[i] = 1; }
KERNEL(divide)(int* y, int by) { *y = *y / by; }
KERNEL(recurse)(int* y, int n) {
  volatile char room[4096];
  for (int i = 0; i < 4096; i++) room[i] = i;
  if (n > 0) recurse(y, n - 1);
  *y += room[n % 4096];
}
KERNEL(far_below)(int* y) {  // its locals reach across the thread below, of which it writes one byte
  volatile char room[400 << 10];
  if (threadIdx.x == 1) room[0] = 1;
  *y = room[0];
}
KERNEL(for_ever)(int* y) {
  while (*(volatile int*)y == 0) {
  }
}
KERNEL(half_done)(float* y) {
  if (threadIdx.x < 2) y[threadIdx.x] = 7;
  __syncthreads();
  if (threadIdx.x == 3) y[1000] = 0;
}
namespace inner {
extern "C" {
KERNEL(in_a_block)(int* y) { *y = FACTOR; }
}
}  // namespace inner
static __global__ void not_exported(int*) {}
