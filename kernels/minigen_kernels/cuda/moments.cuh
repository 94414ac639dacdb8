// What batch norm has to know of the product that it is given, left by the blocks that make it while
// its sums are in registers: the columns are cut into parts, and of each row of a part there are the
// mean and the sum of squares about it. norm.cu joins them. Each has one owner: no atomics.
#pragma once

template <class T>
struct Moments {
  T* found;       // (2 rows + 1, parts): means, squares, and how many columns a part has; or null
  const T* bias;  // of each row, not yet in its sums; may be missing
  int rows, parts;
  int row0, part0;  // of the tile's own

  __device__ __forceinline__ void put(int row, int part, int columns, T mean, T squares) const {
    const long long at = (long long)(row0 + row) * parts + part0 + part;
    found[at] = mean + (bias ? bias[row0 + row] : T(0));
    found[at + (long long)rows * parts] = squares;
    if (row0 + row == 0) count(part, columns);
  }
  __device__ __forceinline__ void count(int part, int columns) const {
    found[2ll * rows * parts + part0 + part] = columns;
  }
  // Of a block that has no columns.
  __device__ __forceinline__ void nothing(int parts_of_tile) const {
    if (found && row0 == 0 && blockIdx.y == 0 && (int)threadIdx.x < parts_of_tile)
      count(threadIdx.x, 0);
  }
};

template <int LANES, class T>
__device__ __forceinline__ T lanes_sum(T value) {
#pragma unroll
  for (int by = LANES / 2; by > 0; by /= 2) value += __shfl_xor_sync(0xffffffffu, value, by);
  return value;
}

// One row of one part, whose numbers are at(i), i < N, of LANES neighbouring threads, where they are
// inside; exists: so is the row. All lanes of a warp come here.
template <int LANES, int N, class T, class At, class Inside>
__device__ __forceinline__ void put_moments(const Moments<T>& moments, int row, bool exists,
                                            int part, int columns, At at, Inside inside) {
  T sum = 0, squares = 0;
#pragma unroll
  for (int i = 0; i < N; i++) sum += inside(i) ? at(i) : T(0);
  const T mean = lanes_sum<LANES>(sum) / T(columns > 0 ? columns : 1);
#pragma unroll
  for (int i = 0; i < N; i++) {
    T away = inside(i) ? at(i) - mean : T(0);
    squares += away * away;
  }
  squares = lanes_sum<LANES>(squares);
  if (exists && threadIdx.x % LANES == 0) moments.put(row, part, columns, mean, squares);
}
