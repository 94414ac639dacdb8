// Attention and its backward pass, as in attention.cu, on arrays of float32 and of any size: the
// products by tensor cores, of factors rounded to bfloat16 or TF32, summed in float32. The softmax
// and everything else is float32.
// REGISTERS 208: two blocks of the backward pass fit into a multiprocessor, three of the forward
#include "attention_tensor.cuh"

// A block has 64 rows, 16 of them for each warp, and goes past 32 others at a time. A place in the
// matrix of one head is a number of 32 bits: addresses of 64 would need twice the registers.
constexpr int OTHERS = 32;
using Scores = float[1][OTHERS / 8][4];  // of a warp: 16 rows x 32 others
using Sums = float[1][TILE / 8][4];      // and 16 rows x 64 columns

// scores += left[row] . right[other] for the block's rows and 32 others.
template <class Kind>
__device__ __forceinline__ void add_scores(Tiles<Kind>& tiles, const float* left, int row0, int rows,
                                           const float* right, int other0, int others, int width,
                                           Scores& scores) {
  __syncthreads();  // nobody reads the tiles any more
  add_products<Kind, true, true, OTHERS>(
      tiles, row0, other0, rows, others, 0, width,
      [=](int r, int k) { return Place<float>{left + ((unsigned)r * width + k), true}; },
      [=](int k, int o) { return Place<float>{right + ((unsigned)o * width + k), true}; },
      threadIdx.x / 32 * 16, 0, scores);
}

__device__ __forceinline__ void weights_as_left(Tf32, const Scores& w, int mma, unsigned (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float one[1] = {w[0][mma][i % 2 * 2 + i / 2]};
    a[i] = Tf32::word(one);
  }
}
// And so which of the others must stand in the place k of a row of B, among those of its step.
__device__ __forceinline__ int other_at(Bf16, int k) { return k % 16 * 2 + k / 16; }
__device__ __forceinline__ int other_at(Tf32, int k) { return k / 8 * 8 + k % 4 * 2 + k / 4 % 2; }

// values[other][column0 + c] of 32 others, for the product below; those of TF32 come by cp.async while
// the scores are made into weights.
template <class Kind>
struct Values {
  static constexpr int STEPS = OTHERS / DEPTH<Kind>;
  const float* values;
  int other0, others, column0, columns;

  template <class Fetch>
  __device__ __forceinline__ void each_place(int step, Fetch fetch) const {
    const float* from = values;
    const int width = columns;
    fetch(column0, columns, other0 + step * DEPTH<Kind>, others,
          [=](int c, int o) { return Place<float>{from + ((unsigned)o * width + c), true}; },
          [](int k) { return other_at(Kind(), k); });
  }
  __device__ __forceinline__ void start(Tiles<Kind>& tiles) const {
    __syncthreads();  // nobody reads the tiles any more
    if constexpr (Kind::PER_WORD == 1) {
      if (columns == 0) return;  // nothing is there to be loaded, not even instead of something else
#pragma unroll
      for (int step = 0; step < STEPS; step++)
        each_place(step, [&](auto... places) { Copied<false>::copy(tiles.b[step], places...); });
      cp_async_commit();
    }
  }
};

template <class Kind>
__device__ __forceinline__ void add_step(const unsigned* tile, const Scores& weights, int step,
                                         Sums& sums) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    unsigned left[4];
    weights_as_left(Kind(), weights, 2 * step + half, left);
#pragma unroll
    for (int j0 = 0; j0 < TILE / 8; j0 += 4) {
      unsigned right[4][2];
      load_right<WORDS>(right, tile, 8 * j0, 2 * half);
#pragma unroll
      for (int j = 0; j < 4; j++) Kind::mma(sums[0][j0 + j], left, right[j]);
    }
  }
}

