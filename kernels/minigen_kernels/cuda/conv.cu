// The three convolutions of conv.cuh, rung 1: tiles of 64 x 64 in registers, float32 and float64.
// REGISTERS 128
#include "conv.cuh"
#include "tile.cuh"

// gw[i] = the sum of all parts at i, always in the same order: the same bits in every run.
template <class T>
__device__ void add_splits(const T* partial, T* gw, int size, int splits) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  T sum = 0;
  for (int part = 0; part < splits; part++) sum += partial[(long long)part * size + i];
  gw[i] = sum;
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define CONV(SUFFIX, T)                                                                           \
  KERNEL conv2d_1_implicit_##SUFFIX(const T* x, const T* w, const T* bias, T* y, Conv g,          \
                                    T* before, Finish<T> f, T* moments) {                         \
    conv2d<RegisterTile<T>>(x, w, {bias, y, before, f, moments}, g);                              \
  }                                                                                               \
  KERNEL conv_transpose2d_1_phases_##SUFFIX(const T* y, const T* w, const T* bias, T* x, Conv g,  \
                                            T* before, Finish<T> f, T* moments) {                 \
    conv_transpose2d<RegisterTile<T>>(y, w, {bias, x, before, f, moments}, g);                    \
  }                                                                                               \
  KERNEL conv2d_weight_1_split_##SUFFIX(const T* x, const T* gy, T* partial, Conv g, int splits) { \
    conv2d_weight<RegisterTile<T>>(x, gy, partial, g, splits);                                    \
  }                                                                                               \
  KERNEL add_splits_##SUFFIX(const T* partial, T* gw, int size, int splits) {                     \
    add_splits<T>(partial, gw, size, splits);                                                     \
  }
CONV(f32, float)
CONV(f64, double)
