// softmax and cross-entropy over rows of R x C, forward and backward; float32 and float64, any size.
// A row has one team: a warp if it is short, a block if it is long.
// REGISTERS 64
#include "team.cuh"

template <class T>
__device__ __forceinline__ T minus_infinity() {
  return -(T)__int_as_float(0x7f800000);
}

// Of a row: its largest value, and the sum of exp(x - top) over all the others. That of the largest
// is 1 and is left out, for beside it the digits of a confident row would be rounded off.
template <class T>
struct Powers {
  T top, rest;
};

// One pass: each thread keeps its largest value so far, and rescales its sum when a larger one comes
// (Milakov and Gimelshein 2018). As in the formula, a NaN anywhere, inf, or a row of nothing but
// -inf make the sum NaN; no classes at all make it 0.
template <class T, int TEAM>
__device__ __forceinline__ Powers<T> powers_of_row(const T* x, int classes, bool wide) {
  T top = minus_infinity<T>(), rest = 0;
  along<T>(0, classes, team_thread<TEAM>(), TEAM, wide, [&](int i, auto w) {
    auto a = load(x + i, w);
    for (int e = 0; e < w.count; e++) {
      const bool is_larger = a.at[e] > top;
      const T power = exp(is_larger ? top - a.at[e] : a.at[e] - top);
      if (is_larger) rest = (rest + T(1)) * power, top = a.at[e];
      else if (a.at[e] != minus_infinity<T>()) rest += power;  // -inf - -inf is NaN
    }
  });
  const T highest = team_max<TEAM>(top);
  const bool has_it = top == highest;  // of the threads that have it, one leaves out its 1
  rest = team_sum<TEAM>(has_it ? rest : (rest + T(1)) * exp(top - highest)) +
         (team_sum<TEAM>(T(has_it ? 1 : 0)) - T(1));
  if (highest - highest != T(0)) rest = classes > 0 ? highest - highest : T(-1);
  return {highest, rest};
}

// y[r,c] = exp(x[r,c] - top) / (1 + rest).
template <class T, int TEAM>
__device__ void softmax_1_rows(const T* x, T* y, int rows, int classes) {
  const int row = team_row<TEAM>();
  if (row >= rows) return;
  x += (long long)row * classes;
  y += (long long)row * classes;
  const bool wide = rows_are_wide(classes, x, y);
  const Powers<T> p = powers_of_row<T, TEAM>(x, classes, wide);
  const T factor = T(1) / (T(1) + p.rest);
  along<T>(0, classes, team_thread<TEAM>(), TEAM, wide, [&](int i, auto w) {
    auto a = load(x + i, w);
    for (int e = 0; e < w.count; e++) a.at[e] = exp(a.at[e] - p.top) * factor;
    store(y + i, a, w);
  });
}

// gx[r,c] = y[r,c] (gy[r,c] - sum over k of gy[r,k] y[r,k]).
template <class T, int TEAM>
__device__ void softmax_backward_1_rows(const T* gy, const T* y, T* gx, int rows, int classes) {
  const int row = team_row<TEAM>(), thread = team_thread<TEAM>();
  if (row >= rows) return;
  gy += (long long)row * classes;
  y += (long long)row * classes;
  gx += (long long)row * classes;
  const bool wide = rows_are_wide(classes, gy, y, gx);
  T sum = 0;
  along<T>(0, classes, thread, TEAM, wide, [&](int i, auto w) {
    auto g = load(gy + i, w), p = load(y + i, w);
    for (int e = 0; e < w.count; e++) sum += g.at[e] * p.at[e];
  });
  sum = team_sum<TEAM>(sum);
  along<T>(0, classes, thread, TEAM, wide, [&](int i, auto w) {
    auto g = load(gy + i, w), p = load(y + i, w);
    for (int e = 0; e < w.count; e++) p.at[e] *= g.at[e] - sum;
    store(gx + i, p, w);
  });
}

// loss[r] = lse[r] - logits[r, target[r]], lse[r] = log of the sum of exp logits[r]: one pass, and
// no array of probabilities. A negative target is a row of loss 0.
template <class T, int TEAM>
__device__ void cross_entropy_1_rows(const T* logits, const long long* target, T* loss, T* lse,
                                     int rows, int classes) {
  const int row = team_row<TEAM>();
  if (row >= rows) return;
  logits += (long long)row * classes;
  const Powers<T> p = powers_of_row<T, TEAM>(logits, classes, rows_are_wide(classes, logits));
  if (team_thread<TEAM>() > 0) return;
  const T spread = log1p(p.rest);
  const long long wanted = target[row];
  lse[row] = p.top + spread;
  // top - x first: top + spread would round off the digits of a confident row's loss
  loss[row] = wanted < 0 ? T(0) : (p.top - logits[wanted]) + spread;
}

// glogits[r,c] = g[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]), 0 where target[r] < 0.
template <class T, int TEAM>
__device__ void cross_entropy_backward_1_rows(const T* g, const T* logits, const long long* target,
                                              const T* lse, T* glogits, int rows, int classes) {
  const int row = team_row<TEAM>();
  if (row >= rows) return;
  logits += (long long)row * classes;
  glogits += (long long)row * classes;
  const T slope = g[row], shift = lse[row];
  const long long wanted = target[row];
  along<T>(0, classes, team_thread<TEAM>(), TEAM, rows_are_wide(classes, logits, glogits),
           [&](int i, auto w) {
             auto a = load(logits + i, w);
             for (int e = 0; e < w.count; e++)
               a.at[e] = wanted < 0 ? T(0)
                                    : slope * (exp(a.at[e] - shift) - T(i + e == wanted ? 1 : 0));
             store(glogits + i, a, w);
           });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define ROWS(TEAM, THREADS_OF_TEAM, SUFFIX, T)                                                    \
  KERNEL softmax_1_rows_##TEAM##_##SUFFIX(const T* x, T* y, int rows, int classes) {              \
    softmax_1_rows<T, THREADS_OF_TEAM>(x, y, rows, classes);                                      \
  }                                                                                               \
  KERNEL softmax_backward_1_rows_##TEAM##_##SUFFIX(const T* gy, const T* y, T* gx, int rows,      \
                                                   int classes) {                                 \
    softmax_backward_1_rows<T, THREADS_OF_TEAM>(gy, y, gx, rows, classes);                        \
  }                                                                                               \
  KERNEL cross_entropy_1_rows_##TEAM##_##SUFFIX(const T* logits, const long long* target,         \
                                                T* loss, T* lse, int rows, int classes) {         \
    cross_entropy_1_rows<T, THREADS_OF_TEAM>(logits, target, loss, lse, rows, classes);           \
  }                                                                                               \
  KERNEL cross_entropy_backward_1_rows_##TEAM##_##SUFFIX(                                         \
      const T* g, const T* logits, const long long* target, const T* lse, T* glogits, int rows,   \
      int classes) {                                                                              \
    cross_entropy_backward_1_rows<T, THREADS_OF_TEAM>(g, logits, target, lse, glogits, rows,      \
                                                      classes);                                   \
  }
ROWS(warp, WARP, f32, float)
ROWS(block, THREADS, f32, float)
ROWS(warp, WARP, f64, double)
ROWS(block, THREADS, f64, double)
