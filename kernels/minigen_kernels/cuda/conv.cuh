// The three convolutions as implicit matrix products, NCHW, any size:
//   y[n,o,i,j] = f(b[o] + sum over c,p,q of x[n,c, i s + p d - P, j s + q d - P] w[o,c,p,q])
// and its two transposes, whatever makes a tile: RegisterTile of tile.cuh or TensorTile of
// tensor.cuh. No patch matrix is ever stored: its elements are computed where they are loaded.
// blockIdx.x: tiles of columns of the product, y: of rows, z: groups and more, see each function.
#pragma once
#include "activation.cuh"
#include "moments.cuh"
#include "place.cuh"

struct Conv {  // the shapes of x (N, C, H, W), w (O, C / groups, kh, kw) and y (N, O, h, w)
  int N, C, H, W, O, kh, kw, h, w;
  int stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
};

// x under one tap of a filter, (c, p, q) counted through the group's channels, at one pixel of y,
// (n, i, j) counted through all images; not there in the padding.
template <class T>
__device__ __forceinline__ Place<T> patch_at(const T* x, const Conv& g, int group, int tap,
                                             int pixel) {
  const int taps = g.kh * g.kw, pixels = g.h * g.w;
  int n = pixel / pixels, i = pixel % pixels / g.w, j = pixel % g.w;
  int c = group * (g.C / g.groups) + tap / taps, p = tap % taps / g.kw, q = tap % g.kw;
  int row = i * g.stride_h + p * g.dilation_h - g.pad_h;
  int col = j * g.stride_w + q * g.dilation_w - g.pad_w;
  bool is_there = row >= 0 && row < g.H && col >= 0 && col < g.W;
  return {is_there ? x + (((long long)n * g.C + c) * g.H + row) * g.W + col : x, is_there};
}

// Where a block's tile leaves its moments: its rows are channels of y from `first` on, its columns
// pixels, of one phase of several.
template <class T>
__device__ __forceinline__ Moments<T> moments_of(const Result<T>& y, int channels, int first,
                                                 int parts_of_tile, int phase, int phases) {
  const int parts = gridDim.x * parts_of_tile;
  const int part0 = phase * parts + blockIdx.x * parts_of_tile;
  return {y.moments, y.bias, channels, phases * parts, first, part0};
}

// Product of w, (O / groups) x (C / groups kh kw), and the patches of x, one column per pixel of y.
template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void conv2d(const T* x, const T* w, const Result<T>& y, const Conv& g) {
  const int per_group = g.O / g.groups, channels = g.C / g.groups, group = blockIdx.z;
  const int depth = channels * g.kh * g.kw, pixels = g.h * g.w;
  auto weight = [&](int m, int k) {
    return Place<T>{w + (long long)(group * per_group + m) * depth + k, true};
  };
  auto patch = [&](int k, int column) { return patch_at(x, g, group, k, column); };
  auto store = [&](int m, int column, T sum) {
    int n = column / pixels, o = group * per_group + m;
    y.put(((long long)n * g.O + o) * pixels + column % pixels, o, sum);
  };
  const Moments<T> moments = moments_of(y, g.O, group * per_group, Tile::PARTS, 0, 1);
  Tile::template product<true, false>(blockIdx.y * Tile::SIZE, blockIdx.x * Tile::SIZE, per_group,
                                      g.N * pixels, 0, depth, weight, patch, store, moments);
}

// Along one axis, the pixels of x of one phase: those at (index s + first), which all meet the same
// taps of the filter. A tap p reaches pixel i of x from pixel (i + P - p d) / s of y, if that is
// whole.
struct Phase {
  int first, count;           // pixels of x: the first, and how many
  int tap, tap_step, taps;    // taps: the first, the next, how many
};

__device__ __forceinline__ Phase phase_of(int phase, int size, int stride, int pad, int dilation,
                                          int kernel) {
  Phase f;
  f.first = ((phase - pad) % stride + stride) % stride;
  f.count = f.first < size ? (size - f.first + stride - 1) / stride : 0;
  int a = stride, b = dilation;  // their greatest common divisor
  while (b) {
    int r = a % b;
    a = b;
    b = r;
  }
  f.tap_step = stride / a;
  f.tap = 0;
  while (f.tap < f.tap_step && f.tap * dilation % stride != phase) f.tap++;
  bool any = f.tap < f.tap_step && f.tap < kernel;
  f.taps = any ? (kernel - f.tap + f.tap_step - 1) / f.tap_step : 0;
  return f;
}

