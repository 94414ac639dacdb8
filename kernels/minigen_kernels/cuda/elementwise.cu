// gelu(x) = x cdf(x), cdf the normal distribution; its tanh form takes a logistic curve for the cdf,
// x s(2u) = x (1 + tanh u) / 2. leaky_relu(x) = x where x > 0, slope x elsewhere; slope 0 is ReLU.
// One pass over memory, 16 bytes at a time; float32 and float64.
// REGISTERS 64
#include "team.cuh"

constexpr int CHUNK = 16 * THREADS;  // elements of a block

__device__ __forceinline__ float cdf(float x) { return normcdff(x); }
__device__ __forceinline__ double cdf(double x) { return normcdf(x); }

// A function has a value at x, and pulls a cotangent g of it back to x.
template <class T>
struct Gelu {  // x cdf(x), and its slope cdf(x) + x density(x)
  __device__ __forceinline__ T value(T x) const { return x * cdf(x); }
  __device__ __forceinline__ T pull(T g, T x) const {
    return g * (cdf(x) + x * exp(T(-0.5) * x * x) * T(0.39894228040143267794));  // 1 / sqrt(2 pi)
  }
};

template <class T>
struct GeluTanh {  // 2u = x (SLOPE + CUBIC x^2), s(t) = 1 / (1 + exp(-t))
  static constexpr T SLOPE = T(1.59576912160573071176);  // 2 sqrt(2 / pi)
  static constexpr T CUBIC = SLOPE * T(0.044715);
  __device__ __forceinline__ T value(T x) const {
    return x / (T(1) + exp(-x * (SLOPE + CUBIC * x * x)));
  }
  __device__ __forceinline__ T pull(T g, T x) const {
    T square = CUBIC * x * x, gate = T(1) / (T(1) + exp(-x * (SLOPE + square)));
    return g * (gate + x * gate * (T(1) - gate) * (SLOPE + T(3) * square));
  }
};

template <class T>
struct LeakyRelu {  // slope 0: 0, not 0 times what may be infinite; and then NaN is not <= 0
  T slope;
  __device__ __forceinline__ T value(T x) const {
    return x <= T(0) ? (slope == T(0) ? T(0) : slope * x) : x;
  }
  __device__ __forceinline__ T pull(T g, T x) const {
    if (slope == T(0)) return x <= T(0) ? T(0) : g;
    return x > T(0) ? g : slope * g;
  }
};

// y[i] = f(x[i]).
template <class T, class F>
__device__ __forceinline__ void map(F f, const T* x, T* y, long long size) {
  const long long begin = (long long)blockIdx.x * CHUNK;
  const long long end = begin + CHUNK < size ? begin + CHUNK : size;
  along<T>(begin, end, threadIdx.x, THREADS, are_aligned(x, y), [&](long long i, auto w) {
    auto a = load(x + i, w);
    for (int e = 0; e < w.count; e++) a.at[e] = f.value(a.at[e]);
    store(y + i, a, w);
  });
}

// gx[i] = gy[i] f'(x[i]).
template <class T, class F>
__device__ __forceinline__ void map_backward(F f, const T* gy, const T* x, T* gx, long long size) {
  const long long begin = (long long)blockIdx.x * CHUNK;
  const long long end = begin + CHUNK < size ? begin + CHUNK : size;
  along<T>(begin, end, threadIdx.x, THREADS, are_aligned(gy, x, gx), [&](long long i, auto w) {
    auto g = load(gy + i, w), a = load(x + i, w);
    for (int e = 0; e < w.count; e++) a.at[e] = f.pull(g.at[e], a.at[e]);
    store(gx + i, a, w);
  });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define GELU(FORM, F, SUFFIX, T)                                                                  \
  KERNEL gelu_1_vector_##FORM##_##SUFFIX(const T* x, T* y, long long size) {                      \
    map(F<T>(), x, y, size);                                                                      \
  }                                                                                               \
  KERNEL gelu_backward_1_vector_##FORM##_##SUFFIX(const T* gy, const T* x, T* gx,                 \
                                                  long long size) {                               \
    map_backward(F<T>(), gy, x, gx, size);                                                        \
  }
GELU(none, Gelu, f32, float)
GELU(tanh, GeluTanh, f32, float)
GELU(none, Gelu, f64, double)
GELU(tanh, GeluTanh, f64, double)

#define LEAKY_RELU(SUFFIX, T)                                                                     \
  KERNEL leaky_relu_1_vector_##SUFFIX(const T* x, T* y, long long size, T slope) {                \
    map(LeakyRelu<T>{slope}, x, y, size);                                                         \
  }                                                                                               \
  KERNEL leaky_relu_backward_1_vector_##SUFFIX(const T* gy, const T* x, T* gx, long long size,    \
                                               T slope) {                                         \
    map_backward(LeakyRelu<T>{slope}, gy, x, gx, size);                                           \
  }
LEAKY_RELU(f32, float)
LEAKY_RELU(f64, double)
