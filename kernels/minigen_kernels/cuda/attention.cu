// out[b,i] = sum over j of exp(s[j] - lse) v[b,j],  lse[b,i] = log of the sum over j of exp s[j],
// s[j] = scale q[b,i] . k[b,j] + mask[b,i,j]; float32 and float64, any size, no T x S array
// anywhere. A query that may look at no key gives 0 and lse = -inf.
// REGISTERS 128
#include "attention.cuh"

constexpr int SIDE = 16, THREADS = SIDE * SIDE;
constexpr int ROWS = 2 * SIDE;   // queries of a block, and keys of a step
constexpr int WIDTH = 4 * SIDE;  // columns of v that a block makes

// Over the 16 threads that share a row of the scores: half a warp.
template <class T>
__device__ __forceinline__ T row_max(T value) {
  for (int by = SIDE / 2; by > 0; by /= 2) {
    T other = __shfl_xor_sync(0xffffffffu, value, by);
    value = other > value ? other : value;
  }
  return value;
}
template <class T>
__device__ __forceinline__ T row_sum(T value) {
  for (int by = SIDE / 2; by > 0; by /= 2) value += __shfl_xor_sync(0xffffffffu, value, by);
  return value;
}

template <class T>
struct AttentionTiles {
  T left[ROWS][ROWS + 1];    // a strip of q; then the weights
  T right[ROWS][WIDTH + 1];  // a strip of k; then a tile of v
};

// scores[i][j] = q[row y + 16 i] . k[key x + 16 j], both tiles loaded 32 columns at a time.
template <class T>
__device__ __forceinline__ void scores_of_tile(AttentionTiles<T>& tiles, const T* q, const T* k,
                                               const Attention& g, int row0, int key0,
                                               T (&scores)[2][2]) {
  const int thread = threadIdx.x, x = thread % SIDE, y = thread / SIDE;
  for (int c0 = 0; c0 < g.d; c0 += ROWS) {
    for (int e = thread; e < ROWS * ROWS; e += THREADS) {
      int r = e / ROWS, c = e % ROWS;
      bool inside = c0 + c < g.d;
      tiles.left[r][c] = inside && row0 + r < g.T ? q[(long long)(row0 + r) * g.d + c0 + c] : T(0);
      tiles.right[r][c] = inside && key0 + r < g.S ? k[(long long)(key0 + r) * g.d + c0 + c] : T(0);
    }
    __syncthreads();
    for (int c = 0; c < ROWS; c++)
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++)
          scores[i][j] += tiles.left[y + SIDE * i][c] * tiles.right[x + SIDE * j][c];
    __syncthreads();
  }
}

// Rung 1, online softmax: a block takes 32 queries past all keys, 32 at a time. It keeps each row's
// largest score and sum of exponentials so far, and rescales what it has when a larger one comes.
// blockIdx: x queries, y columns of v, z batch.
template <class T>
__device__ void attention_1_online(const T* q, const T* k, const T* v, Mask<T> mask, T* out, T* lse,
                                   const Attention& g, T scale) {
  __shared__ AttentionTiles<T> tiles;
  const int thread = threadIdx.x, x = thread % SIDE, y = thread / SIDE, b = blockIdx.z;
  const int row0 = blockIdx.x * ROWS, column0 = blockIdx.y * WIDTH;
  q += (long long)b * g.T * g.d;
  k += (long long)b * g.S * g.d;
  v += (long long)b * g.S * g.dv;
  T largest[2] = {minus_infinity<T>(), minus_infinity<T>()};
  T total[2] = {}, sums[2][WIDTH / SIDE] = {};
  int keys = g.is_causal && row0 + ROWS < g.S ? row0 + ROWS : g.S;
  for (int key0 = 0; key0 < keys; key0 += ROWS) {
    T scores[2][2] = {};
    scores_of_tile(tiles, q, k, g, row0, key0, scores);
    for (int i = 0; i < 2; i++) {
      int row = row0 + y + SIDE * i;
      for (int j = 0; j < 2; j++)
        scores[i][j] = row < g.T
                           ? masked(scale * scores[i][j], mask, g, b, row, key0 + x + SIDE * j)
                           : minus_infinity<T>();
      T highest = row_max(scores[i][0] > scores[i][1] ? scores[i][0] : scores[i][1]);
      highest = highest > largest[i] ? highest : largest[i];
      bool none = highest == minus_infinity<T>();  // -inf - -inf would be NaN
      T shrink = none ? T(1) : exp(largest[i] - highest);
      T weights = 0;
      for (int j = 0; j < 2; j++) {
        T weight = none && scores[i][j] == highest ? T(0) : exp(scores[i][j] - highest);
        tiles.left[y + SIDE * i][x + SIDE * j] = weight;
        weights += weight;
      }
      total[i] = total[i] * shrink + row_sum(weights);
      largest[i] = highest;
      for (int j = 0; j < WIDTH / SIDE; j++) sums[i][j] *= shrink;
    }
    for (int e = thread; e < ROWS * WIDTH; e += THREADS) {
      int r = e / WIDTH, c = e % WIDTH;
      bool inside = key0 + r < g.S && column0 + c < g.dv;
      tiles.right[r][c] = inside ? v[(long long)(key0 + r) * g.dv + column0 + c] : T(0);
    }
    __syncthreads();
    for (int r = 0; r < ROWS; r++)
      for (int i = 0; i < 2; i++)
        for (int j = 0; j < WIDTH / SIDE; j++)
          sums[i][j] += tiles.left[y + SIDE * i][r] * tiles.right[r][x + SIDE * j];
    __syncthreads();
  }
  for (int i = 0; i < 2; i++) {
    int row = row0 + y + SIDE * i;
    if (row >= g.T) continue;
    long long at = (long long)b * g.T + row;
    if (x == 0 && column0 == 0)
      lse[at] = total[i] == 0 ? minus_infinity<T>() : largest[i] + log(total[i]);
    for (int j = 0; j < WIDTH / SIDE; j++) {
      int column = column0 + x + SIDE * j;
      if (column < g.dv) out[at * g.dv + column] = total[i] == 0 ? T(0) : sums[i][j] / total[i];
    }
  }
}

