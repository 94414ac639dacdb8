// Attention of arrays of bfloat16, as attention_bf16.cu, by the tensor cores of Hopper: q and k
// (batch, rows, width), v (batch, rows, width_v), d and dv made multiples of 8 by zeros, at most 128.
//
// A block takes 128 queries past all keys, 64 at a time. As in gemm_wgmma.cu some warps only fetch,
// and eight multiply, in groups of four with 64 queries each: while one group weighs its scores, the
// tensor cores have the other's products. The scores are what a wgmma leaves in registers; as
// weights, rounded, they are the next one's operand, where they stand. The values stay as they lie.
// blockIdx: x queries, z batch.
// ARCHITECTURE sm_90a
// REGISTERS 168: to begin with; then those that fetch leave most of theirs to those that multiply
#include "attention_tensor.cuh"

constexpr int QUERIES = 128;  // of a block
constexpr int KEYS = 64;      // of a step
constexpr int COLUMNS = 64;   // of a box: 128 bytes, as wide as a swizzle is
constexpr int STEPS = 4;      // that are in shared memory or on their way
constexpr int GROUP = 128;    // threads that one wgmma is of
constexpr int MULTIPLYING = 2 * GROUP;
constexpr int BLOCK = MULTIPLYING + GROUP;

template <int ROWS>
struct Box {
  unsigned short numbers[ROWS * COLUMNS];
};
template <int D>
struct Memory {
  struct Step {
    Box<KEYS> keys[D / COLUMNS], values[D / COLUMNS];
  };
  Box<QUERIES> queries[D / COLUMNS];
  Step steps[STEPS];
  Mbarrier queries_full, full[STEPS], empty[STEPS];
};

// Operands of wgmma with a swizzle of 128 bytes (1 << 62): 1024 bytes lead from 8 rows to the next.
// The rows of q and k are along the sum; of v they are its terms, and a box leads to the next
// columns. Addresses and distances come without their last 4 bits.
__device__ __forceinline__ unsigned long long along(const unsigned short* rows) {
  return (shared_address(rows) >> 4) | (1024ull >> 4) << 32 | 1ull << 62;
}
__device__ __forceinline__ unsigned long long side_by_side(const unsigned short* rows) {
  return along(rows) | (unsigned long long)sizeof(Box<KEYS>) >> 4 << 16;
}

template <int D>
__device__ __forceinline__ void fetch(Memory<D>& memory, const TensorMap& q, const TensorMap& k,
                                      const TensorMap& v, int row0, int steps) {
  const int b = blockIdx.z;
  mbarrier_arrive_expect(&memory.queries_full, sizeof(memory.queries));
  for (int i = 0; i < D / COLUMNS; i++)
    copy_box(&memory.queries[i], q, i * COLUMNS, row0, b, &memory.queries_full);
  for (int step = 0; step < steps; step++) {
    const int place = step % STEPS, round = step / STEPS;
    if (round > 0) mbarrier_wait(&memory.empty[place], (round - 1) % 2);
    mbarrier_arrive_expect(&memory.full[place], sizeof(memory.steps[place]));
    for (int i = 0; i < D / COLUMNS; i++) {
      copy_box(&memory.steps[place].keys[i], k, i * COLUMNS, step * KEYS, b, &memory.full[place]);
      copy_box(&memory.steps[place].values[i], v, i * COLUMNS, step * KEYS, b, &memory.full[place]);
    }
  }
}

// Rung 4.
template <int D>
__device__ __forceinline__ void attention_4_wgmma(const TensorMap& q, const TensorMap& k,
                                                  const TensorMap& v, const Mask<float>& mask,
                                                  float* out, float* lse, const Attention& g,
                                                  float scale) {
  extern __shared__ __align__(1024) unsigned char shared[];
  Memory<D>& memory = *(Memory<D>*)shared;
  const int row0 = blockIdx.x * QUERIES, group_row = threadIdx.x / GROUP * 64;
  const int keys = g.is_causal && row0 + QUERIES < g.S ? row0 + QUERIES : g.S;
  const int steps = (keys + KEYS - 1) / KEYS;
  if (threadIdx.x == 0) {
    mbarrier_init(&memory.queries_full, 1);
    for (int i = 0; i < STEPS; i++) {
      mbarrier_init(&memory.full[i], 1);
      mbarrier_init(&memory.empty[i], MULTIPLYING / 32);
    }
    fence_async_proxy();
  }
  __syncthreads();
  if (threadIdx.x >= MULTIPLYING) {
    keep_registers<40>();  // 128 · 40 + 256 · 232 are the 384 · 168 of the beginning
    if (threadIdx.x == MULTIPLYING) fetch<D>(memory, q, k, v, row0, steps);
    return;
  }
  take_registers<232>();
  float largest[2] = {minus_infinity<float>(), minus_infinity<float>()}, total[2] = {};
  float sums[1][D / 8][4] = {};
  mbarrier_wait(&memory.queries_full, 0);
  for (int step = 0; step < steps; step++) {
    auto& tiles = memory.steps[step % STEPS];
    float scores[1][KEYS / 8][4] = {};
    mbarrier_wait(&memory.full[step % STEPS], step / STEPS % 2);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < D / COLUMNS; i++)
#pragma unroll
      for (int column = 0; column < COLUMNS; column += 16)
        wgmma_bf16((float (&)[KEYS / 2])scores,
                   along(&memory.queries[i].numbers[group_row * COLUMNS + column]),
                   along(&tiles.keys[i].numbers[column]));
    wgmma_commit();
    wgmma_wait<0>();
    mask_scores(scores, mask, g, scale, [=](int r, int) { return row0 + r; },
                [=](int, int o) { return step * KEYS + o; });
    weigh_row(scores, 0, largest[0], total[0], sums);
    weigh_row(scores, 1, largest[1], total[1], sums);
    unsigned weights[KEYS / 16][4];
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++) weights_as_left(Bf16(), scores, i, weights[i]);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < KEYS / 16; i++)
      wgmma_bf16((float (&)[D / 2])sums, weights[i],
                 side_by_side(&tiles.values[0].numbers[16 * i * COLUMNS]));
    wgmma_commit();
    wgmma_wait<0>();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&memory.empty[step % STEPS]);
  }
  put_attention(sums, largest, total, row0, 0, g, out, lse);
}

#define ATTENTION(D)                                                                              \
  extern "C" __global__ void __launch_bounds__(BLOCK, 1)                                          \
  attention_4_wgmma_##D(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, \
                        const __grid_constant__ TensorMap v, const unsigned char* allowed,        \
                        const float* added, float* out, float* lse, Attention g, float scale) {   \
    attention_4_wgmma<D>(q, k, v, {allowed, added}, out, lse, g, scale);                          \
  }
ATTENTION(64)
ATTENTION(128)