// sums[row][c] += weights[row][other] values[other][column0 + c] over 32 others.
template <class Kind>
__device__ __forceinline__ void add_weighted(Tiles<Kind>& tiles, const Scores& weights,
                                             const Values<Kind>& values, Sums& sums) {
  if (values.columns == 0) return;
  if constexpr (Kind::PER_WORD == 1) {
    cp_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int step = 0; step < values.STEPS; step++)
      add_step<Kind>(tiles.b[step], weights, step, sums);
    return;
  }
  Carried<Kind, false> b;
  auto fetch = [&](int step) {
    values.each_place(step, [&](auto... places) { b.fetch(places...); });
  };
  fetch(0);
#pragma unroll
  for (int step = 0; step < values.STEPS; step++) {
    b.put(tiles.b[step % 2]);
    __syncthreads();  // the tile is there, and nobody reads that of the step before
    if (step + 1 < values.STEPS) fetch(step + 1);
    add_step<Kind>(tiles.b[step % 2], weights, step, sums);
  }
}

// Rung 2: a block takes 64 queries past all keys, 32 at a time, as rung 1 does.
// blockIdx: x queries, y columns of v, z batch.
template <class Kind>
__device__ void attention_2_tensor(const float* q, const float* k, const float* v,
                                   const Mask<float>& mask, float* out, float* lse,
                                   const Attention& g, float scale) {
  __shared__ Tiles<Kind> tiles;
  const int b = blockIdx.z, row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE;
  q += (long long)b * g.T * g.d;
  k += (long long)b * g.S * g.d;
  v += (long long)b * g.S * g.dv;
  float largest[2] = {minus_infinity<float>(), minus_infinity<float>()}, total[2] = {};
  Sums sums = {};
  const int keys = g.is_causal && row0 + TILE < g.S ? row0 + TILE : g.S;
  for (int key0 = 0; key0 < keys; key0 += OTHERS) {
    Scores scores = {};
    add_scores<Kind>(tiles, q, row0, g.T, k, key0, g.S, g.d, scores);
    const Values<Kind> values = {v, key0, g.S, column0, g.dv};
    values.start(tiles);
    mask_scores(scores, mask, g, scale, [=](int r, int) { return row0 + r; },
                [=](int, int o) { return key0 + o; });
    weigh_row(scores, 0, largest[0], total[0], sums);
    weigh_row(scores, 1, largest[1], total[1], sums);
    add_weighted<Kind>(tiles, scores, values, sums);
  }
  put_attention(sums, largest, total, row0, column0, g, out, lse);
}

// along[b,i] = gout . out, a warp for each query.
extern "C" __global__ void __launch_bounds__(THREADS)
attention_backward_2_along(const float* gout, const float* out, float* along, int queries, int dv) {
  const int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (row >= queries) return;
  float sum = 0;
  for (int c = lane; c < dv; c += 32)
    sum += gout[(long long)row * dv + c] * out[(long long)row * dv + c];
  for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
  if (lane == 0) along[row] = sum;
}

struct Slopes {  // the arrays of the backward pass
  const float *gout, *q, *k, *v, *lse, *along;
};

enum Gradient { OF_Q, OF_K, OF_V };

