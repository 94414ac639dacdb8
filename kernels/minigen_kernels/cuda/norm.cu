// Layer norm over rows and batch norm over channels: y = (x - mean) rstd weight + bias, rstd = 1 /
// sqrt(var + eps); float32 and float64, any size. weight and bias may be missing. What batch norm
// makes goes through an activation, if there is one, before it is stored.
//
// The variance is summed in a second pass, about the mean: one pass with E[x^2] - E[x]^2 has no
// digit left when the mean is a thousand times the deviation. No atomics: sums have one order.
// REGISTERS 64
#include "activation.cuh"
#include "team.cuh"

// a b, rounded: never fused with what is done to it next, so that h - avg h is 0 where h is avg h.
__device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ double product(double a, double b) { return __dmul_rn(a, b); }

template <class T>
__device__ __forceinline__ T average(T sum, int count) {
  return sum / T(count > 0 ? count : 1);
}

// ---------------------------------------------------------------- layer norm: a row per team
// y[r,i] = (x[r,i] - mean[r]) rstd[r] weight[i] + bias[i]. The row is read three times, from the
// caches but for the first.
template <class T, int TEAM>
__device__ void layer_norm_1_rows(const T* x, const T* weight, const T* bias, T* y, T* mean,
                                  T* rstd, int rows, int width, T eps) {
  const int row = team_row<TEAM>(), thread = team_thread<TEAM>();
  if (row >= rows) return;
  x += (long long)row * width;
  y += (long long)row * width;
  const bool wide = rows_are_wide(width, x, y, weight, bias);
  T sum = 0, square = 0;
  along<T>(0, width, thread, TEAM, wide, [&](int i, auto w) {
    auto a = load(x + i, w);
    for (int e = 0; e < w.count; e++) sum += a.at[e];
  });
  const T mu = average(team_sum<TEAM>(sum), width);
  along<T>(0, width, thread, TEAM, wide, [&](int i, auto w) {
    auto a = load(x + i, w);
    for (int e = 0; e < w.count; e++) square += (a.at[e] - mu) * (a.at[e] - mu);
  });
  const T scale = T(1) / sqrt(average(team_sum<TEAM>(square), width) + eps);
  if (thread == 0) mean[row] = mu, rstd[row] = scale;
  along<T>(0, width, thread, TEAM, wide, [&](int i, auto w) {
    auto a = load(x + i, w), gain = load_or(weight, i, T(1), w), step = load_or(bias, i, T(0), w);
    for (int e = 0; e < w.count; e++)
      a.at[e] = (a.at[e] - mu) * scale * gain.at[e] + step.at[e];
    store(y + i, a, w);
  });
}

// gx = rstd (h - avg h - xhat avg(h xhat)), h = gy weight, xhat = (x - mean) rstd.
template <class T, int TEAM>
__device__ void layer_norm_backward_1_rows(const T* gy, const T* x, const T* weight, const T* mean,
                                           const T* rstd, T* gx, int rows, int width) {
  const int row = team_row<TEAM>(), thread = team_thread<TEAM>();
  if (row >= rows) return;
  gy += (long long)row * width;
  x += (long long)row * width;
  gx += (long long)row * width;
  const bool wide = rows_are_wide(width, gy, x, gx, weight);
  const T mu = mean[row], scale = rstd[row];
  T sum_h = 0, sum_hx = 0;
  along<T>(0, width, thread, TEAM, wide, [&](int i, auto w) {
    auto g = load(gy + i, w), a = load(x + i, w), gain = load_or(weight, i, T(1), w);
    for (int e = 0; e < w.count; e++) {
      T h = product(g.at[e], gain.at[e]);
      sum_h += h;
      sum_hx += h * ((a.at[e] - mu) * scale);
    }
  });
  const T avg_h = average(team_sum<TEAM>(sum_h), width);
  const T avg_hx = average(team_sum<TEAM>(sum_hx), width);
  along<T>(0, width, thread, TEAM, wide, [&](int i, auto w) {
    auto g = load(gy + i, w), a = load(x + i, w), gain = load_or(weight, i, T(1), w);
    for (int e = 0; e < w.count; e++) {
      T x_hat = (a.at[e] - mu) * scale;
      a.at[e] = (product(g.at[e], gain.at[e]) - avg_h - x_hat * avg_hx) * scale;
    }
    store(gx + i, a, w);
  });
}

