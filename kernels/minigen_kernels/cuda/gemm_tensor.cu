// c[s, i, j] = f(bias[j] + sum over k of a[s, i, k] b[s, k, j]), any size, arrays of float32; rung
// 3: the products by tensor cores, of operands rounded to bfloat16 or TF32, or split in two numbers
// of TF32, summed in float32.
// blockIdx: x tiles of columns, y of rows, z batch.
// REGISTERS 168: three blocks fit into a multiprocessor
#include "gemm.cuh"
#include "tensor.cuh"

#define GEMM(KIND, SUFFIX, LAYOUT, A_ALONG_K, B_ALONG_K)                                          \
  extern "C" __global__ void __launch_bounds__(THREADS, 3)                                        \
  gemm_3_tensor_##LAYOUT##_##SUFFIX(const float* a, const float* b, const float* bias, float* c,  \
                                    int M, int N, int K, Matrix at, Matrix bt, float* before,     \
                                    Finish<float> f) {                                            \
    gemm<TensorTile<KIND>, A_ALONG_K, B_ALONG_K>(a, b, {bias, c, before, f}, M, N, K, at, bt);    \
  }
// n and t: an operand lies in memory as it is written in the formula, or transposed.
#define LAYOUTS(KIND, SUFFIX)                                                                     \
  GEMM(KIND, SUFFIX, nn, true, false)                                                             \
  GEMM(KIND, SUFFIX, nt, true, true)                                                              \
  GEMM(KIND, SUFFIX, tn, false, false)                                                            \
  GEMM(KIND, SUFFIX, tt, false, true)
LAYOUTS(Bf16, bf16)
LAYOUTS(Tf32, tf32)
LAYOUTS(Tf32x3, tf32x3)
