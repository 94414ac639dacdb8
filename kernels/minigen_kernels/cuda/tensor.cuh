// c[m, n] = sum over k of a(m, k) b(k, n) by tensor cores: the tile of tile.cuh for numbers of 32
// bits that are rounded to bfloat16 (8 significant bits) as they enter shared memory, or to TF32
// (11) as they leave it, multiplied exactly and summed in float32; or that are split in two of TF32
// (22). What is stored in global memory stays float32.
//
// A tile lies in shared memory by rows of 32-bit words, for A a row per m, for B a row per n; a word
// holds one number of TF32 or two of bfloat16. A row has chunks of 16 bytes: ldmatrix reads eight
// rows of one chunk at a time, and hands word t of row g to lane 4 g + t. That is what mma.sync
// expects of the operands of all kinds, so nothing below depends on the kind but two functions.
#pragma once
#include "moments.cuh"
#include "place.cuh"
#include "ptx.cuh"

struct Bf16 {
  static constexpr int PER_WORD = 2;
  static __device__ __forceinline__ unsigned word(const float (&x)[2]) {
    return pack_bf16(x[0], x[1]);
  }
  static __device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
    mma_bf16(d, a, b);
  }
};
// What lies in shared memory is the number itself, as cp.async brought it: it is rounded where it is
// multiplied, once for all products of a fragment, for the compiler sees that they are the same.
struct Tf32 {
  static constexpr int PER_WORD = 1;
  static __device__ __forceinline__ unsigned word(const float (&x)[1]) {
    return __float_as_uint(x[0]);
  }
  template <int N>
  static __device__ __forceinline__ void round(const unsigned (&x)[N], unsigned (&y)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) y[i] = float_to_tf32(__uint_as_float(x[i]));
  }
  static __device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
    unsigned a_rounded[4], b_rounded[2];
    round(a, a_rounded);
    round(b, b_rounded);
    mma_tf32(d, a_rounded, b_rounded);
  }
};
// float32's products by tensor cores: x = high + low, each of 11 bits, so that x keeps 22 of its 24;
// a b = low high + high low + high high, small terms first, and low low, below 2^-22, is left out.
// Its parts are made where they are multiplied. An infinity has no such parts: its products are NaN.
struct Tf32x3 {
  static constexpr int PER_WORD = 1;
  static __device__ __forceinline__ unsigned word(const float (&x)[1]) {
    return __float_as_uint(x[0]);
  }
  template <int N>
  static __device__ __forceinline__ void split(const unsigned (&x)[N], unsigned (&high)[N],
                                               unsigned (&low)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) {
      high[i] = float_to_tf32(__uint_as_float(x[i]));
      low[i] = float_to_tf32(__uint_as_float(x[i]) - __uint_as_float(high[i]));
    }
  }
  static __device__ __forceinline__ void mma(float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
    unsigned a_high[4], a_low[4], b_high[2], b_low[2];
    split(a, a_high, a_low);
    split(b, b_high, b_low);
    mma_tf32(d, a_low, b_high);
    mma_tf32(d, a_high, b_low);
    mma_tf32(d, a_high, b_high);
  }
};

// Where a word lies in a tile with WORDS to a row (16 or 32). The swizzle: the chunks of a row
// change places from row to row (every other row, where two fill the 32 banks), so that the eight
// rows that ldmatrix reads together, at one column, lie in eight different groups of banks.
template <int WORDS>
__device__ __forceinline__ int place(int row, int word) {
  return row * WORDS + ((word / 4) ^ (row / (32 / WORDS) % (WORDS / 4))) * 4 + word % 4;
}

// The operand B of four tensor-core tiles: rows `row` on, chunks `chunk` and the next.
template <int WORDS>
__device__ __forceinline__ void load_right(unsigned (&b)[4][2], const unsigned* tile, int row,
                                           int chunk) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {  // two tiles by one ldmatrix
    unsigned both[4];
    int r = row + 8 * j + lane / 16 * 8 + lane % 8;
    ldmatrix_x4(both, &tile[place<WORDS>(r, 4 * (chunk + lane / 8 % 2))]);
    b[j][0] = both[0];
    b[j][1] = both[1];
    b[j + 1][0] = both[2];
    b[j + 1][1] = both[3];
  }
}

// sums += the products of one step, by one warp: I x J tensor-core tiles of 16 x 8, from the rows
// row0 of A and column0 of B on, over all words of a row.
template <class Kind, int WORDS, int I, int J>
__device__ __forceinline__ void multiply(const unsigned* a_tile, const unsigned* b_tile, int row0,
                                         int column0, float (&sums)[I][J][4]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int chunk = 0; chunk < WORDS / 4; chunk += 2) {
    unsigned a[I][4];
#pragma unroll
    for (int i = 0; i < I; i++) {
      int row = row0 + 16 * i + lane % 16;
      ldmatrix_x4(a[i], &a_tile[place<WORDS>(row, 4 * (chunk + lane / 16))]);
    }
#pragma unroll
    for (int j0 = 0; j0 < J; j0 += 4) {  // four at a time: more of B would cost more registers
      unsigned b[4][2];
      load_right<WORDS>(b, b_tile, column0 + 8 * j0, chunk);
#pragma unroll
      for (int i = 0; i < I; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) Kind::mma(sums[i][j0 + j], a[i], b[j]);
    }
  }
}

