// conv2d and conv_transpose2d of arrays of bfloat16 in which the channels of a pixel lie side by
// side; sums and results in float32, NCHW as everywhere. They are the implicit products of conv.cuh
// with their terms in another order: eight of them are 16 bytes of one pixel, so that one address
// does for all, and one cp.async, which writes zeros for what lies in the padding.
// width: the channels of a group that are summed over, made a multiple of 8 by zeros.
// REGISTERS 128
#include "conv.cuh"
#include "pipeline.cuh"

constexpr int PARTS = 2;  // of a tile's columns, with moments of their own: one for each warp

// Rung 4, of x (N, groups, H, W, width) and w (O, kh, kw, width). blockIdx: x tiles of pixels, y of
// filters, z group.
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_4_pipeline(const unsigned short* x, const unsigned short* w, const float* bias, float* y,
                  Conv g, int width, float* before, Finish<float> f, float* moments) {
  extern __shared__ __align__(128) unsigned char memory[];
  const int warp_row = threadIdx.x / 64 * 32, warp_column = threadIdx.x / 32 % 2 * 32;
  const int per_group = g.O / g.groups, pixels = g.h * g.w, depth = g.kh * g.kw * width;
  const int group = blockIdx.z, row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
  const Result<float> result = {bias, y, before, f, moments};
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
  if (moments)
    put_moments_of_rows(sums, row0 + warp_row, column0 + warp_column, per_group, g.N * pixels,
                        warp_column / 32, moments_of(result, g.O, group * per_group, PARTS, 0, 1));
}

// Rung 3, of y (N, groups, h, w, width) and w (C, kh, kw, width). blockIdx: x tiles of pixels of a
// phase, y of channels, z group, then phase.
extern "C" __global__ void __launch_bounds__(THREADS)
conv_transpose2d_3_pipeline(const unsigned short* y, const unsigned short* w, const float* bias,
                            float* x, Conv g, int width, float* before, Finish<float> f,
                            float* moments) {
  extern __shared__ __align__(128) unsigned char memory[];
  const int warp_row = threadIdx.x / 64 * 32, warp_column = threadIdx.x / 32 % 2 * 32;
  const int phases = g.stride_h * g.stride_w, group = blockIdx.z / phases;
  const int phase = blockIdx.z % phases;
  const Phase rows = phase_of(phase / g.stride_w, g.H, g.stride_h, g.pad_h, g.dilation_h, g.kh);
  const Phase cols = phase_of(phase % g.stride_w, g.W, g.stride_w, g.pad_w, g.dilation_w, g.kw);
  const int channels = g.C / g.groups, pixels = rows.count * cols.count;
  const int depth = rows.taps * cols.taps * width, taps = g.kh * g.kw;
  const int row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE;
  const Result<float> result = {bias, x, before, f, moments};
  const Moments<float> found = moments_of(result, g.C, group * channels, PARTS, phase, phases);
  if (column0 >= g.N * pixels) {  // phases differ by a pixel
    found.nothing(PARTS);
    return;
  }
  w += (long long)group * channels * taps * width;

  // The pixels of x that this thread copies for: which image, and where a tap 0 would reach from.
  int images[COPIES], from_row[COPIES], from_column[COPIES];
#pragma unroll
  for (int i = 0; i < COPIES; i++) {
    int column = column0 + copied_row(i), n = column / pixels, pixel = column % pixels;
    int row = rows.first + pixel / cols.count * g.stride_h + g.pad_h;
    images[i] = n * g.groups + group;
    from_row[i] = n < g.N ? row : -(1 << 30);  // outside, whatever the tap
    from_column[i] = cols.first + pixel % cols.count * g.stride_w + g.pad_w;
  }
  auto tap_row = [&](int k) { return rows.tap + k / width / cols.taps * rows.tap_step; };
  auto tap_column = [&](int k) { return cols.tap + k / width % cols.taps * cols.tap_step; };
  auto filter = [&](int i, int k) -> const unsigned short* {
    int c = row0 + copied_row(i);
    if (c >= channels || k >= depth) return nullptr;
    return w + ((long long)c * taps + tap_row(k) * g.kw + tap_column(k)) * width + k % width;
  };
  auto patch = [&](int i, int k) -> const unsigned short* {
    if (k >= depth) return nullptr;
    int row = (from_row[i] - tap_row(k) * g.dilation_h) / g.stride_h;  // whole in this phase
    int column = (from_column[i] - tap_column(k) * g.dilation_w) / g.stride_w;
    bool there = row >= 0 && row < g.h && column >= 0 && column < g.w;
    long long pixel = ((long long)images[i] * g.h + row) * g.w + column;
    return there ? y + pixel * width + k % width : nullptr;
  };
  float sums[2][4][4] = {};
  pipelined_products(memory, w, y, depth, filter, patch, warp_row, warp_column, sums);
  each_sum(sums, row0 + warp_row, column0 + warp_column, [&](int m, int column, float sum) {
    int n = column / pixels, pixel = column % pixels, c = group * channels + m;
    int row = rows.first + pixel / cols.count * g.stride_h;
    int col = cols.first + pixel % cols.count * g.stride_w;
    if (m < channels && n < g.N)
      result.put((((long long)n * g.C + c) * g.H + row) * g.W + col, c, sum);
  });
  if (moments)
    put_moments_of_rows(sums, row0 + warp_row, column0 + warp_column, channels, g.N * pixels,
                        warp_column / 32, found);
}