// gw[i] and gb[i], the sums over rows of gy xhat and of gy: a block takes 32 columns and a part of
// the rows, every eighth of them by one warp. sums (parts, 2, width). blockIdx: x columns, y part.
template <class T>
__device__ void layer_norm_backward_1_columns(const T* gy, const T* x, const T* mean, const T* rstd,
                                              T* sums, int rows, int width, int rows_per_part) {
  constexpr int WARPS = THREADS / WARP;
  __shared__ T of_warp[2][WARPS][WARP];
  const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  const int column = blockIdx.x * WARP + lane, first = blockIdx.y * rows_per_part;
  const int end = first + rows_per_part < rows ? first + rows_per_part : rows;
  T gw = 0, gb = 0;
  for (int row = first + warp; row < end && column < width; row += WARPS) {
    long long at = (long long)row * width + column;
    gw += gy[at] * ((x[at] - mean[row]) * rstd[row]);
    gb += gy[at];
  }
  of_warp[0][warp][lane] = gw;
  of_warp[1][warp][lane] = gb;
  __syncthreads();
  if (warp > 1 || column >= width) return;  // warp 0 adds up gw, warp 1 gb
  T total = 0;
  for (int from = 0; from < WARPS; from++) total += of_warp[warp][from][lane];
  sums[((long long)blockIdx.y * 2 + warp) * width + column] = total;
}

// total[i] = the sum of all parts at i.
template <class T>
__device__ void add_parts(const T* sums, T* total, int size, int parts) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  T sum = 0;
  for (int part = 0; part < parts; part++) sum += sums[(long long)part * size + i];
  total[i] = sum;
}

// ---------------------------------------------------------------- batch norm: parts of a channel
// x is (N, C, L). A channel's N L values are counted through, n first, and cut into parts of
// `each`, a multiple of 16 bytes, so that a block has enough to do and a GPU enough blocks.
// blockIdx: x channel, y part.
struct Channels {
  int N, C, L, each;
};

struct Part {
  int begin, end;  // of the channel's values
};
__device__ __forceinline__ Part part_of(const Channels& g, int part) {
  const long long count = (long long)g.N * g.L, first = (long long)part * g.each;
  const long long end = first + g.each;
  return {(int)(first < count ? first : count), (int)(end < count ? end : count)};
}
__device__ __forceinline__ long long place(const Channels& g, int i) {
  return ((long long)(i / g.L) * g.C + blockIdx.x) * g.L + i % g.L;
}

// Mean and sum of squares about it, of one part: found (2, C, parts).
template <class T>
__device__ void batch_norm_1_parts(const T* x, T* found, const Channels& g) {
  const Part part = part_of(g, blockIdx.y);
  const bool wide = rows_are_wide(g.L, x);
  T sum = 0, square = 0;
  along<T>(part.begin, part.end, threadIdx.x, THREADS, wide, [&](int i, auto w) {
    auto a = load(x + place(g, i), w);
    for (int e = 0; e < w.count; e++) sum += a.at[e];
  });
  const T mu = average(team_sum<THREADS>(sum), part.end - part.begin);
  along<T>(part.begin, part.end, threadIdx.x, THREADS, wide, [&](int i, auto w) {
    auto a = load(x + place(g, i), w);
    for (int e = 0; e < w.count; e++) square += (a.at[e] - mu) * (a.at[e] - mu);
  });
  square = team_sum<THREADS>(square);
  if (threadIdx.x > 0) return;
  const int parts = gridDim.y, at = blockIdx.x * parts + blockIdx.y;
  found[at] = mu;
  found[at + g.C * parts] = square;
}

// y = f((x - mu) / sqrt(square + eps) weight + bias) of a block's part of a channel. y.bias, of the
// channel, is in what f is given.
template <class T>
__device__ __forceinline__ void normalize(const T* x, const T* weight, const Result<T>& y, T mu,
                                          T square, const Channels& g, T eps) {
  const int c = blockIdx.x;
  const T scale = (weight ? weight[c] : T(1)) / sqrt(square + eps), step = y.bias ? y.bias[c] : T(0);
  const Part part = part_of(g, blockIdx.y);
  const bool wide = rows_are_wide(g.L, x, y.y) && are_aligned(y.before);
  along<T>(part.begin, part.end, threadIdx.x, THREADS, wide, [&](int i, auto w) {
    auto a = load(x + place(g, i), w);
    for (int e = 0; e < w.count; e++) a.at[e] = (a.at[e] - mu) * scale + step;
    if (y.before) store(y.before + place(g, i), a, w);
    for (int e = 0; e < w.count; e++) a.at[e] = y.f.value(a.at[e]);
    store(y.y + place(g, i), a, w);
  });
}