// The gradient of x, which is conv_transpose2d. Stride s makes s x s phases; in each the sum is
// dense, over one s-th of the taps of each axis. blockIdx.z: group, then phase of rows, then of
// columns.
template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void conv_transpose2d(const T* y, const T* w,
                                                 const Result<T>& x, const Conv& g) {
  const int phases = g.stride_h * g.stride_w, group = blockIdx.z / phases;
  const int phase = blockIdx.z % phases;
  const Phase rows = phase_of(phase / g.stride_w, g.H, g.stride_h, g.pad_h, g.dilation_h, g.kh);
  const Phase cols = phase_of(phase % g.stride_w, g.W, g.stride_w, g.pad_w, g.dilation_w, g.kw);
  const int per_group = g.O / g.groups, channels = g.C / g.groups;
  const int taps = rows.taps * cols.taps, pixels = rows.count * cols.count;
  const Moments<T> moments = moments_of(x, g.C, group * channels, Tile::PARTS, phase, phases);
  if ((int)blockIdx.x * Tile::SIZE >= g.N * pixels) {  // phases differ by a pixel
    moments.nothing(Tile::PARTS);
    return;
  }
  auto weight = [&](int c, int k) {
    int o = k / taps, p = rows.tap + k % taps / cols.taps * rows.tap_step;
    int q = cols.tap + k % cols.taps * cols.tap_step;
    long long at = ((((long long)group * per_group + o) * channels + c) * g.kh + p) * g.kw + q;
    return Place<T>{w + at, true};
  };
  auto patch = [&](int k, int column) {
    int n = column / pixels, o = k / taps;
    int p = rows.tap + k % taps / cols.taps * rows.tap_step;
    int q = cols.tap + k % cols.taps * cols.tap_step;
    int row = rows.first + column % pixels / cols.count * g.stride_h;
    int col = cols.first + column % cols.count * g.stride_w;
    int i = (row + g.pad_h - p * g.dilation_h) / g.stride_h;  // whole in this phase
    int j = (col + g.pad_w - q * g.dilation_w) / g.stride_w;
    bool is_there = i >= 0 && i < g.h && j >= 0 && j < g.w;
    long long at = (((long long)n * g.O + group * per_group + o) * g.h + i) * g.w + j;
    return Place<T>{is_there ? y + at : y, is_there};
  };
  auto store = [&](int m, int column, T sum) {
    int n = column / pixels, c = group * channels + m;
    int row = rows.first + column % pixels / cols.count * g.stride_h;
    int col = cols.first + column % cols.count * g.stride_w;
    x.put((((long long)n * g.C + c) * g.H + row) * g.W + col, c, sum);
  };
  Tile::template product<false, false>(blockIdx.y * Tile::SIZE, blockIdx.x * Tile::SIZE, channels,
                                       g.N * pixels, 0, per_group * taps, weight, patch, store,
                                       moments);
}

// The gradient of w: (O / groups) x (C / groups kh kw), a sum over all pixels of all images. That
// is long where the result is small, so it is cut into `splits` parts, each with an array of its
// own in `partial` (splits, O, C / groups, kh, kw). blockIdx.z: group, then part.
template <class Tile, class T = typename Tile::Number>
__device__ __forceinline__ void conv2d_weight(const T* x, const T* gy, T* partial, const Conv& g,
                                              int splits) {
  const int group = blockIdx.z / splits, part = blockIdx.z % splits;
  const int per_group = g.O / g.groups, channels = g.C / g.groups;
  const int width = channels * g.kh * g.kw, pixels = g.h * g.w, depth = g.N * pixels;
  const int each = (depth + splits - 1) / splits, begin = part * each;
  auto slope = [&](int m, int k) {
    long long at = ((long long)(k / pixels) * g.O + group * per_group + m) * pixels + k % pixels;
    return Place<T>{gy + at, true};
  };
  auto patch = [&](int k, int column) { return patch_at(x, g, group, column, k); };
  auto store = [&](int m, int column, T sum) {
    partial[((long long)part * g.O + group * per_group + m) * width + column] = sum;
  };
  int end = begin + each < depth ? begin + each : depth;
  Tile::template product<true, true>(blockIdx.y * Tile::SIZE, blockIdx.x * Tile::SIZE, per_group,
                                     width, begin, end, slope, patch, store);
}
