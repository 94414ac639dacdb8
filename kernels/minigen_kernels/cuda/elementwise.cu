// gelu and leaky_relu of activation.cuh, and their slopes: one pass over memory, 16 bytes at a
// time; float32 and float64.
// REGISTERS 64
#include "activation.cuh"
#include "team.cuh"

constexpr int CHUNK = 16 * THREADS;  // elements of a block

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
