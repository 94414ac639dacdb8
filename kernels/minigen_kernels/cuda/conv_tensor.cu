// The three convolutions of conv.cuh on arrays of float32, rung 3: the products by tensor cores, of
// factors rounded to bfloat16 or TF32, or split in two numbers of TF32, summed in float32.
// REGISTERS 208: three blocks fit into a multiprocessor, two of the transposed convolution
#include "conv.cuh"
#include "tensor.cuh"

#define KERNEL(BLOCKS) extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#define CONV(KIND, SUFFIX)                                                                        \
  KERNEL(3) conv2d_3_tensor_##SUFFIX(const float* x, const float* w, const float* bias, float* y, \
                                     Conv g, float* before, Finish<float> f, float* moments) {    \
    conv2d<TensorTile<KIND>>(x, w, {bias, y, before, f, moments}, g);                             \
  }                                                                                               \
  KERNEL(2) conv_transpose2d_2_tensor_##SUFFIX(const float* y, const float* w, const float* bias, \
                                               float* x, Conv g, float* before,                   \
                                               Finish<float> f, float* moments) {                 \
    conv_transpose2d<TensorTile<KIND>>(y, w, {bias, x, before, f, moments}, g);                   \
  }                                                                                               \
  KERNEL(3) conv2d_weight_2_tensor_##SUFFIX(const float* x, const float* gy, float* partial,      \
                                            Conv g, int splits) {                                 \
    conv2d_weight<TensorTile<KIND>>(x, gy, partial, g, splits);                                   \
  }
CONV(Bf16, bf16)
CONV(Tf32, tf32)
CONV(Tf32x3, tf32x3)