template <class T>
__device__ __forceinline__ T dot(const T* a, const T* b, int n) {
  T sum = 0;
  for (int c = 0; c < n; c++) sum += a[c] * b[c];
  return sum;
}

template <class T>
struct Slopes {  // the arrays of the backward pass
  const T *gout, *q, *k, *v, *out, *lse;
  T *gq, *gk, *gv;
};

// p = exp(s - lse) and ds = scale p (gout . v - gout . out) of query i and key j.
template <class T>
__device__ __forceinline__ void slope(const Slopes<T>& s, Mask<T> mask, const Attention& g, T scale,
                                      int b, int i, int j, T& p, T& ds) {
  long long row = (long long)b * g.T + i, key = (long long)b * g.S + j;
  T score = masked(scale * dot(s.q + row * g.d, s.k + key * g.d, g.d), mask, g, b, i, j);
  p = score == minus_infinity<T>() ? T(0) : exp(score - s.lse[row]);
  const T* gout = s.gout + row * g.dv;
  T along = dot(gout, s.v + key * g.dv, g.dv) - dot(gout, s.out + row * g.dv, g.dv);
  ds = p == 0 ? T(0) : scale * p * along;
}

// Rung 1 of the backward pass, recomputed scores: two kernels, so that every sum has one owner and
// there is no atomic. gq by a thread per query, gk and gv by a thread per key.
template <class T>
__device__ void attention_backward_1_queries(Slopes<T> s, Mask<T> mask, const Attention& g,
                                             T scale) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, b = blockIdx.z;
  if (i >= g.T) return;
  T* gq = s.gq + ((long long)b * g.T + i) * g.d;
  for (int c = 0; c < g.d; c++) gq[c] = 0;
  for (int j = 0; j < g.S; j++) {
    T p, ds;
    slope(s, mask, g, scale, b, i, j, p, ds);
    for (int c = 0; c < g.d; c++) gq[c] += ds * s.k[((long long)b * g.S + j) * g.d + c];
  }
}
template <class T>
__device__ void attention_backward_1_keys(Slopes<T> s, Mask<T> mask, const Attention& g, T scale) {
  int j = blockIdx.x * blockDim.x + threadIdx.x, b = blockIdx.z;
  if (j >= g.S) return;
  T *gk = s.gk + ((long long)b * g.S + j) * g.d, *gv = s.gv + ((long long)b * g.S + j) * g.dv;
  for (int c = 0; c < g.d; c++) gk[c] = 0;
  for (int c = 0; c < g.dv; c++) gv[c] = 0;
  for (int i = 0; i < g.T; i++) {
    T p, ds;
    slope(s, mask, g, scale, b, i, j, p, ds);
    for (int c = 0; c < g.d; c++) gk[c] += ds * s.q[((long long)b * g.T + i) * g.d + c];
    for (int c = 0; c < g.dv; c++) gv[c] += p * s.gout[((long long)b * g.T + i) * g.dv + c];
  }
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define ATTENTION(SUFFIX, T)                                                                      \
  KERNEL attention_1_online_##SUFFIX(const T* q, const T* k, const T* v,                          \
                                     const unsigned char* allowed, const T* added, T* out, T* lse, \
                                     Attention g, T scale) {                                      \
    attention_1_online<T>(q, k, v, {allowed, added}, out, lse, g, scale);                         \
  }                                                                                               \
  KERNEL attention_backward_1_queries_##SUFFIX(                                                   \
      const T* gout, const T* q, const T* k, const T* v, const T* out, const T* lse,              \
      const unsigned char* allowed, const T* added, T* gq, Attention g, T scale) {                \
    attention_backward_1_queries<T>({gout, q, k, v, out, lse, gq, nullptr, nullptr},              \
                                    {allowed, added}, g, scale);                                  \
  }                                                                                               \
  KERNEL attention_backward_1_keys_##SUFFIX(                                                      \
      const T* gout, const T* q, const T* k, const T* v, const T* out, const T* lse,              \
      const unsigned char* allowed, const T* added, T* gk, T* gv, Attention g, T scale) {         \
    attention_backward_1_keys<T>({gout, q, k, v, out, lse, nullptr, gk, gv}, {allowed, added}, g, \
                                 scale);                                                          \
  }
ATTENTION(f32, float)
ATTENTION(f64, double)
