// y[j] = the sum over i of x[i,j], the gradient of what was added to every row; float32 and float64.
// No atomics: sums have one order.
// REGISTERS 64
#include "team.cuh"

// `size` numbers in rows of `width`, the last of which may be short: a block takes 32 columns and a
// part of the rows, every eighth of them by one warp. sums (parts, width). blockIdx: x columns, y
// part.
template <class T>
__device__ void column_sums_1_parts(const T* x, T* sums, long long size, int width,
                                    long long rows_per_part) {
  constexpr int WARPS = THREADS / WARP;
  __shared__ T of_warp[WARPS][WARP];
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int column = blockIdx.x * WARP + lane;
  const long long first = blockIdx.y * rows_per_part, end = (first + rows_per_part) * width;
  T total = 0;
  for (long long at = (first + warp) * width + column;
       column < width && at < size && at < end; at += (long long)WARPS * width)
    total += x[at];
  of_warp[warp][lane] = total;
  __syncthreads();
  if (warp > 0 || column >= width) return;
  for (int from = 1; from < WARPS; from++) total += of_warp[from][lane];
  sums[(long long)blockIdx.y * width + column] = total;
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define COLUMN_SUMS(SUFFIX, T)                                                                    \
  KERNEL column_sums_1_parts_##SUFFIX(const T* x, T* sums, long long size, int width,             \
                                      long long rows_per_part) {                                  \
    column_sums_1_parts<T>(x, sums, size, width, rows_per_part);                                  \
  }
COLUMN_SUMS(f32, float)
COLUMN_SUMS(f64, double)
