// c[s, i, j] = f(bias[j] + sum over k of a[s, i, k] b[s, j, k]), a and b bfloat16, both along k, by
// the tensor cores of Hopper: sums and c in float32. M, N and K are any size.
//
// A block makes 128 x 256 elements of C. One warp of it only fetches: one thread of that asks the
// copy engine for whole boxes of A and B, four steps ahead. Eight warps only multiply, in groups of
// four: wgmma reads its operands from shared memory, by itself, and keeps 64 x 256 sums in the
// registers of a group. Two mbarriers for each of the four stages are all that they say to each
// other: "full", when the bytes of a box are there, and "empty", when the eight warps are done.
// blockIdx: x tiles of columns, y of rows, z batch.
// ARCHITECTURE sm_90a
// REGISTERS 168
#include "activation.cuh"
#include "ptx.cuh"

constexpr int BM = 128, BN = 256;  // rows and columns of C of a block
constexpr int BK = 64;             // depth of a step: 128 bytes, as wide as a swizzle is
constexpr int STAGES = 4;
constexpr int GROUP = 128;            // threads that one wgmma is of
constexpr int MULTIPLYING = 2 * GROUP;  // threads, for 64 rows each group
constexpr int THREADS = MULTIPLYING + 32;
constexpr int WIDTH = BN + 8;  // of a row of sums in shared memory: 8 banks from row to row

struct Stage {
  unsigned short a[BM * BK], b[BN * BK];
};
struct Memory {
  union {
    Stage stages[STAGES];
    float sums[BM][WIDTH];  // in the end
  };
  Mbarrier full[STAGES], empty[STAGES];
};

// An operand of wgmma: rows of 128 bytes, swizzled (1 << 62); 1024 bytes lead from 8 rows to the
// next 8. Addresses and distances come without their last 4 bits.
__device__ __forceinline__ unsigned long long operand(const unsigned short* rows) {
  return (shared_address(rows) >> 4) | (1024ull >> 4) << 32 | 1ull << 62;
}

__device__ __forceinline__ void fetch(Memory& memory, const TensorMap& a, const TensorMap& b,
                                      int row, int column, int of_a, int of_b, int steps) {
  for (int step = 0; step < steps; step++) {
    const int i = step % STAGES, round = step / STAGES;
    if (round > 0) mbarrier_wait(&memory.empty[i], (round - 1) % 2);
    mbarrier_arrive_expect(&memory.full[i], sizeof(Stage));
    copy_box(memory.stages[i].a, a, step * BK, row, of_a, &memory.full[i]);
    copy_box(memory.stages[i].b, b, step * BK, column, of_b, &memory.full[i]);
  }
}

// sums += the products of all steps, of a group's 64 rows from `row` of the tile on. The tensor
// cores are never left without work: a step's wgmmas are issued before the last step's are waited
// for.
__device__ __forceinline__ void multiply(Memory& memory, int row, int steps, float (&sums)[128]) {
  auto done = [&](int step) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&memory.empty[step % STAGES]);
  };
  for (int step = 0; step < steps; step++) {
    const Stage& stage = memory.stages[step % STAGES];
    mbarrier_wait(&memory.full[step % STAGES], step / STAGES % 2);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < BK; k += 16)
      wgmma_bf16(sums, operand(stage.a + row * BK + k), operand(stage.b + k));
    wgmma_commit();
    wgmma_wait<1>();
    if (step > 0) done(step - 1);
  }
  wgmma_wait<0>();
}

// Rung 5. many_a, many_b: a matrix for each of the batch, or one for all.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
gemm_5_wgmma(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
             const float* bias, float* c, int M, int N, int K, bool many_a, bool many_b,
             float* before, Finish<float> f) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Memory& memory = *(Memory*)shared;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int row0 = blockIdx.y * BM, column0 = blockIdx.x * BN, steps = (K + BK - 1) / BK;
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      mbarrier_init(&memory.full[i], 1);
      mbarrier_init(&memory.empty[i], MULTIPLYING / 32);
    }
    fence_async_proxy();
  }
  __syncthreads();
  if (threadIdx.x == MULTIPLYING)
    fetch(memory, a, b, row0, column0, many_a ? blockIdx.z : 0, many_b ? blockIdx.z : 0, steps);
  float sums[128] = {};
  if (threadIdx.x < MULTIPLYING) multiply(memory, threadIdx.x / GROUP * 64, steps, sums);
  __syncthreads();  // nobody reads the stages any more
  if (threadIdx.x >= MULTIPLYING) return;
  // A warp has 16 rows: of each eight columns, lane 4 g + t the columns 2 t and 2 t + 1 of the rows
  // g and g + 8. Through shared memory they come to lie so that neighbours store neighbours.
  const int first = 16 * warp;
#pragma unroll
  for (int j = 0; j < 64; j++) {
    int row = first + j % 2 * 8 + lane / 4, column = j / 2 * 8 + lane % 4 * 2;
    *(float2*)&memory.sums[row][column] = make_float2(sums[2 * j], sums[2 * j + 1]);
  }
  __syncwarp();
  const Result<float> result = {bias, c, before, f};
  for (int row = first; row < first + 16 && row0 + row < M; row++)
    for (int n = lane; n < BN && column0 + n < N; n += 32)
      result.put(((long long)blockIdx.z * M + row0 + row) * N + column0 + n, column0 + n,
                 memory.sums[row][n]);
}
