// c[s, i, j] = f(bias[j] + sum over k of a[s, i, k] b[s, j, k]), a and b bfloat16, both along k:
// tensor cores, sums and c in float32. M and N are any size; K is a multiple of 8 (16 bytes).
// blockIdx: x tiles of columns, y of rows, z batch.
// REGISTERS 128
#include "activation.cuh"
#include "tensor.cuh"

constexpr int BK = 64;       // depth of a step
constexpr int ROW = BK / 2;  // words of a row of a tile
constexpr int STAGES = 3;    // tiles of A and B in flight or in use

struct Stage {
  unsigned a[TILE * ROW], b[TILE * ROW];
};

// Starts copying one tile of rows; what lies outside the matrix becomes zeros.
__device__ __forceinline__ void copy_tile(unsigned* tile, const unsigned short* from, int row0,
                                          int rows, int k0, int K) {
#pragma unroll
  for (int i = threadIdx.x; i < TILE * BK / 8; i += THREADS) {
    int row = i / (BK / 8), column = i % (BK / 8) * 8;
    bool inside = row0 + row < rows && k0 + column < K;
    const unsigned short* source = inside ? from + (long long)(row0 + row) * K + k0 + column : from;
    cp_async<16>(&tile[place<ROW>(row, column / 2)], source, inside);
  }
}

// Rung 4: while a step is multiplied, the tiles of the next two are on their way. batch_a, batch_b:
// numbers from one matrix of the batch to the next; 0: one for all.
extern "C" __global__ void __launch_bounds__(THREADS)
gemm_4_pipeline(const unsigned short* a, const unsigned short* b, const float* bias, float* c,
                int M, int N, int K, long long batch_a, long long batch_b, float* before,
                Finish<float> f) {
  extern __shared__ __align__(128) unsigned char memory[];
  Stage* stages = (Stage*)memory;
  const int warp_row = threadIdx.x / 64 * 32, warp_column = threadIdx.x / 32 % 2 * 32;
  const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE, steps = (K + BK - 1) / BK;
  const Result<float> result = {bias, c, before, f};
  const long long first = (long long)blockIdx.z * M * N;
  a += blockIdx.z * batch_a;
  b += blockIdx.z * batch_b;
  auto copy = [&](int step) {
    if (step < steps) {
      copy_tile(stages[step % STAGES].a, a, row0, M, step * BK, K);
      copy_tile(stages[step % STAGES].b, b, column0, N, step * BK, K);
    }
    cp_async_commit();  // of nothing, past the end: so that the wait below counts right
  };
  float sums[2][4][4] = {};
  for (int step = 0; step < STAGES - 1; step++) copy(step);
  for (int step = 0; step < steps; step++) {
    cp_async_wait<STAGES - 2>();
    __syncthreads();  // this step's tiles are there, and nobody reads the last step's any more
    copy(step + STAGES - 1);
    multiply<Bf16, ROW>(stages[step % STAGES].a, stages[step % STAGES].b, warp_row,
                        warp_column, sums);
  }
  cp_async_wait<0>();
  each_sum(sums, row0 + warp_row, column0 + warp_column, [&](int m, int n, float sum) {
    if (m < M && n < N) result.put(first + (long long)m * N + n, n, sum);
  });
}
