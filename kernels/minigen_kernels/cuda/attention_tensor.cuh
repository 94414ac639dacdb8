// What the ways to attention by tensor cores share: 16 rows of scores for each warp, in registers,
// where mma.sync left them, and their online softmax in float32.
#pragma once
#include "attention.cuh"
#include "tensor.cuh"

// The weights of 16 rows, in the registers where mma.sync left them, as its next operand A: lane
// 4 g + t has the others 2 t and 2 t + 1 of each eight, of the rows g and g + 8.
template <int N>
__device__ __forceinline__ void weights_as_left(Bf16, const float (&w)[1][N][4], int mma,
                                                unsigned (&a)[4]) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float pair[2] = {w[0][2 * mma + i / 2][i % 2 * 2], w[0][2 * mma + i / 2][i % 2 * 2 + 1]};
    a[i] = Bf16::word(pair);
  }
}

// scores = scale scores + mask, -inf where the query must not look. query(r, o), key(r, o): which
// ones the block's row r and the other o stand for. No branch but on which mask there is.
template <int N, class Query, class Key>
__device__ __forceinline__ void mask_scores(float (&scores)[1][N][4], const Mask<float>& mask,
                                            const Attention& g, float scale, Query query, Key key) {
  const int lane = threadIdx.x % 32, row0 = threadIdx.x / 32 * 16 + lane / 4;
  const long long first = blockIdx.z * g.mask_batch;
  auto for_each = [&](auto f) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        int r = row0 + e / 2 * 8, o = 8 * n + lane % 4 * 2 + e % 2;
        f(scores[0][n][e], query(r, o), key(r, o));
      }
  };
  auto at = [&](int i, int j) {
    return (unsigned)(i < g.T ? i : g.T - 1) * g.S + (j < g.S ? j : g.S - 1);
  };
  for_each([&](float& score, int i, int j) {
    bool is_seen = i < g.T && j < g.S && !(g.is_causal && j > i);
    score = is_seen ? scale * score : minus_infinity<float>();
  });
  if (mask.allowed)
    for_each([&](float& score, int i, int j) {
      score = (mask.allowed + first)[at(i, j)] ? score : minus_infinity<float>();
    });
  if (mask.added)
    for_each([&](float& score, int i, int j) {
      float added = (mask.added + first)[at(i, j)];
      score = score == minus_infinity<float>() ? score : score + added;
    });
}

// Over the 4 lanes that share a row.
__device__ __forceinline__ float row_max(float value) {
  for (int by = 2; by > 0; by /= 2) {
    float other = __shfl_xor_sync(0xffffffffu, value, by);
    value = other > value ? other : value;
  }
  return value;
}
__device__ __forceinline__ float row_sum(float value) {
  for (int by = 2; by > 0; by /= 2) value += __shfl_xor_sync(0xffffffffu, value, by);
  return value;
}

// One row of the scores becomes weights exp(score - largest); what was found so far is rescaled
// when a larger score comes. half: the row is lane / 4, or 8 further.
template <int N, int J>
__device__ __forceinline__ void weigh_row(float (&scores)[1][N][4], int half, float& largest,
                                          float& total, float (&sums)[1][J][4]) {
  const float none = minus_infinity<float>();
  float highest = largest, weights = 0;
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int e = 2 * half; e < 2 * half + 2; e++)
      highest = scores[0][n][e] > highest ? scores[0][n][e] : highest;
  highest = row_max(highest);
  float shrink = highest == none ? 1.0f : exp(largest - highest);  // -inf - -inf would be NaN
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int e = 2 * half; e < 2 * half + 2; e++) {
      float score = scores[0][n][e];
      scores[0][n][e] = highest == none && score == none ? 0.0f : exp(score - highest);
      weights += scores[0][n][e];
    }
#pragma unroll
  for (int j = 0; j < J; j++)
#pragma unroll
    for (int e = 2 * half; e < 2 * half + 2; e++) sums[0][j][e] *= shrink;
  total = total * shrink + row_sum(weights);
  largest = highest;
}

// out = sums / total and lse, of a warp's 16 queries.
template <int J>
__device__ __forceinline__ void put_attention(float (&sums)[1][J][4], const float (&largest)[2],
                                              const float (&total)[2], int row0, int column0,
                                              const Attention& g, float* out, float* lse) {
  const int lane = threadIdx.x % 32, first = row0 + threadIdx.x / 32 * 16, b = blockIdx.z;
#pragma unroll
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int j = 0; j < J; j++)
#pragma unroll
      for (int e = 2 * half; e < 2 * half + 2; e++)
        sums[0][j][e] = total[half] == 0 ? 0.0f : sums[0][j][e] / total[half];
    const int i = first + lane / 4 + 8 * half;
    if (i < g.T && lane % 4 == 0 && column0 == 0)
      lse[b * (long long)g.T + i] =
          total[half] == 0 ? minus_infinity<float>() : largest[half] + log(total[half]);
  }
  out += (long long)b * g.T * g.dv;
  each_sum(sums, first, column0, [&](int i, int column, float sum) {
    if (i < g.T && column < g.dv) out[(long long)i * g.dv + column] = sum;
  });
}