// Every block joins the parts of its channel anew, each thread one of them: squares about the parts'
// means become squares about the mean of all (Chan, Golub and LeVeque 1983).
template <class T>
__device__ void batch_norm_1_channels(const T* x, const T* weight, const T* found,
                                      const Result<T>& y, T* mean, T* var, const Channels& g,
                                      T eps) {
  const int parts = gridDim.y, c = blockIdx.x, count = g.N * g.L, thread = threadIdx.x;
  const bool has_one = thread < parts;
  const Part mine = part_of(g, thread);
  const T weight_of_mine = has_one ? T(mine.end - mine.begin) : T(0);
  const T mean_of_mine = has_one ? found[c * parts + thread] : T(0);
  const T mu = average(team_sum<THREADS>(weight_of_mine * mean_of_mine), count);
  const T away = mean_of_mine - mu;
  T square = has_one ? found[(g.C + c) * parts + thread] + weight_of_mine * away * away : T(0);
  square = average(team_sum<THREADS>(square), count);
  if (blockIdx.y == 0 && thread == 0) mean[c] = mu, var[c] = square;
  normalize(x, weight, y, mu, square, g, eps);
}

// The same, where the product that made x has left the moments of its parts (moments.cuh), which are
// many: they are joined once, by a block for each channel, and x is not read for them.
template <class T>
__device__ void batch_norm_1_join(const T* moments, T* mean, T* var, int parts, int count) {
  const int c = blockIdx.x, C = gridDim.x;
  const T* means = moments + (long long)c * parts;
  const T* squares = means + (long long)C * parts;
  const T* counts = moments + 2ll * C * parts;
  T sum = 0, square = 0;
  for (int part = threadIdx.x; part < parts; part += THREADS)
    if (counts[part] > T(0)) sum += counts[part] * means[part];  // there is no mean of nothing
  const T mu = average(team_sum<THREADS>(sum), count);
  for (int part = threadIdx.x; part < parts; part += THREADS) {
    if (!(counts[part] > T(0))) continue;
    const T away = means[part] - mu;
    square += squares[part] + counts[part] * away * away;
  }
  square = average(team_sum<THREADS>(square), count);
  if (threadIdx.x == 0) mean[c] = mu, var[c] = square;
}

// The sums of gy xhat and of gy, of one part: found (2, C, parts).
template <class T>
__device__ void batch_norm_backward_1_parts(const T* gy, const T* x, const T* mean, const T* var,
                                            T* found, const Channels& g, T eps) {
  const int c = blockIdx.x, parts = gridDim.y, at = c * parts + blockIdx.y;
  const T mu = mean[c], rstd = T(1) / sqrt(var[c] + eps);
  const Part part = part_of(g, blockIdx.y);
  T sum_gx = 0, sum_g = 0;
  along<T>(part.begin, part.end, threadIdx.x, THREADS, rows_are_wide(g.L, gy, x),
           [&](int i, auto w) {
             auto slope = load(gy + place(g, i), w), a = load(x + place(g, i), w);
             for (int e = 0; e < w.count; e++) {
               sum_gx += slope.at[e] * ((a.at[e] - mu) * rstd);
               sum_g += slope.at[e];
             }
           });
  sum_gx = team_sum<THREADS>(sum_gx);
  sum_g = team_sum<THREADS>(sum_g);
  if (threadIdx.x == 0) found[at] = sum_gx, found[at + g.C * parts] = sum_g;
}

