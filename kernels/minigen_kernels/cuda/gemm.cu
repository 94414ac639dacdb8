// c[s, i, j] = f(bias[j] + sum over k of a[s, i, k] b[s, k, j]), float32 and float64, any size.
// blockIdx: x tiles of columns, y of rows, z batch.
// REGISTERS 128: at most so many a thread, which the compile layer's test holds the file to.
#include "gemm.cuh"
#include "tile.cuh"

// Rung 1, shared tile: a block of 16 x 16 threads, an element of C each. Every number is read from
// global memory once per tile instead of once per element.
template <class T>
__device__ void gemm_1_tile(const T* a, const T* b, const T* bias, T* c, int M, int N, int K,
                            Matrix at, Matrix bt, T* before, Finish<T> f) {
  __shared__ T as[SIDE][SIDE + 1], bs[SIDE][SIDE + 1];
  const int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
  const int m = blockIdx.y * SIDE + y, n = blockIdx.x * SIDE + x;
  a += blockIdx.z * at.batch;
  b += blockIdx.z * bt.batch;
  T sum = 0;
  for (int k0 = 0; k0 < K; k0 += SIDE) {
    long long from_a = (long long)m * at.row + (long long)(k0 + x) * at.column;
    long long from_b = (long long)(k0 + y) * bt.row + (long long)n * bt.column;
    as[y][x] = m < M && k0 + x < K ? a[from_a] : T(0);
    bs[y][x] = n < N && k0 + y < K ? b[from_b] : T(0);
    __syncthreads();
    for (int k = 0; k < SIDE; k++) sum += as[y][k] * bs[k][x];
    __syncthreads();
  }
  const Result<T> result = {bias, c, before, f};
  if (m < M && n < N) result.put(((long long)blockIdx.z * M + m) * N + n, n, sum);
}

// Rung 2, register tile: a block makes 64 x 64 elements, a thread 16 of them. Three blocks fit into
// a multiprocessor: left to itself, the compiler saves registers for a fourth, and spills some.
#define KERNEL(BLOCKS) extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#define REGISTERS(LAYOUT, SUFFIX, T, A_ALONG_K, B_ALONG_K)                                        \
  KERNEL(3) gemm_2_registers_##LAYOUT##_##SUFFIX(const T* a, const T* b, const T* bias, T* c,     \
                                                 int M, int N, int K, Matrix at, Matrix bt,       \
                                                 T* before, Finish<T> f) {                        \
    gemm<RegisterTile<T>, A_ALONG_K, B_ALONG_K>(a, b, {bias, c, before, f}, M, N, K, at, bt);     \
  }
// n and t: an operand lies in memory as it is written in the formula, or transposed.
#define GEMM(SUFFIX, T)                                                                           \
  KERNEL(1) gemm_1_tile_##SUFFIX(const T* a, const T* b, const T* bias, T* c, int M, int N,       \
                                 int K, Matrix at, Matrix bt, T* before, Finish<T> f) {           \
    gemm_1_tile<T>(a, b, bias, c, M, N, K, at, bt, before, f);                                    \
  }                                                                                               \
  REGISTERS(nn, SUFFIX, T, true, false)                                                           \
  REGISTERS(nt, SUFFIX, T, true, true)                                                            \
  REGISTERS(tn, SUFFIX, T, false, false)                                                          \
  REGISTERS(tt, SUFFIX, T, false, true)
GEMM(f32, float)
GEMM(f64, double)
