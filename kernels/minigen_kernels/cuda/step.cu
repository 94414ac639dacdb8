// What a training step that is recorded once and replayed needs: its changing numbers (the learning
// rate, the count of steps) are read from device memory.
//
// REGISTERS 64: at most so many a thread, which the compile layer's test holds the file to.
constexpr int THREADS = 256, WORDS = 256;

struct Words {
  long long value[WORDS];
};

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// to[i] = words[i]: numbers of the CPU, handed over by value, so that no copy has to be waited for.
KERNEL step_numbers(long long* to, const __grid_constant__ Words words, int count) {
  const int i = threadIdx.x;
  if (i < count) to[i] = words.value[i];
}

// m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2, p = p - pace m / (sqrt(v scale) + eps)
//
// pace = lr / (1 - beta1^t), scale = 1 / (1 - beta2^t) and keep = 1 - lr weight_decay are
// numbers[0..2]: in memory, since t and lr change from replay to replay.
template <class T>
__device__ void adam(T* p, const T* g, T* m, T* v, long long n, const double* numbers, T beta1,
                     T beta2, T eps, T weight_decay, int decoupled) {
  const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (i >= n) return;
  const T pace = (T)numbers[0], scale = (T)numbers[1];
  const T w = decoupled ? p[i] * (T)numbers[2] : p[i];
  const T slope = decoupled ? g[i] : g[i] + weight_decay * w;
  const T mean = beta1 * m[i] + (1 - beta1) * slope;
  const T square = beta2 * v[i] + (1 - beta2) * slope * slope;
  m[i] = mean;
  v[i] = square;
  p[i] = w - pace * mean / (sqrt(square * scale) + eps);
}

#define ADAM(SUFFIX, T)                                                                           \
  KERNEL step_adam_##SUFFIX(T* p, const T* g, T* m, T* v, long long n, const double* numbers,     \
                            T beta1, T beta2, T eps, T weight_decay, int decoupled) {             \
    adam<T>(p, g, m, v, n, numbers, beta1, beta2, eps, weight_decay, decoupled);                  \
  }
ADAM(f32, float)
ADAM(f64, double)
