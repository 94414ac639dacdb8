// conv2d of images with few channels, such as the first layer of a network:
//   y[n,o,i,j] = f(b[o] + sum over c,p,q of x[n,c, i s + p d - P, j s + q d - P] w[o,c,p,q])
// As a matrix product it is so shallow (9 terms for one channel and 3 x 3 taps) that tiles of both
// operands are loaded for hardly any arithmetic. float32 and float64, NCHW, any size.
// REGISTERS 128
#include "conv.cuh"

constexpr int THREADS = 256;
constexpr int FILTERS = 16;  // sums of a thread: a pixel of x is used so often once it is loaded
constexpr int STEP = 64;     // terms of a sum whose weights are in shared memory at a time

// Rung 2: a thread makes one pixel of y in 16 channels, in registers. Neighbouring threads read
// neighbouring pixels of x, and all of them the same weights, which shared memory broadcasts.
// blockIdx: x pixels of all images, y tiles of filters, z group.
template <class T>
__device__ __forceinline__ void conv2d_2_shallow(const T* x, const T* w,
                                                 const Result<T>& y, const Conv& g) {
  __shared__ __align__(16) T weights[STEP][FILTERS];
  const int per_group = g.O / g.groups, channels = g.C / g.groups, group = blockIdx.z;
  const int depth = channels * g.kh * g.kw, pixels = g.h * g.w, filter0 = blockIdx.y * FILTERS;
  const int at = blockIdx.x * THREADS + threadIdx.x, n = at / pixels, pixel = at % pixels;
  const int row0 = pixel / g.w * g.stride_h - g.pad_h, col0 = pixel % g.w * g.stride_w - g.pad_w;
  const bool is_inside = n < g.N;
  w += (long long)(group * per_group + filter0) * depth;
  x += ((long long)n * g.C + group * channels) * g.H * g.W;
  T sums[FILTERS] = {};
  int c = 0, p = 0, q = 0;  // of the term, counted on
  for (int start = 0; start < depth; start += STEP) {
    for (int e = threadIdx.x; e < STEP * FILTERS; e += THREADS) {
      int k = start + e / FILTERS, f = e % FILTERS;
      bool there = k < depth && filter0 + f < per_group;
      weights[e / FILTERS][f] = there ? w[(long long)f * depth + k] : T(0);
    }
    __syncthreads();
    const int terms = depth - start < STEP ? depth - start : STEP;
    for (int k = 0; k < terms; k++) {
      int row = row0 + p * g.dilation_h, col = col0 + q * g.dilation_w;
      bool there = is_inside && row >= 0 && row < g.H && col >= 0 && col < g.W;
      T value = there ? x[((long long)c * g.H + row) * g.W + col] : T(0);
#pragma unroll
      for (int f = 0; f < FILTERS; f++) sums[f] += value * weights[k][f];
      if (++q == g.kw) {
        q = 0;
        if (++p == g.kh) p = 0, c++;
      }
    }
    __syncthreads();
  }
  if (!is_inside) return;
#pragma unroll
  for (int f = 0; f < FILTERS; f++) {
    if (filter0 + f >= per_group) continue;
    int o = group * per_group + filter0 + f;
    y.put(((long long)n * g.O + o) * pixels + pixel, o, sums[f]);
  }
}

#define SHALLOW(SUFFIX, T)                                                                        \
  extern "C" __global__ void __launch_bounds__(THREADS)                                           \
  conv2d_2_shallow_##SUFFIX(const T* x, const T* w, const T* bias, T* y, Conv g, T* before,       \
                            Finish<T> f) {                                                        \
    conv2d_2_shallow<T>(x, w, {bias, y, before, f}, g);                                           \
  }
SHALLOW(f32, float)
SHALLOW(f64, double)
