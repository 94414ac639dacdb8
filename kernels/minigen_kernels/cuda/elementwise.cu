// gelu(x) = x cdf(x), cdf the normal distribution; its tanh form takes a logistic curve for the cdf,
// x s(2u) = x (1 + tanh u) / 2. One pass over memory, 16 bytes at a time; float32 and float64.
// REGISTERS 64
#include "team.cuh"

constexpr int CHUNK = 16 * THREADS;  // elements of a block

__device__ __forceinline__ float cdf(float x) { return normcdff(x); }
__device__ __forceinline__ double cdf(double x) { return normcdf(x); }

template <class T>
struct Gelu {  // x cdf(x), and cdf(x) + x density(x)
  static __device__ __forceinline__ T value(T x) { return x * cdf(x); }
  static __device__ __forceinline__ T slope(T x) {
    return cdf(x) + x * exp(T(-0.5) * x * x) * T(0.39894228040143267794);  // 1 / sqrt(2 pi)
  }
};

template <class T>
struct GeluTanh {  // 2u = x (SLOPE + CUBIC x^2), s(t) = 1 / (1 + exp(-t))
  static constexpr T SLOPE = T(1.59576912160573071176);  // 2 sqrt(2 / pi)
  static constexpr T CUBIC = SLOPE * T(0.044715);
  static __device__ __forceinline__ T value(T x) {
    return x / (T(1) + exp(-x * (SLOPE + CUBIC * x * x)));
  }
  static __device__ __forceinline__ T slope(T x) {
    T square = CUBIC * x * x, gate = T(1) / (T(1) + exp(-x * (SLOPE + square)));
    return gate + x * gate * (T(1) - gate) * (SLOPE + T(3) * square);
  }
};

// y[i] = f(x[i]).
template <class T, class F>
__device__ __forceinline__ void map(const T* x, T* y, long long size) {
  const long long begin = (long long)blockIdx.x * CHUNK;
  const long long end = begin + CHUNK < size ? begin + CHUNK : size;
  along<T>(begin, end, threadIdx.x, THREADS, are_aligned(x, y), [&](long long i, auto w) {
    auto a = load(x + i, w);
    for (int e = 0; e < w.count; e++) a.at[e] = F::value(a.at[e]);
    store(y + i, a, w);
  });
}

// gx[i] = gy[i] f'(x[i]).
template <class T, class F>
__device__ __forceinline__ void map_backward(const T* gy, const T* x, T* gx, long long size) {
  const long long begin = (long long)blockIdx.x * CHUNK;
  const long long end = begin + CHUNK < size ? begin + CHUNK : size;
  along<T>(begin, end, threadIdx.x, THREADS, are_aligned(gy, x, gx), [&](long long i, auto w) {
    auto g = load(gy + i, w), a = load(x + i, w);
    for (int e = 0; e < w.count; e++) a.at[e] = g.at[e] * F::slope(a.at[e]);
    store(gx + i, a, w);
  });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define GELU(FORM, F, SUFFIX, T)                                                                  \
  KERNEL gelu_1_vector_##FORM##_##SUFFIX(const T* x, T* y, long long size) {                      \
    map<T, F<T>>(x, y, size);                                                                     \
  }                                                                                               \
  KERNEL gelu_backward_1_vector_##FORM##_##SUFFIX(const T* gy, const T* x, T* gx,                 \
                                                  long long size) {                               \
    map_backward<T, F<T>>(gy, x, gx, size);                                                       \
  }
GELU(none, Gelu, f32, float)
GELU(tanh, GeluTanh, f32, float)
GELU(none, Gelu, f64, double)
GELU(tanh, GeluTanh, f64, double)
