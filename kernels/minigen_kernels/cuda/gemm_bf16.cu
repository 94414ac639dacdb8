// c[s, i, j] = f(bias[j] + sum over k of a[s, i, k] b[s, j, k]), a and b bfloat16, both along k:
// tensor cores, sums and c in float32. M and N are any size; K is a multiple of 8 (16 bytes).
// blockIdx: x tiles of columns, y of rows, z batch.
// REGISTERS 128
#include "activation.cuh"
#include "pipeline.cuh"

// Rung 4. batch_a, batch_b: numbers from one matrix of the batch to the next; 0: one for all.
extern "C" __global__ void __launch_bounds__(THREADS)
gemm_4_pipeline(const unsigned short* a, const unsigned short* b, const float* bias, float* c,
                int M, int N, int K, long long batch_a, long long batch_b, float* before,
                Finish<float> f) {
  extern __shared__ __align__(128) unsigned char memory[];
  const int warp_row = threadIdx.x / 64 * 32, warp_column = threadIdx.x / 32 % 2 * 32;
  const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
  const Result<float> result = {bias, c, before, f};
  const long long first = (long long)blockIdx.z * M * N;
  a += blockIdx.z * batch_a;
  b += blockIdx.z * batch_b;
  auto rows_of = [K](const unsigned short* from, int row0, int rows) {
    return [=](int i, int k) {
      int row = row0 + copied_row(i);
      return row < rows && k < K ? from + (long long)row * K + k : nullptr;
    };
  };
  float sums[2][4][4] = {};
  pipelined_products(memory, a, b, K, rows_of(a, row0, M), rows_of(b, column0, N), warp_row,
                     warp_column, sums);
  each_sum(sums, row0 + warp_row, column0 + warp_column, [&](int m, int n, float sum) {
    if (m < M && n < N) result.put(first + (long long)m * N + n, n, sum);
  });
}