// gx = weight rstd (gy - avg gy - xhat avg(gy xhat)); gw and gb are the sums, joined.
template <class T>
__device__ void batch_norm_backward_1_channels(const T* gy, const T* x, const T* weight,
                                               const T* mean, const T* var, const T* found, T* gx,
                                               T* gw, T* gb, const Channels& g, T eps) {
  const int c = blockIdx.x, parts = gridDim.y, count = g.N * g.L, thread = threadIdx.x;
  const bool has_one = thread < parts;
  const T sum_gx = team_sum<THREADS>(has_one ? found[c * parts + thread] : T(0));
  const T sum_g = team_sum<THREADS>(has_one ? found[(g.C + c) * parts + thread] : T(0));
  if (blockIdx.y == 0 && thread == 0) gw[c] = sum_gx, gb[c] = sum_g;
  const T mu = mean[c], rstd = T(1) / sqrt(var[c] + eps);
  const T avg_gx = average(sum_gx, count), avg_g = average(sum_g, count);
  const T scale = weight ? weight[c] * rstd : rstd;
  const Part part = part_of(g, blockIdx.y);
  const bool wide = rows_are_wide(g.L, gy, x, gx);
  along<T>(part.begin, part.end, thread, THREADS, wide, [&](int i, auto w) {
    auto slope = load(gy + place(g, i), w), a = load(x + place(g, i), w);
    for (int e = 0; e < w.count; e++) {
      T x_hat = (a.at[e] - mu) * rstd;
      a.at[e] = (slope.at[e] - avg_g - x_hat * avg_gx) * scale;
    }
    store(gx + place(g, i), a, w);
  });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define LAYER_NORM(TEAM, THREADS_OF_TEAM, SUFFIX, T)                                              \
  KERNEL layer_norm_1_rows_##TEAM##_##SUFFIX(const T* x, const T* weight, const T* bias, T* y,    \
                                             T* mean, T* rstd, int rows, int width, T eps) {      \
    layer_norm_1_rows<T, THREADS_OF_TEAM>(x, weight, bias, y, mean, rstd, rows, width, eps);      \
  }                                                                                               \
  KERNEL layer_norm_backward_1_rows_##TEAM##_##SUFFIX(const T* gy, const T* x, const T* weight,   \
                                                      const T* mean, const T* rstd, T* gx,        \
                                                      int rows, int width) {                      \
    layer_norm_backward_1_rows<T, THREADS_OF_TEAM>(gy, x, weight, mean, rstd, gx, rows, width);   \
  }
#define NORM(SUFFIX, T)                                                                           \
  LAYER_NORM(warp, WARP, SUFFIX, T)                                                               \
  LAYER_NORM(block, THREADS, SUFFIX, T)                                                           \
  KERNEL layer_norm_backward_1_columns_##SUFFIX(const T* gy, const T* x, const T* mean,           \
                                                const T* rstd, T* sums, int rows, int width,      \
                                                int rows_per_part) {                              \
    layer_norm_backward_1_columns<T>(gy, x, mean, rstd, sums, rows, width, rows_per_part);        \
  }                                                                                               \
  KERNEL add_parts_##SUFFIX(const T* sums, T* total, int size, int parts) {                       \
    add_parts<T>(sums, total, size, parts);                                                       \
  }                                                                                               \
  KERNEL batch_norm_1_parts_##SUFFIX(const T* x, T* found, Channels g) {                          \
    batch_norm_1_parts<T>(x, found, g);                                                           \
  }                                                                                               \
  KERNEL batch_norm_1_channels_##SUFFIX(const T* x, const T* weight, const T* bias, T* y,         \
                                        T* before, Finish<T> f, const T* found, T* mean, T* var,  \
                                        Channels g, T eps) {                                      \
    batch_norm_1_channels<T>(x, weight, found, {bias, y, before, f}, mean, var, g, eps);          \
  }                                                                                               \
  KERNEL batch_norm_1_join_##SUFFIX(const T* moments, T* mean, T* var, int parts, int count) {    \
    batch_norm_1_join<T>(moments, mean, var, parts, count);                                       \
  }                                                                                               \
  KERNEL batch_norm_1_joined_##SUFFIX(const T* x, const T* weight, const T* bias, T* y,           \
                                      T* before, Finish<T> f, const T* mean, const T* var,        \
                                      Channels g, T eps) {                                        \
    normalize<T>(x, weight, {bias, y, before, f}, mean[blockIdx.x], var[blockIdx.x], g, eps);     \
  }                                                                                               \
  KERNEL batch_norm_backward_1_parts_##SUFFIX(const T* gy, const T* x, const T* mean,             \
                                              const T* var, T* found, Channels g, T eps) {        \
    batch_norm_backward_1_parts<T>(gy, x, mean, var, found, g, eps);                              \
  }                                                                                               \
  KERNEL batch_norm_backward_1_channels_##SUFFIX(                                                 \
      const T* gy, const T* x, const T* weight, const T* mean, const T* var, const T* found,      \
      T* gx, T* gw, T* gb, Channels g, T eps) {                                                   \
    batch_norm_backward_1_channels<T>(gy, x, weight, mean, var, found, gx, gw, gb, g, eps);       \
  }
NORM(f32, float)
NORM(f64, double)
