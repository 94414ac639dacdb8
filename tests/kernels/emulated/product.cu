// GEMM of gemm_tensor.cu in one layout, small enough to be compiled again with each mistake.
#include "gemm.cuh"
#include "tensor.cuh"

#define PRODUCT(KIND, SUFFIX)                                                                     \
  extern "C" __global__ void __launch_bounds__(THREADS) gemm_3_tensor_nn_##SUFFIX(                \
      const float* a, const float* b, const float* bias, float* c, int M, int N, int K,           \
      Matrix at, Matrix bt, float* before, Finish<float> f) {                                     \
    gemm<TensorTile<KIND>, true, false>(a, b, {bias, c, before, f}, M, N, K, at, bt);             \
  }
PRODUCT(Bf16, bf16)
PRODUCT(Tf32, tf32)
