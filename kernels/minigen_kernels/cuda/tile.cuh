// c[m, n] = sum over k of a(m, k) b(k, n), one tile of C per block: what GEMM and all convolutions
// have in common. They differ in how an element of A or B is found, so that is an argument.
//
// A block of 16 x 16 threads makes a tile of BM x BN. The two strips of A and B that one step needs
// lie in shared memory, BK deep; thread (x, y) adds up the elements (y + 16 i, x + 16 j) in
// registers, so that each number read from shared memory is used BM / 16 or BN / 16 times.
#pragma once
#include "moments.cuh"
#include "place.cuh"

constexpr int SIDE = 16;               // threads along each side of a block
constexpr int THREADS = SIDE * SIDE;   // of a block
constexpr int BK = 16;                 // depth of one step

// One column of padding: the threads that fill a strip write down its columns.
template <class T, int BM, int BN>
struct Strips {
  T a[BK][BM + 1], b[BK][BN + 1];
};

// load_a(m, k), load_b(k, n), which give a Place, are asked for elements inside M x K and K x N only, for k from k_begin
// to k_end; store(m, n, sum) is called once per element of the tile that lies inside M x N.
// moments: of the tile's rows, if they are wanted.
// A_ALONG_K, B_ALONG_K: neighbouring threads load neighbours along k, for that is how they lie.
template <class T, int BM, int BN, bool A_ALONG_K, bool B_ALONG_K, class LoadA, class LoadB,
          class Store>
__device__ __forceinline__ void tile_product(Strips<T, BM, BN>& strips, int m0, int n0, int M,
                                             int N, int k_begin, int k_end, LoadA load_a,
                                             LoadB load_b, Store store,
                                             const Moments<T>& moments = {}) {
  const int thread = threadIdx.x, x = thread % SIDE, y = thread / SIDE;
  T sums[BM / SIDE][BN / SIDE] = {};
  for (int k0 = k_begin; k0 < k_end; k0 += BK) {
    for (int i = thread; i < BM * BK; i += THREADS) {
      int m = A_ALONG_K ? i / BK : i % BM, k = A_ALONG_K ? i % BK : i / BM;
      bool inside = m0 + m < M && k0 + k < k_end;
      strips.a[k][m] = inside ? load_a(m0 + m, k0 + k).number() : T(0);
    }
    for (int i = thread; i < BN * BK; i += THREADS) {
      int n = B_ALONG_K ? i / BK : i % BN, k = B_ALONG_K ? i % BK : i / BN;
      bool inside = n0 + n < N && k0 + k < k_end;
      strips.b[k][n] = inside ? load_b(k0 + k, n0 + n).number() : T(0);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < BK; k++) {
      T a[BM / SIDE], b[BN / SIDE];
#pragma unroll
      for (int i = 0; i < BM / SIDE; i++) a[i] = strips.a[k][y + SIDE * i];
#pragma unroll
      for (int j = 0; j < BN / SIDE; j++) b[j] = strips.b[k][x + SIDE * j];
#pragma unroll
      for (int i = 0; i < BM / SIDE; i++)
#pragma unroll
        for (int j = 0; j < BN / SIDE; j++) sums[i][j] += a[i] * b[j];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < BM / SIDE; i++)
#pragma unroll
    for (int j = 0; j < BN / SIDE; j++) {
      int m = m0 + y + SIDE * i, n = n0 + x + SIDE * j;
      if (m < M && n < N) store(m, n, sums[i][j]);
    }
  if (moments.found)
#pragma unroll
    for (int i = 0; i < BM / SIDE; i++) {
      const int m = m0 + y + SIDE * i, columns = N - n0 < BN ? N - n0 : BN;
      put_moments<SIDE, BN / SIDE>(moments, m, m < M, 0, columns, [&](int j) { return sums[i][j]; },
                                   [&](int j) { return n0 + x + SIDE * j < N; });
    }
}

// A tile of 64 x 64 as the kernels take it: TensorTile of tensor.cuh has the same interface.
template <class T>
struct RegisterTile {
  using Number = T;
  static constexpr int SIZE = 64, PARTS = 1;  // PARTS: of the columns, with moments of their own

  template <bool A_ALONG_K, bool B_ALONG_K, class LoadA, class LoadB, class Store>
  static __device__ __forceinline__ void product(int m0, int n0, int M, int N, int k_begin,
                                                 int k_end, LoadA load_a, LoadB load_b,
                                                 Store store, const Moments<T>& moments = {}) {
    __shared__ Strips<T, SIZE, SIZE> strips;
    tile_product<T, SIZE, SIZE, A_ALONG_K, B_ALONG_K>(strips, m0, n0, M, N, k_begin, k_end, load_a,
                                                      load_b, store, moments);
  }
};
