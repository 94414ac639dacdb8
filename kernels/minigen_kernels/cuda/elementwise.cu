// gelu and leaky_relu of activation.cuh, and their slopes.
// bce_with_logits(x, t) = log(1 + exp x) - t x, the binary cross-entropy of a logit and a target.
// One pass over memory, 16 bytes at a time; float32 and float64.
// REGISTERS 64
#include "activation.cuh"
#include "team.cuh"

constexpr int CHUNK = 16 * THREADS;  // elements of a block

template <class T>
struct BceWithLogits {  // log(1 + exp x) - t x of a logit x and a target t, and s(x) - t
  __device__ __forceinline__ T value(T x, T t) const {
    const T size = fabs(x), wrong = x > T(0) ? T(1) - t : t;  // the probability of the other side
    return (wrong == T(0) ? T(0) : wrong * size) + log1p(exp(-size));  // not 0 times infinity
  }
  __device__ __forceinline__ T pull(T g, T x, T t) const {  // near 1, s(x) has no digits left
    const T e = exp(-fabs(x)), tail = e / (T(1) + e);
    return g * (x > T(0) ? (T(1) - t) - tail : tail - t);
  }
};

template <class F, class T, int N, class... Packs>
__device__ __forceinline__ Pack<T, N> each(F f, const Pack<T, N>& a, const Packs&... others) {
  Pack<T, N> b;
  for (int e = 0; e < N; e++) b.at[e] = f(a.at[e], others.at[e]...);
  return b;
}

// y[i] = f(x[i]), or f of the elements of several arrays.
template <class T, class F, class... X>
__device__ __forceinline__ void map(F f, long long size, T* y, const X*... x) {
  const long long begin = (long long)blockIdx.x * CHUNK;
  const long long end = begin + CHUNK < size ? begin + CHUNK : size;
  along<T>(begin, end, threadIdx.x, THREADS, are_aligned(y, x...),
           [&](long long i, auto w) { store(y + i, each(f, load(x + i, w)...), w); });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define GELU(FORM, F, SUFFIX, T)                                                                  \
  KERNEL gelu_1_vector_##FORM##_##SUFFIX(const T* x, T* y, long long size) {                      \
    map([](T x) { return F<T>().value(x); }, size, y, x);                                         \
  }                                                                                               \
  KERNEL gelu_backward_1_vector_##FORM##_##SUFFIX(const T* gy, const T* x, T* gx,                 \
                                                  long long size) {                               \
    map([](T g, T x) { return F<T>().pull(g, x); }, size, gx, gy, x);                             \
  }
GELU(none, Gelu, f32, float)
GELU(tanh, GeluTanh, f32, float)
GELU(none, Gelu, f64, double)
GELU(tanh, GeluTanh, f64, double)

#define LEAKY_RELU(SUFFIX, T)                                                                     \
  KERNEL leaky_relu_1_vector_##SUFFIX(const T* x, T* y, long long size, T slope) {                \
    map([f = LeakyRelu<T>{slope}](T x) { return f.value(x); }, size, y, x);                       \
  }                                                                                               \
  KERNEL leaky_relu_backward_1_vector_##SUFFIX(const T* gy, const T* x, T* gx, long long size,    \
                                               T slope) {                                         \
    map([f = LeakyRelu<T>{slope}](T g, T x) { return f.pull(g, x); }, size, gx, gy, x);           \
  }
LEAKY_RELU(f32, float)
LEAKY_RELU(f64, double)

#define BCE_WITH_LOGITS(SUFFIX, T)                                                                \
  KERNEL bce_with_logits_1_vector_##SUFFIX(const T* x, const T* target, T* y, long long size) {   \
    map([](T x, T t) { return BceWithLogits<T>().value(x, t); }, size, y, x, target);             \
  }                                                                                               \
  KERNEL bce_with_logits_backward_1_vector_##SUFFIX(const T* gy, const T* x, const T* target,     \
                                                    T* gx, long long size) {                      \
    map([](T g, T x, T t) { return BceWithLogits<T>().pull(g, x, t); }, size, gx, gy, x, target); \
  }
BCE_WITH_LOGITS(f32, float)
BCE_WITH_LOGITS(f64, double)