// f(row, column, sum) once for every element of a warp's tiles. mma.sync left columns 2 t and 2 t + 1
// of row g in lane 4 g + t; they change lanes first, so that eight neighbours write eight columns,
// which are a sector of 32 bytes: as they lie, each sector would be written twice, by halves.
template <int I, int J, class F>
__device__ __forceinline__ void each_sum(const float (&sums)[I][J][4], int row0, int column0, F f) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < I; i++)
#pragma unroll
    for (int j = 0; j < J; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {  // rows 4 e ... 4 e + 3
        int from = e % 2 * 16 + lane / 8 * 4 + lane % 8 / 2;
        float even = __shfl_sync(0xffffffffu, sums[i][j][e / 2 * 2], from);
        float odd = __shfl_sync(0xffffffffu, sums[i][j][e / 2 * 2 + 1], from);
        f(row0 + 16 * i + 4 * e + lane / 8, column0 + 8 * j + lane % 8, lane % 2 ? odd : even);
      }
}

// The moments of a warp's rows, one part of the columns: mma.sync left row g in lanes 4 g ... 4 g + 3.
template <int I, int J>
__device__ __forceinline__ void put_moments_of_rows(const float (&sums)[I][J][4], int row0,
                                                    int column0, int M, int N, int part,
                                                    const Moments<float>& moments) {
  const int lane = threadIdx.x % 32, columns = N - column0 < 8 * J ? N - column0 : 8 * J;
#pragma unroll
  for (int i = 0; i < I; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int row = row0 + 16 * i + 8 * half + lane / 4;
      put_moments<4, 2 * J>(
          moments, row, row < M, part, columns > 0 ? columns : 0,
          [&](int e) { return sums[i][e / 2][2 * half + e % 2]; },
          [&](int e) { return column0 + 8 * (e / 2) + lane % 4 * 2 + e % 2 < N; });
    }
}

constexpr int THREADS = 128;  // of a block: four warps
constexpr int TILE = 64;      // rows and columns of C of a block
constexpr int WORDS = 16;     // of a row of a tile

template <class Kind>
constexpr int DEPTH = WORDS * Kind::PER_WORD;  // of a step: 32 numbers of bfloat16, 16 of TF32

// Where the element (r, k) lies, or the nearest one that there is: load is asked for no other, so that
// no address needs a branch.
template <class Load>
__device__ __forceinline__ Place<float> nearest(Load load, int r, int rows, int k, int end) {
  return load(r < rows ? r : rows - 1, k < end ? k : end - 1);
}

// What a thread brings of the next tile: loaded and rounded while the present one is multiplied,
// then stored. Word w of a row holds k = w, and in bfloat16 k = w + 16 too: the order of the terms
// is free, if A and B agree, and so neighbouring threads load neighbours along k.
//
// ALONG_K: they lie so in memory. Otherwise rows are neighbours: a warp loads 8 of them, which are
// a sector of 32 bytes, in 4 words, so that it stores to 32 different banks.
template <class Kind, bool ALONG_K, int ROWS = TILE>  // of the tile: 32 or 64
struct Carried {
  static constexpr int COUNT = ROWS * WORDS / THREADS;
  unsigned words[COUNT];

  static __device__ __forceinline__ int row(int i) {
    const int t = threadIdx.x;
    return ALONG_K ? t / WORDS + i * (THREADS / WORDS) : t % 8 + t / 32 * 8 + i % (ROWS / 32) * 32;
  }
  static __device__ __forceinline__ int word(int i) {
    const int t = threadIdx.x;
    return ALONG_K ? t % WORDS : t / 8 % 4 + i / (ROWS / 32) * 4;
  }
  // load(row, k) gives a Place. What lies outside of `rows` and `end`, which are not 0, becomes 0.
  // order(k), of k below DEPTH: which term stands in this place of a step.
  template <class Load, class Order>
  __device__ __forceinline__ void fetch(int row0, int rows, int k0, int end, Load load,
                                        Order order) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      float numbers[Kind::PER_WORD];
#pragma unroll
      for (int e = 0; e < Kind::PER_WORD; e++) {
        int r = row0 + row(i), k = k0 + order(word(i) + WORDS * e);
        float number = nearest(load, r, rows, k, end).number();
        numbers[e] = r < rows && k < end ? number : 0.0f;
      }
      words[i] = Kind::word(numbers);
    }
  }
  __device__ __forceinline__ void put(unsigned* tile) const {
#pragma unroll
    for (int i = 0; i < COUNT; i++) tile[place<WORDS>(row(i), word(i))] = words[i];
  }
};

