// conv2d_weight of arrays of bfloat16 in which the channels of a pixel lie side by side; sums and the
// result in float32. The long sum is over pixels, so that the eight numbers of a copy are neighbours
// across it: tiles lie by pixels, as they are copied, and ldmatrix.trans turns them.
// widths: the channels of a group of x and of gy, made multiples of 8 by zeros.
// REGISTERS 128
#include "conv.cuh"
#include "pipeline.cuh"

// Rung 3, of x (N, groups, H, W, width) and gy (N, groups, h, w, width_gy), in as many parts as
// conv2d_weight of conv.cuh. blockIdx: x tiles of taps and channels, y of filters, z group and part.
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_weight_3_pipeline(const unsigned short* x, const unsigned short* gy, float* partial, Conv g,
                         int splits, int width, int width_gy) {
  extern __shared__ __align__(128) unsigned char memory[];
  const int warp_row = threadIdx.x / 64 * 32, warp_column = threadIdx.x / 32 % 2 * 32;
  const int group = blockIdx.z / splits, part = blockIdx.z % splits;
  const int per_group = g.O / g.groups, channels = g.C / g.groups, taps = g.kh * g.kw;
  const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
  const int pixels = g.h * g.w, depth = g.N * pixels, each = (depth + splits - 1) / splits;
  const int begin = part * each < depth ? part * each : depth;
  const int count = depth - begin < each ? depth - begin : each;

  // What this thread copies of every pixel: these filters, and these channels under one tap.
  const int filter = row0 + copied_k(), column = column0 + copied_k();
  const int tap = column / width, channel = column % width;
  const int row_of_tap = tap / g.kw * g.dilation_h - g.pad_h;
  const int column_of_tap = tap % g.kw * g.dilation_w - g.pad_w;
  auto slope = [&](int i, int k0) -> const unsigned short* {
    int k = k0 + copied_row(i), pixel = begin + k, n = pixel / pixels;
    if (k >= count || filter >= width_gy) return nullptr;
    return gy + ((long long)(n * g.groups + group) * pixels + pixel % pixels) * width_gy + filter;
  };
  auto patch = [&](int i, int k0) -> const unsigned short* {
    int k = k0 + copied_row(i), pixel = begin + k, n = pixel / pixels;
    int row = pixel % pixels / g.w * g.stride_h + row_of_tap;
    int col = pixel % g.w * g.stride_w + column_of_tap;
    bool is_inside = row >= 0 && row < g.H && col >= 0 && col < g.W;
    if (k >= count || tap >= taps || !is_inside) return nullptr;
    return x + (((long long)(n * g.groups + group) * g.H + row) * g.W + col) * width + channel;
  };
  float sums[2][4][4] = {};
  pipelined_products<true>(memory, gy, x, count, slope, patch, warp_row, warp_column, sums);
  partial += ((long long)part * g.O + group * per_group) * channels * taps;
  each_sum(sums, row0 + warp_row, column0 + warp_column, [&](int m, int n, float sum) {
    if (m < per_group && n < taps * width && n % width < channels)
      partial[((long long)m * channels + n % width) * taps + n / width] = sum;
  });
}