// One of the gradients, with p = exp(s - lse) and ds = scale p (gout . v - gout . out) anew:
//   gq[i] = sum over j of ds k[j],  gk[j] = sum over i of ds q[i],  gv[j] = sum over i of p gout[i]
// A block has 64 queries for gq, or 64 keys, and goes past the others: every sum has one owner.
// blockIdx: x rows of the gradient, y its columns, z batch.
template <class Kind, Gradient OF>
__device__ void attention_backward_2_tensor(Slopes s, const Mask<float>& mask, float* gradient,
                                            const Attention& g, float scale) {
  __shared__ Tiles<Kind> tiles;
  constexpr bool BY_QUERY = OF == OF_Q;
  const int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16, b = blockIdx.z;
  const int row0 = blockIdx.x * TILE, column0 = blockIdx.y * TILE;
  const int rows = BY_QUERY ? g.T : g.S, others = BY_QUERY ? g.S : g.T;
  const int columns = OF == OF_V ? g.dv : g.d;
  s.gout += (long long)b * g.T * g.dv, s.q += (long long)b * g.T * g.d;
  s.k += (long long)b * g.S * g.d, s.v += (long long)b * g.S * g.dv;
  s.lse += (long long)b * g.T, s.along += (long long)b * g.T;
  const float* values = OF == OF_Q ? s.k : OF == OF_K ? s.q : s.gout;
  // Query i looks at keys 0 ... i: the others of the block's queries end, of its keys begin there.
  const int first = g.is_causal && !BY_QUERY ? row0 : 0;
  const int end = g.is_causal && BY_QUERY && row0 + TILE < others ? row0 + TILE : others;
  Sums sums = {};
  for (int other0 = first; other0 < end; other0 += OTHERS) {
    auto query = [=](int r, int o) { return BY_QUERY ? row0 + r : other0 + o; };
    auto key = [=](int r, int o) { return BY_QUERY ? other0 + o : row0 + r; };
    auto of_query = [&](const float* array, int n, int e) {
      int i = query(warp_row + lane / 4 + e / 2 * 8, 8 * n + lane % 4 * 2 + e % 2);
      return array[i < g.T ? i : g.T - 1];
    };
    const Values<Kind> product = {values, other0, others, column0, columns};
    Scores weights = {};
    add_scores<Kind>(tiles, BY_QUERY ? s.q : s.k, row0, rows, BY_QUERY ? s.k : s.q, other0, others,
                     g.d, weights);
    if (OF == OF_V) product.start(tiles);
    mask_scores(weights, mask, g, scale, query, key);
#pragma unroll
    for (int n = 0; n < OTHERS / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        float score = weights[0][n][e];
        bool is_seen = score != minus_infinity<float>();
        weights[0][n][e] = is_seen ? exp(score - of_query(s.lse, n, e)) : 0.0f;
      }
    if (OF != OF_V) {
      Scores along_v = {};
      add_scores<Kind>(tiles, BY_QUERY ? s.gout : s.v, row0, rows, BY_QUERY ? s.v : s.gout, other0,
                       others, g.dv, along_v);
      product.start(tiles);
#pragma unroll
      for (int n = 0; n < OTHERS / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          float p = weights[0][n][e], along = along_v[0][n][e] - of_query(s.along, n, e);
          weights[0][n][e] = p == 0 ? 0.0f : scale * p * along;
        }
    }
    add_weighted<Kind>(tiles, weights, product, sums);
  }
  gradient += (long long)b * rows * columns;
  each_sum(sums, row0 + warp_row, column0, [&](int row, int column, float sum) {
    if (row < rows && column < columns) gradient[(long long)row * columns + column] = sum;
  });
}

#define KERNEL(BLOCKS) extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#define BACKWARD(KIND, SUFFIX, WHAT, OF)                                                          \
  KERNEL(2) attention_backward_2_##WHAT##_##SUFFIX(                                               \
      const float* gout, const float* q, const float* k, const float* v, const float* lse,        \
      const float* along, const unsigned char* allowed, const float* added, float* gradient,      \
      Attention g, float scale) {                                                                 \
    attention_backward_2_tensor<KIND, OF>({gout, q, k, v, lse, along}, {allowed, added},          \
                                          gradient, g, scale);                                    \
  }
#define ATTENTION(KIND, SUFFIX)                                                                   \
  KERNEL(3) attention_2_tensor_##SUFFIX(const float* q, const float* k, const float* v,           \
                                        const unsigned char* allowed, const float* added,         \
                                        float* out, float* lse, Attention g, float scale) {       \
    attention_2_tensor<KIND>(q, k, v, {allowed, added}, out, lse, g, scale);                      \
  }                                                                                               \
  BACKWARD(KIND, SUFFIX, q, OF_Q)                                                                 \
  BACKWARD(KIND, SUFFIX, k, OF_K)                                                                 \
  BACKWARD(KIND, SUFFIX, v, OF_V)
ATTENTION(Bf16, bf16)
ATTENTION(Tf32, tf32)
