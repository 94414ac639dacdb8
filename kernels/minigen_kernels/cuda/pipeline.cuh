// A product of bfloat16 arrays whose tiles are copied by cp.async: from global to shared memory past
// the registers, and two steps before they are multiplied. For GEMM and conv2d, which differ in
// where eight neighbours along k lie.
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
// null where zeros belong.
template <class From>
__device__ __forceinline__ void copy_tile(unsigned* tile, const unsigned short* anywhere, int k0,
                                          From from) {
#pragma unroll
  for (int i = 0; i < COPIES; i++) {
    const unsigned short* source = from(i, k0 + copied_k());
    unsigned* target = &tile[place<ROW>(copied_row(i), copied_k() / 2)];
    cp_async<16>(target, source ? source : anywhere, source != nullptr);
  }
}

// sums = the products of all steps, of a warp's 32 x 32 elements of the block's tile. memory: STAGES
// stages, dynamic, for they are as much as a block may have without asking.
template <class FromA, class FromB>
__device__ __forceinline__ void pipelined_products(unsigned char* memory, const unsigned short* a,
                                                   const unsigned short* b, int K, FromA from_a,
                                                   FromB from_b, int warp_row, int warp_column,
                                                   float (&sums)[2][4][4]) {
  Stage* stages = (Stage*)memory;
  const int steps = (K + BK - 1) / BK;
  auto copy = [&](int step) {
    if (step < steps) {
      copy_tile(stages[step % STAGES].a, a, step * BK, from_a);
      copy_tile(stages[step % STAGES].b, b, step * BK, from_b);
    }
    cp_async_commit();  // of nothing, past the end: so that the wait below counts right
  };
  for (int step = 0; step < STAGES - 1; step++) copy(step);
  for (int step = 0; step < steps; step++) {
    cp_async_wait<STAGES - 2>();
    __syncthreads();  // this step's tiles are there, and nobody reads the last step's any more
    copy(step + STAGES - 1);
    multiply<Bf16, ROW>(stages[step % STAGES].a, stages[step % STAGES].b, warp_row, warp_column,
                        sums);
  }
  cp_async_wait<0>();
}
