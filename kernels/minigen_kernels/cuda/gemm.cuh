// GEMM by tiles, whatever makes a tile: RegisterTile of tile.cuh or TensorTile of tensor.cuh.
#pragma once
#include "activation.cuh"
#include "place.cuh"

// Where the elements of an operand lie, so that a transposed one needs no copy.
struct Matrix {
  long long batch;  // elements from one matrix of the batch to the next; 0: one for all
  int row, column;  // from one row, one column to the next
};

// c[s, i, j] = f(bias[j] + sum over k of a[s, i, k] b[s, k, j]), a tile of c per block.
template <class Tile, bool A_ALONG_K, bool B_ALONG_K, class T>
__device__ __forceinline__ void gemm(const T* a, const T* b, const Result<T>& c, int M, int N,
                                     int K, Matrix at, Matrix bt) {
  a += blockIdx.z * at.batch;
  b += blockIdx.z * bt.batch;
  const long long first = (long long)blockIdx.z * M * N;
  const long long step_a = A_ALONG_K ? at.row : at.column;  // the other of the two is 1
  const long long step_b = B_ALONG_K ? bt.column : bt.row;
  Tile::template product<A_ALONG_K, B_ALONG_K>(
      blockIdx.y * Tile::SIZE, blockIdx.x * Tile::SIZE, M, N, 0, K,
      [=](int m, int k) {
        return Place<T>{a + (A_ALONG_K ? m * step_a + k : k * step_a + m), true};
      },
      [=](int k, int n) {
        return Place<T>{b + (B_ALONG_K ? n * step_b + k : k * step_b + n), true};
      },
      [=](int m, int n, T sum) { c.put(first + (long long)m * N + n, n, sum); });
}
