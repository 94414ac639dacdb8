// x[a,v,k] = the sum of y[a,r,k] over all r with index[r] = v: the gradient of a lookup in a table,
// such as that of an embedding. float32 and float64, any size; no atomics, and nothing is sorted.
// REGISTERS 64

constexpr int WARP = 32, THREADS = 256, WARPS = THREADS / WARP;

struct Deposit {
  int A, R, K, size;  // y (A, R, K), x (A, size, K)
};

// Rung 1, ballots: a warp owns the row v of x, in 32 of the A K columns. It goes past the whole
// index, 32 places at a time; the votes of its lanes say which of them name its row, and those rows
// of y are added in their order: the same bits in every run. The index is read by each warp, from
// the caches; that is little beside y until a table has some ten thousand rows.
template <class T>
__device__ __forceinline__ void deposit_1_ballots(const T* y, const long long* index, T* x,
                                                  const Deposit& g) {
  const int lane = threadIdx.x % WARP, row_blocks = (g.size + WARPS - 1) / WARPS;
  const int row = blockIdx.x % row_blocks * WARPS + threadIdx.x / WARP;
  const long long column = (long long)(blockIdx.x / row_blocks) * WARP + lane;
  if (row >= g.size) return;
  const bool is_inside = column < (long long)g.A * g.K;
  const long long a = column / g.K, k = column % g.K;
  T sum = 0;
  for (int first = 0; first < g.R; first += WARP) {
    bool is_mine = first + lane < g.R && index[first + lane] == row;
    for (unsigned found = __ballot_sync(0xffffffffu, is_mine); found; found &= found - 1) {
      int r = first + __ffs(found) - 1;
      if (is_inside) sum += y[(a * g.R + r) * g.K + k];
    }
  }
  if (is_inside) x[(a * g.size + row) * g.K + k] = sum;
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
KERNEL deposit_1_ballots_f32(const float* y, const long long* index, float* x, Deposit g) {
  deposit_1_ballots<float>(y, index, x, g);
}
KERNEL deposit_1_ballots_f64(const double* y, const long long* index, double* x, Deposit g) {
  deposit_1_ballots<double>(y, index, x, g);
}
