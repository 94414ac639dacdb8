// Adam and AdamW on many tensors by one launch: p <- keep p - rate m / (sqrt(v) root + eps), with
// m <- m + (1 - beta1) (g - m) and v <- beta2 v + (1 - beta2) g^2; float32 and float64.
//
// The tensors are cut into chunks, a block each, so that a model of a hundred small tensors is not
// a hundred launches. A step that is recorded once and replayed keeps in memory what changes from
// one to the next.
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
  T decay;                             // of the parameter into the slope
  T one_beta1, beta2, one_beta2, eps;  // one_: 1 less this
  T keep, rate, root;  // 1 - lr weight_decay or 1, lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t)
};

template <class T>
__device__ __forceinline__ void adam_1_fused(const Tensors<T>& tensors, const Chunks& chunks,
                                             const Rule<T>& rule, const double* changing) {
  int t = chunks.count - 1;
  while (t > 0 && chunks.first[t] > (int)blockIdx.x) t--;
  T *params = tensors.params[t], *ms = tensors.exp_avgs[t], *vs = tensors.exp_avg_sqs[t];
  const T* grads = tensors.grads[t];
  const long long size = chunks.size[t], begin = (blockIdx.x - chunks.first[t]) * (long long)CHUNK;
  const long long end = begin + CHUNK < size ? begin + CHUNK : size;
  const bool wide = are_aligned(params, grads, ms, vs);
  const T keep = changing ? (T)changing[0] : rule.keep, rate = changing ? (T)changing[1] : rule.rate;
  const T root = changing ? (T)changing[2] : rule.root;
  along<T>(begin, end, threadIdx.x, THREADS, wide, [&](long long i, auto width) {
    auto p = load(params + i, width), g = load(grads + i, width);
    auto m = load(ms + i, width), v = load(vs + i, width);
    for (int e = 0; e < width.count; e++) {
      T w = p.at[e] * keep, slope = g.at[e] + rule.decay * w;
      m.at[e] += rule.one_beta1 * (slope - m.at[e]);
      v.at[e] = rule.beta2 * v.at[e] + rule.one_beta2 * slope * slope;
      p.at[e] = w - rate * m.at[e] / (sqrt(v.at[e]) * root + rule.eps);
    }
    store(params + i, p, width);
    store(ms + i, m, width);
    store(vs + i, v, width);
  });
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)
#define ADAM(SUFFIX, T)                                                                           \
  KERNEL adam_1_fused_##SUFFIX(Tensors<T> tensors, Chunks chunks, Rule<T> rule,                   \
                               const double* changing) {                                          \
    adam_1_fused<T>(tensors, chunks, rule, changing);                                             \
  }
ADAM(f32, float)
ADAM(f64, double)