// The same of numbers that are rounded later: they are copied past the registers, one by one, for
// only so may they lie in any order and begin anywhere.
template <bool ALONG_K, int ROWS = TILE>
struct Copied {
  using Places = Carried<Tf32, ALONG_K, ROWS>;
  template <class Load, class Order>
  static __device__ __forceinline__ void copy(unsigned* tile, int row0, int rows, int k0, int end,
                                              Load load, Order order) {
#pragma unroll
    for (int i = 0; i < Places::COUNT; i++) {
      int row = Places::row(i), word = Places::word(i), r = row0 + row, k = k0 + order(word);
      Place<float> from = nearest(load, r, rows, k, end);
      bool is_there = from.is_there && r < rows && k < end;
      cp_async<4>(&tile[place<WORDS>(row, word)], from.at, is_there);
    }
  }
};

// The tiles of A and of B: one that is multiplied, and one that is being filled, by cp.async two.
constexpr int STAGES = 3;  // of cp.async: in flight or in use
template <class Kind>
struct Tiles {
  static constexpr int COUNT = Kind::PER_WORD == 1 ? STAGES : 2;
  alignas(128) unsigned a[COUNT][TILE * WORDS], b[COUNT][TILE * WORDS];
};

// sums += a(m, k) b(k, n) over k_begin ... k_end - 1, in the block's tile of 64 x COLUMNS from
// (m0, n0) on: by each warp 16 I x 8 J elements, from row0 and column0 of the tile on. What lies
// outside M x N is 0.
template <class Kind, bool A_ALONG_K, bool B_ALONG_K, int COLUMNS, int I, int J, class LoadA,
          class LoadB>
__device__ __forceinline__ void add_products(Tiles<Kind>& tiles, int m0, int n0, int M, int N,
                                             int k_begin, int k_end, LoadA load_a, LoadB load_b,
                                             int row0, int column0, float (&sums)[I][J][4]) {
  auto load_b_row = [&](int n, int k) { return load_b(k, n); };
  auto as_it_is = [](int k) { return k; };
  if constexpr (Kind::PER_WORD == 1) {
    auto copy = [&](int k0, int stage) {
      if (k0 < k_end) {
        Copied<A_ALONG_K>::copy(tiles.a[stage], m0, M, k0, k_end, load_a, as_it_is);
        Copied<B_ALONG_K, COLUMNS>::copy(tiles.b[stage], n0, N, k0, k_end, load_b_row, as_it_is);
      }
      cp_async_commit();  // of nothing, past the end: so that the wait below counts right
    };
    for (int step = 0; step < STAGES - 1; step++) copy(k_begin + step * WORDS, step);
    int stage = 0;
    for (int k0 = k_begin; k0 < k_end; k0 += WORDS) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();  // this step's tiles are there, and nobody reads the last step's any more
      copy(k0 + (STAGES - 1) * WORDS, stage == 0 ? STAGES - 1 : stage - 1);
      multiply<Kind, WORDS>(tiles.a[stage], tiles.b[stage], row0, column0, sums);
      stage = stage == STAGES - 1 ? 0 : stage + 1;
    }
    cp_async_wait<0>();
    return;
  }
  Carried<Kind, A_ALONG_K> a;
  Carried<Kind, B_ALONG_K, COLUMNS> b;
  int stage = 1;
  for (int k0 = k_begin - DEPTH<Kind>; k0 < k_end; k0 += DEPTH<Kind>, stage ^= 1) {
    const bool is_there = k0 >= k_begin;  // the first time there is nothing yet to be multiplied
    if (is_there) {
      a.put(tiles.a[stage]);
      b.put(tiles.b[stage]);
      __syncthreads();  // the tiles are there, and nobody reads those of the step before
    }
    const int next = k0 + DEPTH<Kind>;
    if (next < k_end) {
      a.fetch(m0, M, next, k_end, load_a, as_it_is);
      b.fetch(n0, N, next, k_end, load_b_row, as_it_is);
    }
    if (is_there) multiply<Kind, WORDS>(tiles.a[stage], tiles.b[stage], row0, column0, sums);
  }
}

// The same interface as RegisterTile of tile.cuh.
template <class Kind>
struct TensorTile {
  using Number = float;
  static constexpr int SIZE = TILE, PARTS = 2;

  template <bool A_ALONG_K, bool B_ALONG_K, class LoadA, class LoadB, class Store>
  static __device__ __forceinline__ void product(int m0, int n0, int M, int N, int k_begin,
                                                 int k_end, LoadA load_a, LoadB load_b,
                                                 Store store, const Moments<float>& moments = {}) {
    __shared__ Tiles<Kind> tiles;
    const int warp = threadIdx.x / 32, row0 = warp / 2 * 32, column0 = warp % 2 * 32;
    float sums[2][4][4] = {};
    add_products<Kind, A_ALONG_K, B_ALONG_K, SIZE>(tiles, m0, n0, M, N, k_begin, k_end, load_a,
                                                   load_b, row0, column0, sums);
    each_sum(sums, m0 + row0, n0 + column0, [&](int m, int n, float sum) {
      if (m < M && n < N) store(m, n, sum);
    });
    if (moments.found)
      put_moments_of_rows(sums, m0 + row0, n0 + column0, M, N, warp % 2, moments);
  }
};
