// Attention of arrays of bfloat16, q and k (batch, rows, width), v (batch, rows, width_v): d and dv
// made multiples of 8 by zeros, 128 at most. The products by tensor cores, of weights that are
// rounded too; sums, softmax, out and lse in float32.
// REGISTERS 208: two blocks fit into a multiprocessor
#include "attention_tensor.cuh"

constexpr int KEYS = 64;            // of a step
constexpr int ROW = 32;             // words of a row of a square: 64 numbers
constexpr int SQUARE = TILE * ROW;  // words of a square of 64 x 64 numbers
constexpr int ACROSS = 8;           // copies of 16 bytes along a row of a square

// Starts copying 64 rows of up to D numbers, as D / 64 squares side by side, and zeros beyond.
template <int D>
__device__ __forceinline__ void copy_rows(unsigned (*squares)[SQUARE], const unsigned short* from,
                                          int row0, int rows, int width) {
#pragma unroll 2  // all at once would take registers for all their addresses
  for (int copied = 0; copied < D / 64 * TILE * ACROSS; copied += THREADS) {
    const int i = copied + threadIdx.x;
    int square = i / (TILE * ACROSS), row = i / ACROSS % TILE, word = i % ACROSS * 4;
    int column = square * 64 + 2 * word;
    bool there = row0 + row < rows && column < width;
    const unsigned short* source = there ? from + (long long)(row0 + row) * width + column : from;
    cp_async<16>(&squares[square][place<ROW>(row, word)], source, there);
  }
}

// sums[row][c] += weights[row][key] values[key][c] of 64 keys, which lie by rows: ldmatrix turns
// squares of 8 x 8, so that each lane gets two keys of a column, as mma.sync wants them.
template <int D>
__device__ __forceinline__ void add_values(const float (&weights)[1][KEYS / 8][4],
                                           const unsigned (*squares)[SQUARE],
                                           float (&sums)[1][D / 8][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int step = 0; step < KEYS / 16; step++) {
    unsigned left[4];
    weights_as_left(Bf16(), weights, step, left);
#pragma unroll
    for (int j = 0; j < D / 8; j += 2) {  // two tiles of eight columns by one ldmatrix
      unsigned both[4];
      int key = 16 * step + lane % 16, word = j % 8 * 4 + lane / 16 * 4;
      ldmatrix_x4_trans(both, &squares[j / 8][place<ROW>(key, word)]);
      const unsigned right[2][2] = {{both[0], both[1]}, {both[2], both[3]}};
      Bf16::mma(sums[0][j], left, right[0]);
      Bf16::mma(sums[0][j + 1], left, right[1]);
    }
  }
}

template <int D>
struct Step {
  unsigned keys[D / 64][SQUARE], values[D / 64][SQUARE];
};

// Rung 3: a block takes 64 queries past all keys, 64 at a time. While it computes with these, the
// next 64 keys and values are copied past its registers.
// blockIdx: x queries, z batch.
template <int D>
__device__ void attention_3_pipeline(const unsigned short* q, const unsigned short* k,
                                     const unsigned short* v, const Mask<float>& mask, float* out,
                                     float* lse, const Attention& g, float scale) {
  extern __shared__ __align__(128) unsigned char memory[];
  unsigned (*queries)[SQUARE] = (unsigned (*)[SQUARE])memory;
  Step<D>* stages = (Step<D>*)(memory + D / 64 * sizeof(*queries));
  const int b = blockIdx.z, row0 = blockIdx.x * TILE, warp_row = threadIdx.x / 32 * 16;
  const int width = (g.d + 7) / 8 * 8, width_v = (g.dv + 7) / 8 * 8;
  q += (long long)b * g.T * width;
  k += (long long)b * g.S * width;
  v += (long long)b * g.S * width_v;
  const int keys = g.is_causal && row0 + TILE < g.S ? row0 + TILE : g.S;
  auto copy = [&](int step) {
    if (step * KEYS < keys) {
      copy_rows<D>(stages[step % 2].keys, k, step * KEYS, g.S, width);
      copy_rows<D>(stages[step % 2].values, v, step * KEYS, g.S, width_v);
    }
    cp_async_commit();
  };
  float largest[2] = {minus_infinity<float>(), minus_infinity<float>()}, total[2] = {};
  float sums[1][D / 8][4] = {};
  copy_rows<D>(queries, q, row0, g.T, width);
  copy(0);
  for (int step = 0; step * KEYS < keys; step++) {
    cp_async_wait<0>();
    __syncthreads();  // this step's tiles are there, and nobody reads the last step's any more
    copy(step + 1);
    float scores[1][KEYS / 8][4] = {};
#pragma unroll
    for (int square = 0; square < D / 64; square++)
      multiply<Bf16, ROW>(queries[square], stages[step % 2].keys[square], warp_row, 0, scores);
    mask_scores(scores, mask, g, scale, [=](int r, int) { return row0 + r; },
                [=](int, int o) { return step * KEYS + o; });
    weigh_row(scores, 0, largest[0], total[0], sums);
    weigh_row(scores, 1, largest[1], total[1], sums);
    add_values<D>(scores, stages[step % 2].values, sums);
  }
  cp_async_wait<0>();
  put_attention(sums, largest, total, row0, 0, g, out, lse);
}

#define ATTENTION(D)                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS, 2)                                        \
  attention_3_pipeline_##D(const unsigned short* q, const unsigned short* k,                      \
                           const unsigned short* v, const unsigned char* allowed,                 \
                           const float* added, float* out, float* lse, Attention g,               \
                           float scale) {                                                         \
    attention_3_pipeline<D>(q, k, v, {allowed, added}, out, lse, g, scale);                       \
  }
ATTENTION(64)
ATTENTION(128)
