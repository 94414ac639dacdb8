// Correct kernels that a careless checker would complain about: no alarm under any seed. Each is a
// function f with y = f(x), computed in test_emulator_correct.py too; launched with 4 blocks of 64
// threads unless LAUNCH says otherwise, x and y of 256 floats, 1024 bytes of dynamic shared memory.
#include <cmath>
#include "ptx.cuh"
#define KERNEL(NAME) extern "C" __global__ void NAME(const float* x, float* y, int n)

KERNEL(reverse_in_blocks) {
  __shared__ float s[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  s[t] = x[i];
  __syncthreads();
  y[i] = s[63 - t];
}
KERNEL(transpose_by_padded_tile) {  // LAUNCH 1 256
  __shared__ float s[16][17];
  int row = threadIdx.x / 16, column = threadIdx.x % 16;
  s[row][column] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = s[column][row];
}
KERNEL(sum_of_all_last_block_adds) {
  __shared__ float s[64];
  __shared__ bool last;
  __device__ static float partial[4];
  __device__ static unsigned done;
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  s[t] = x[i];
  y[i] = 0;  // before the barriers, or thread 0's fence would not cover it
  __syncthreads();
  for (int half = 32; half > 0; half /= 2) {
    if (t < half) s[t] += s[t + half];
    __syncthreads();
  }
  if (t == 0) {
    partial[blockIdx.x] = s[0];
    __threadfence();
    last = atomicInc(&done, gridDim.x - 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && t < 4) {
    float sum = 0;
    for (int b = 0; b < 4; b++) sum += partial[b];
    y[t] = sum;
  }
}
KERNEL(warp_sums_by_shuffle) {
  int i = blockIdx.x * 64 + threadIdx.x;
  float v = x[i];
  for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(0xffffffffu, v, by);
  y[i] = v;
}
KERNEL(warp_sums_by_shared_memory) {
  __shared__ volatile float s[64];
  int t = threadIdx.x, lane = t % 32, i = blockIdx.x * 64 + t;
  s[t] = x[i];
  __syncwarp();
  for (int half = 16; half > 0; half /= 2) {
    float other = lane < half ? s[t + half] : 0;
    __syncwarp();
    if (lane < half) s[t] = s[t] + other;
    __syncwarp();
  }
  y[i] = s[t - lane];
}
KERNEL(half_warp_sums) {
  __shared__ float s[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  unsigned mask = t % 32 < 16 ? 0x0000ffffu : 0xffff0000u;
  if (t % 32 >= 16) __syncwarp(mask);  // one half may have passed more barriers than the other
  s[t] = x[i];
  __syncwarp(mask);
  float v = s[t ^ 1] + s[t];
  for (int by = 8; by > 1; by /= 2) v += __shfl_xor_sync(mask, v, by, 16);
  y[i] = v;
}
KERNEL(prefix_sum_with_two_buffers) {
  __shared__ float s[2][64];
  int t = threadIdx.x, from = 0, i = blockIdx.x * 64 + t;
  s[0][t] = x[i];
  for (int by = 1; by < 64; by *= 2) {
    __syncthreads();
    s[1 - from][t] = s[from][t] + (t >= by ? s[from][t - by] : 0);
    from = 1 - from;
  }
  y[i] = s[from][t];
}
KERNEL(histogram_of_signs) {
  __shared__ int counts[2];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  if (t < 2) counts[t] = 0;
  __syncthreads();
  atomicAdd(&counts[x[i] < 0], 1);
  __syncthreads();
  y[i] = counts[t % 2];
}
KERNEL(bytes_side_by_side) {
  unsigned char* bytes = (unsigned char*)y;
  const unsigned char* from = (const unsigned char*)x;
  for (int i = blockIdx.x * 64 + threadIdx.x; i < 4 * n; i += 256) bytes[i] = from[i];
}
KERNEL(vectors_then_scalars) {
  __shared__ alignas(16) float s[64];
  int t = threadIdx.x, i = blockIdx.x * 64;
  if (t < 16) ((float4*)s)[t] = ((const float4*)(x + i))[t];
  __syncthreads();
  float2 pair = ((float2*)s)[t / 2];
  y[i + t] = t % 2 ? pair.x : pair.y;
}
KERNEL(grid_stride) {  // LAUNCH 3 48
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    y[i] = 2 * x[i];
}
KERNEL(tail_of_a_block) {  // LAUNCH 3 100
  int i = blockIdx.x * 100 + threadIdx.x;
  bool inside = i < n;
  int there = __syncthreads_count(inside);
  if (inside) y[i] = x[i] * there;
}
KERNEL(dynamic_shared_of_two_types) {
  extern __shared__ unsigned char raw[];
  float* values = (float*)raw;
  int* order = (int*)(raw + 256);
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  values[t] = x[i];
  order[63 - t] = t;
  __syncthreads();
  y[i] = values[order[t]];
}
KERNEL(lock) {  // LAUNCH 4 8
  __device__ static int taken;
  __device__ static float total;
  bool done = false;
  while (!done) {
    if (atomicCAS(&taken, 0, 1) == 0) {
      total += 1;
      __threadfence();
      atomicExch(&taken, 0);
      done = true;
    }
  }
  y[blockIdx.x * 8 + threadIdx.x] = x[blockIdx.x * 8 + threadIdx.x];
}
KERNEL(wait_for_a_flag) {  // LAUNCH 1 64
  __device__ static float message;
  __device__ static volatile int flag;
  int t = threadIdx.x;
  if (t == 40) {
    message = x[0];
    __threadfence();
    flag = 1;
  }
  if (t == 3) {
    while (flag == 0) {
    }
    __threadfence();
    y[0] = message;
    flag = 0;
  }
  if (t) y[t] = x[t];
}
KERNEL(full_mask_in_a_short_warp) {  // LAUNCH 8 20
  int i = blockIdx.x * 20 + threadIdx.x;
  __syncwarp();
  unsigned positive = __ballot_sync(0xffffffffu, x[i] > 0);
  float first = __shfl_sync(0xffffffffu, x[i], 0);
  y[i] = first + __popc(positive);
}
KERNEL(values_that_nobody_uses) {
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  y[i] = 0;
  if (t % 32 < 16) {
    float v = x[i];
    for (int by = 8; by > 0; by /= 2) v += __shfl_down_sync(0x0000ffffu, v, by);
    if (t % 32 == 0) y[i] = v;
  }
}
KERNEL(vote_after_some_have_returned) {
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  y[i] = x[i];
  if (t % 32 >= 20) return;
  if (__any_sync(0x000fffffu, t == 1)) y[i] += 1;
}
KERNEL(pipeline_of_two_stages) {
  __shared__ float s[2][64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  float sum = 0;
  cp_async<4>(&s[0][t], x + t);
  cp_async_commit();
  for (int k = 0; k < 4; k++) {
    if (k < 3) cp_async<4>(&s[(k + 1) % 2][t], x + (k + 1) * 64 + t);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    sum += s[k % 2][63 - t];
    __syncthreads();
  }
  y[i] = sum;
}
KERNEL(copies_with_zero_fill) {
  __shared__ alignas(16) float s[64];
  int t = threadIdx.x, i = blockIdx.x * 64;
  if (t < 16) cp_async<16>(s + 4 * t, t < 12 ? x + i + 4 * t : x, t < 12);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  y[i + t] = s[t];
}
struct Polynomial {
  double c[3];
};
extern "C" __global__ void struct_by_value(const float* x, float* y, int n, const Polynomial p) {
  int i = blockIdx.x * 64 + threadIdx.x;
  double value = 0;
  for (int k = 2; k >= 0; k--) value = value * x[i] + p.c[k];
  y[i] = (float)value;
}
KERNEL(local_array_by_pointer) {
  int i = blockIdx.x * 64 + threadIdx.x;
  float window[4];
  for (int k = 0; k < 4; k++) window[k] = x[min(i + k, n - 1)];
  float* p = window;
  float largest = *p;
  for (int k = 1; k < 4; k++) largest = fmaxf(largest, *++p);
  y[i] = largest;
}
KERNEL(maximum_by_compare_and_swap) {
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  __shared__ unsigned best;
  if (t == 0) best = 0;
  __syncthreads();
  unsigned mine = __float_as_uint(fabsf(x[i])), old = atomicOr(&best, 0);
  while (old < mine) {
    unsigned seen = atomicCAS(&best, old, mine);
    if (seen == old) break;
    old = seen;
  }
  __syncthreads();
  y[i] = __uint_as_float(best);
}
__constant__ float taps[3] = {0.25f, 0.5f, 0.25f};
KERNEL(blur_with_constants) {
  int i = blockIdx.x * 64 + threadIdx.x;
  float sum = 0;
  for (int k = -1; k <= 1; k++)
    if (i + k >= 0 && i + k < n) sum += taps[k + 1] * x[i + k];
  y[i] = sum;
}
template <int N, class T>
__device__ T power(T x) {
  T result = 1;
#pragma unroll
  for (int i = 0; i < N; i++) result *= x;
  return result;
}
KERNEL(templates_and_lambdas) {
  auto index = [&] { return blockIdx.x * blockDim.x + threadIdx.x; };
  if (index() < n) y[index()] = power<3>(x[index()]);
}
KERNEL(functions_of_either_name) {
  int i = blockIdx.x * 64 + threadIdx.x;
  y[i] = std::sqrt(std::abs(x[i])) + sqrt(abs(x[i])) + fmaxf(std::exp(x[i]), exp(x[i]));
}
