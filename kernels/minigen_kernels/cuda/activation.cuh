// Activations of one number: gelu(x) = x cdf(x), cdf the normal distribution; its tanh form takes a
// logistic curve for the cdf, x s(2u) = x (1 + tanh u) / 2; leaky_relu(x) = x where x > 0, slope x
// elsewhere; tanh; sigmoid(x) = 1 / (1 + exp(-x)). For the kernels that pass over an array, and for
// the end of a product, where a number that is still in a register costs no pass at all.
#pragma once

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

enum Activation { NONE, LEAKY_RELU, TANH, SIGMOID, GELU, GELU_TANH };

// What happens to the sum of a product before it is stored. One kernel has them all: all threads
// take the same branch, once for each element of the result.
template <class T>
struct Finish {
  int kind;
  T slope;  // of leaky_relu; 0 is ReLU
  __device__ __forceinline__ T value(T x) const {
    switch (kind) {
      case LEAKY_RELU: return LeakyRelu<T>{slope}.value(x);
      case TANH: return tanh(x);
      case SIGMOID: return T(1) / (T(1) + exp(-x));
      case GELU: return Gelu<T>().value(x);
      case GELU_TANH: return GeluTanh<T>().value(x);
    }
    return x;
  }
};

// y[at] = f(sum + bias[channel]), any of which may be missing. What f is given goes to `before`, if
// that is not null: the slope of gelu cannot be found from its value.
template <class T>
struct Result {
  const T* bias;
  T *y, *before;
  Finish<T> f;
  T* moments;  // of sum + bias: found of moments.cuh
  __device__ __forceinline__ void put(long long at, int channel, T sum) const {
    T x = sum + (bias ? bias[channel] : T(0));
    if (before) before[at] = x;
    y[at] = f.value(x);
  }
};
