// C (M x N, float32) = A (M x K) B (N x K)^T, A and B bfloat16, both by rows: tensor cores, sums in
// float32. M and N are any size; K and the rows' addresses are multiples of 8 (16 bytes).
// REGISTERS 128
#include "ptx.cuh"

constexpr int BM = 64, BN = 64, BK = 64;  // tile of C of a block, and depth of a step
constexpr int STAGES = 3;                 // tiles of A and B in flight or in use
constexpr int THREADS = 128;              // four warps, each with 32 x 32 elements of C

// A row of a tile is eight chunks of 16 bytes. Chunk c of row r lies in place c ^ (r % 8), so that
// the eight rows that ldmatrix reads together, at one column, lie in eight different groups of
// banks; and so do the eight chunks of a row that is written.
__device__ __forceinline__ int swizzled(int row, int column) {
  return row * BK + ((column / 8) ^ (row % 8)) * 8 + column % 8;
}

struct Stage {
  unsigned short a[BM * BK], b[BN * BK];
};

// Starts copying one tile of rows; what lies outside the matrix becomes zeros.
template <int ROWS>
__device__ __forceinline__ void copy_tile(unsigned short* tile, const unsigned short* from,
                                          int row0, int rows, int k0, int K) {
#pragma unroll
  for (int i = threadIdx.x; i < ROWS * BK / 8; i += THREADS) {
    int row = i / (BK / 8), column = i % (BK / 8) * 8;
    bool inside = row0 + row < rows && k0 + column < K;
    const unsigned short* source = inside ? from + (long long)(row0 + row) * K + k0 + column : from;
    cp_async<16>(&tile[swizzled(row, column)], source, inside);
  }
}

// The products of one step, by one warp: 2 x 4 tensor-core tiles of 16 x 8, four times 16 deep.
__device__ __forceinline__ void multiply(const Stage& stage, int row0, int column0,
                                         float (&sums)[2][4][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < BK; k += 16) {
    unsigned a[2][4], b[4][2];
#pragma unroll
    for (int i = 0; i < 2; i++)
      ldmatrix_x4(a[i], &stage.a[swizzled(row0 + 16 * i + lane % 16, k + lane / 16 * 8)]);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {  // two tiles of B by one ldmatrix
      unsigned both[4];
      int row = column0 + 8 * j + lane / 16 * 8 + lane % 8;
      ldmatrix_x4(both, &stage.b[swizzled(row, k + lane / 8 % 2 * 8)]);
      b[j][0] = both[0];
      b[j][1] = both[1];
      b[j + 1][0] = both[2];
      b[j + 1][1] = both[3];
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) mma_bf16(sums[i][j], a[i], b[j]);
  }
}

// Rung 3, tensor cores: while a step is multiplied, the tiles of the next two are on their way.
extern "C" __global__ void __launch_bounds__(THREADS)
gemm_3_tensor_bf16(const unsigned short* a, const unsigned short* b, float* c, int M, int N,
                   int K) {
  extern __shared__ __align__(128) unsigned char memory[];
  Stage* stages = (Stage*)memory;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = blockIdx.y * BM, column0 = blockIdx.x * BN, steps = (K + BK - 1) / BK;
  auto copy = [&](int step) {
    if (step < steps) {
      copy_tile<BM>(stages[step % STAGES].a, a, row0, M, step * BK, K);
      copy_tile<BN>(stages[step % STAGES].b, b, column0, N, step * BK, K);
    }
    cp_async_commit();  // of nothing, past the end: so that the wait below counts right
  };
  float sums[2][4][4] = {};
  for (int step = 0; step < STAGES - 1; step++) copy(step);
  for (int step = 0; step < steps; step++) {
    cp_async_wait<STAGES - 2>();
    __syncthreads();  // this step's tiles are there, and nobody reads the last step's any more
    copy(step + STAGES - 1);
    multiply(stages[step % STAGES], warp / 2 * 32, warp % 2 * 32, sums);
  }
  cp_async_wait<0>();
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int row = row0 + warp / 2 * 32 + 16 * i + lane / 4 + e / 2 * 8;
        int column = column0 + warp % 2 * 32 + 8 * j + lane % 4 * 2 + e % 2;
        if (row < M && column < N) c[(long long)row * N + column] = sums[i][j][e];
      }
}
