// Matrices of float32 rounded to bfloat16, each row along k and made longer by zeros to a multiple
// of 8 numbers: so gemm_bf16.cu can copy 16 bytes at a time, half of what it would read otherwise.
// REGISTERS 64
#include "ptx.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int SIDE = 32;  // of a square that is turned

// to[row, k] = from[row, k], width >= K numbers to a row. A warp for each row: neighbouring threads
// read and write neighbours. blockIdx.x: rows, of all matrices.
extern "C" __global__ void __launch_bounds__(THREADS)
round_n(const float* from, unsigned short* to, int rows, int K, int width) {
  const int row = blockIdx.x * WARPS + threadIdx.x / 32;
  if (row >= rows) return;
  from += (long long)row * K;
  to += (long long)row * width;
#pragma unroll 4
  for (int k = threadIdx.x % 32; k < width; k += 32) to[k] = float_to_bf16(k < K ? from[k] : 0.0f);
}

// to[row, k] = from[k, row]: squares are turned in shared memory, so that neighbours are read,
// along rows, and neighbours are written, along k. blockIdx: x squares along rows, y along k, z batch.
extern "C" __global__ void __launch_bounds__(THREADS)
round_t(const float* from, unsigned short* to, int rows, int K, int width) {
  __shared__ float square[SIDE][SIDE + 1];  // one more: a column lies in 32 different banks
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int k0 = blockIdx.y * SIDE, row0 = blockIdx.x * SIDE;
  from += (long long)blockIdx.z * K * rows;
  to += (long long)blockIdx.z * rows * width;
  for (int k = warp; k < SIDE; k += WARPS) {
    bool inside = k0 + k < K && row0 + lane < rows;
    square[k][lane] = inside ? from[(long long)(k0 + k) * rows + row0 + lane] : 0.0f;
  }
  __syncthreads();
  for (int row = warp; row < SIDE; row += WARPS)
    if (row0 + row < rows && k0 + lane < width)
      to[(long long)(row0 + row) * width + k0 + lane] = float_to_bf16(square[lane][row]);
}
