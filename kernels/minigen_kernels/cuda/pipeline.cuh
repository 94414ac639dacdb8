// A product of bfloat16 arrays whose tiles are copied by cp.async: from global to shared memory past
// the registers, and two steps before they are multiplied. For GEMM and the convolutions, which
// differ in where eight neighbours lie, and whether these are neighbours along k.
#pragma once
#include "tensor.cuh"

constexpr int BK = 64;        // depth of a step
constexpr int ROW = BK / 2;   // words of a row of a tile
constexpr int NUMBERS = 8;    // of 16 bytes, which are copied at a time

struct Stage {
  unsigned a[TILE * ROW], b[TILE * ROW];
};

// What a thread copies of a tile: at one place along k, of every 16th row.
constexpr int ACROSS = BK / NUMBERS;
constexpr int COPIES = TILE * ACROSS / THREADS;
__device__ __forceinline__ int copied_k() { return threadIdx.x % ACROSS * NUMBERS; }
__device__ __forceinline__ int copied_row(int i) {
  return threadIdx.x / ACROSS + i * (THREADS / ACROSS);
}

// Starts copying one tile. from(i, k) is where the numbers k ... k + 7 of row copied_row(i) lie, or
// null where zeros belong. TURNED: a row of the tile is one place along k, and from(i, k0) is where
// the numbers lie that stand in this thread's columns, copied_k() and on, for k0 + copied_row(i).
template <bool TURNED, class From>
__device__ __forceinline__ void copy_tile(unsigned* tile, const unsigned short* anywhere, int k0,
                                          From from) {
#pragma unroll
  for (int i = 0; i < COPIES; i++) {
    const unsigned short* source = from(i, TURNED ? k0 : k0 + copied_k());
    unsigned* target = &tile[place<ROW>(copied_row(i), copied_k() / 2)];
    cp_async<16>(target, source ? source : anywhere, source != nullptr);
  }
}

// sums += the products of one step, of tiles that lie by places along k: a warp's 32 x 32 elements.
// ldmatrix turns squares of 8 x 8: what it hands out is as if the tiles lay by rows of A and of B.
__device__ __forceinline__ void multiply_turned(const unsigned* a_tile, const unsigned* b_tile,
                                                int row0, int column0, float (&sums)[2][4][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int k0 = 0; k0 < BK; k0 += 16) {
    unsigned a[2][4], b[2][4];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int k = k0 + lane / 16 * 8 + lane % 8, row = row0 + 16 * i + lane / 8 % 2 * 8;
      ldmatrix_x4_trans(a[i], &a_tile[place<ROW>(k, row / 2)]);
    }
#pragma unroll
    for (int j = 0; j < 2; j++) {  // two tiles of eight columns by one ldmatrix
      int k = k0 + lane % 16, column = column0 + 16 * j + lane / 16 * 8;
      ldmatrix_x4_trans(b[j], &b_tile[place<ROW>(k, column / 2)]);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) {
        const unsigned right[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
        Bf16::mma(sums[i][j], a[i], right);
      }
  }
}

// sums = the products of all steps, of a warp's 32 x 32 elements of the block's tile. memory: STAGES
// stages, dynamic, for they are as much as a block may have without asking.
template <bool TURNED = false, class FromA, class FromB>
__device__ __forceinline__ void pipelined_products(unsigned char* memory, const unsigned short* a,
                                                   const unsigned short* b, int K, FromA from_a,
                                                   FromB from_b, int warp_row, int warp_column,
                                                   float (&sums)[2][4][4]) {
  Stage* stages = (Stage*)memory;
  const int steps = (K + BK - 1) / BK;
  auto copy = [&](int step) {
    if (step < steps) {
      copy_tile<TURNED>(stages[step % STAGES].a, a, step * BK, from_a);
      copy_tile<TURNED>(stages[step % STAGES].b, b, step * BK, from_b);
    }
    cp_async_commit();  // of nothing, past the end: so that the wait below counts right
  };
  for (int step = 0; step < STAGES - 1; step++) copy(step);
  for (int step = 0; step < steps; step++) {
    cp_async_wait<STAGES - 2>();
    __syncthreads();  // this step's tiles are there, and nobody reads the last step's any more
    copy(step + STAGES - 1);
    const Stage& now = stages[step % STAGES];
    if constexpr (TURNED)
      multiply_turned(now.a, now.b, warp_row, warp_column, sums);
    else
      multiply<Bf16, ROW>(now.a, now.b, warp_row, warp_column, sums);
  }
  cp_async_wait<0>();
}
