// Adam and AdamW on many tensors by one launch: p <- keep p - rate m / (sqrt(v) root + eps), with
// m <- m + (1 - beta1) (g - m) and v <- beta2 v + (1 - beta2) g^2; float32 and float64.
//
// The tensors are cut into chunks, a block each, so that a model of a hundred small tensors is not
// a hundred launches.
// REGISTERS 64
#include "team.cuh"

constexpr int MOST = 32;              // tensors of a launch: its arguments have 4 KiB
constexpr int CHUNK = 32 * THREADS;   // elements of a block

template <class T>
struct Tensors {
  T* params[MOST];
  const T* grads[MOST];
  T *exp_avgs[MOST], *exp_avg_sqs[MOST];
};

struct Chunks {
  long long size[MOST];  // elements of each tensor
  int first[MOST];       // the block that has its first chunk
  int count, unused;     // tensors
};

template <class T>
struct Rule {
  T keep, decay;                    // of the parameter, and into the slope: weight decay
  T rate, root;                     // lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
  T one_beta1, beta2, one_beta2, eps;  // one_: 1 less this
};

template <class T>
__device__ __forceinline__ void adam_1_fused(const Tensors<T>& tensors, const Chunks& chunks,
                                             const Rule<T>& rule) {
  int t = chunks.count - 1;
  while (t > 0 && chunks.first[t] > (int)blockIdx.x) t--;
  T *params = tensors.params[t], *ms = tensors.exp_avgs[t], *vs = tensors.exp_avg_sqs[t];
  const T* grads = tensors.grads[t];
  const long long size = chunks.size[t], begin = (blockIdx.x - chunks.first[t]) * (long long)CHUNK;
  const long long end = begin + CHUNK < size ? begin + CHUNK : size;
  const bool wide = are_aligned(params, grads, ms, vs);
  along<T>(begin, end, threadIdx.x, THREADS, wide, [&](long long i, auto width) {
    auto p = load(params + i, width), g = load(grads + i, width);
    auto m = load(ms + i, width), v = load(vs + i, width);
    for (int e = 0; e < width.count; e++) {
      T w = p.at[e] * rule.keep, slope = g.at[e] + rule.decay * w;
      m.at[e] += rule.one_beta1 * (slope - m.at[e]);
      v.at[e] = rule.beta2 * v.at[e] + rule.one_beta2 * slope * slope;
      p.at[e] = w - rule.rate * m.at[e] / (sqrt(v.at[e]) * rule.root + rule.eps);
    }
    store(params + i, p, width);
    store(ms + i, m, width);
    store(vs + i, v, width);
  });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define ADAM(SUFFIX, T)                                                                           \
  KERNEL adam_1_fused_##SUFFIX(Tensors<T> tensors, Chunks chunks, Rule<T> rule) {                 \
    adam_1_fused<T>(tensors, chunks, rule);                                                       \
  }
ADAM(f32, float)
ADAM(f64, double)
