// Rows of numbers, and the threads that share one: 16 bytes at a time, and sums of one fixed order.
//
// A team is a warp, several of them to a block, or a whole block. Its threads go along a row side by
// side, and then join what each has found: inside a warp by shuffles, between warps by shared memory.
#pragma once

constexpr int WARP = 32;
constexpr int THREADS = 256;  // of a block

template <int N>
struct Wide {  // how many numbers are moved at once
  static constexpr int count = N;
};

template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T at[N];
};

template <class T, int N>
__device__ __forceinline__ Pack<T, N> load(const T* from, Wide<N>) {
  return *(const Pack<T, N>*)from;
}
template <class T, int N>
__device__ __forceinline__ void store(T* to, const Pack<T, N>& pack, Wide<N>) {
  *(Pack<T, N>*)to = pack;
}

// from[i] and its neighbours, or `otherwise` where there is no such array.
template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_or(const T* from, long long i, T otherwise, Wide<N> w) {
  Pack<T, N> pack;
  for (int e = 0; e < N; e++) pack.at[e] = otherwise;
  return from ? load(from + i, w) : pack;
}

// May all of these be read and written 16 bytes at a time? No array counts as one that may.
template <class... T>
__device__ __forceinline__ bool are_aligned(const T*... arrays) {
  return ((unsigned long long)arrays | ... | 0ull) % 16 == 0;
}
// The same for rows of this width. It holds for all rows or for none, so that what a row gives does
// not depend on where it stands.
template <class T, class... Ts>
__device__ __forceinline__ bool rows_are_wide(int width, const T* array, const Ts*... arrays) {
  return width % (16 / (int)sizeof(T)) == 0 && are_aligned(array, arrays...);
}

// body(i, Wide<n>()) for all places of begin ... end - 1, n from i on at a time: 16 bytes of T if
// `wide`, with what is left one by one; each by one of the team's threads.
template <class T, class Index, class Body>
__device__ __forceinline__ void along(Index begin, Index end, int thread, int threads, bool wide,
                                      Body body) {
  constexpr int W = 16 / sizeof(T);
  if (wide) {
    for (Index i = begin + thread * W; i + W <= end; i += threads * W) body(i, Wide<W>());
    begin = end - (end - begin) % W;
  }
  for (Index i = begin + thread; i < end; i += threads) body(i, Wide<1>());
}

// The row of this thread's team, and its number in the team.
template <int TEAM>
__device__ __forceinline__ int team_row() {
  return blockIdx.x * (THREADS / TEAM) + threadIdx.x / TEAM;
}
template <int TEAM>
__device__ __forceinline__ int team_thread() {
  return threadIdx.x % TEAM;
}

// All values of a team joined, in the same order always; every thread gets the result. `join` does
// not mind which of its arguments is which: then all lanes of a warp have the same bits.
template <int TEAM, class T, class Join>
__device__ __forceinline__ T over_team(T value, Join join) {
  for (int by = WARP / 2; by > 0; by /= 2)
    value = join(value, __shfl_xor_sync(0xffffffffu, value, by));
  if constexpr (TEAM > WARP) {
    __shared__ T of_warp[TEAM / WARP];
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
    __syncthreads();
    value = of_warp[0];
    for (int warp = 1; warp < TEAM / WARP; warp++) value = join(value, of_warp[warp]);
    __syncthreads();  // all have read: the next sum may use the same place
  }
  return value;
}
template <int TEAM, class T>
__device__ __forceinline__ T team_sum(T value) {
  return over_team<TEAM>(value, [](T a, T b) { return a + b; });
}
template <int TEAM, class T>
__device__ __forceinline__ T team_max(T value) {
  return over_team<TEAM>(value, [](T a, T b) { return a > b ? a : b; });
}
