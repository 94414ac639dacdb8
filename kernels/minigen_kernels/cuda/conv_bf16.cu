// conv2d of arrays of bfloat16 in which the channels of a pixel lie side by side: x (N, groups, H, W,
// width), w (O, kh, kw, width), width the channels of a group, made a multiple of 8 by zeros.
//   y[n,o,i,j] = f(b[o] + sum over p,q,c of x[n,c, i s + p d - P, j s + q d - P] w[o,c,p,q])
// with y (N, O, h, w), sums and y in float32. It is the implicit product of conv.cuh with its terms in
// another order: eight of them are 16 bytes of one pixel, so that one address does for all, and one
// cp.async, which writes zeros for what lies in the padding.
// blockIdx: x tiles of pixels, y of filters, z group.
// REGISTERS 128
#include "conv.cuh"
#include "pipeline.cuh"

// Rung 4.
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_4_pipeline(const unsigned short* x, const unsigned short* w, const float* bias, float* y,
                  Conv g, int width, float* before, Finish<float> f) {
  extern __shared__ __align__(128) unsigned char memory[];
  const int warp_row = threadIdx.x / 64 * 32, warp_column = threadIdx.x / 32 % 2 * 32;
  const int per_group = g.O / g.groups, pixels = g.h * g.w, depth = g.kh * g.kw * width;
  const int group = blockIdx.z, row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
  const Result<float> result = {bias, y, before, f};
  w += (long long)group * per_group * depth;

  // The pixels of y that this thread copies for: which image, and where their first tap lies.
  int images[COPIES], rows[COPIES], columns[COPIES];
#pragma unroll
  for (int i = 0; i < COPIES; i++) {
    int column = column0 + copied_row(i), n = column / pixels;
    images[i] = n * g.groups + group;
    rows[i] = n < g.N ? column % pixels / g.w * g.stride_h - g.pad_h : -(1 << 30);  // all padding
    columns[i] = column % g.w * g.stride_w - g.pad_w;
  }
  auto filter = [&](int i, int k) {
    int o = row0 + copied_row(i);
    return o < per_group && k < depth ? w + (long long)o * depth + k : nullptr;
  };
  auto patch = [&](int i, int k) -> const unsigned short* {
    int tap = k / width, c = k % width;
    int row = rows[i] + tap / g.kw * g.dilation_h, column = columns[i] + tap % g.kw * g.dilation_w;
    bool there = k < depth && row >= 0 && row < g.H && column >= 0 && column < g.W;
    return there ? x + (((long long)images[i] * g.H + row) * g.W + column) * width + c : nullptr;
  };
  float sums[2][4][4] = {};
  pipelined_products(memory, w, x, depth, filter, patch, warp_row, warp_column, sums);
  each_sum(sums, row0 + warp_row, column0 + warp_column, [&](int m, int column, float sum) {
    int n = column / pixels, o = group * per_group + m;
    if (m < per_group && n < g.N)
      result.put(((long long)n * g.O + o) * pixels + column % pixels, o, sum);
  });
}
