// Philox4x32-10: four random words from a 128-bit counter and a 64-bit key, the same bits as on the
// CPU; uniform and normal numbers, and dropout, made of them in one pass. Nothing goes from one block of words to the next, so a thread makes any of them alone.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// REGISTERS 64

constexpr int THREADS = 256;

struct Counter {
  unsigned long long low, high;
};

// Ten rounds: the halves of two products, crossed over, with a key that grows.
__device__ __forceinline__ uint4 philox(unsigned long long key, Counter counter) {
  unsigned k0 = (unsigned)key, k1 = (unsigned)(key >> 32);
  uint4 c = make_uint4((unsigned)counter.low, (unsigned)(counter.low >> 32), (unsigned)counter.high,
                       (unsigned)(counter.high >> 32));
#pragma unroll
  for (int round = 0; round < 10; round++) {
    unsigned high0 = __umulhi(c.x, 0xD2511F53u), high1 = __umulhi(c.z, 0xCD9E8D57u);
    c = make_uint4(high1 ^ c.y ^ k0, c.z * 0xCD9E8D57u, high0 ^ c.w ^ k1, c.x * 0xD2511F53u);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// The words of the block that is `by` blocks on, with the carry from the counter's lower half. A
// captured launch is replayed with the arguments that it had; so how many blocks have been drawn
// since then may be read from memory: moved, or null.
__device__ __forceinline__ uint4 words_after(unsigned long long key, Counter counter,
                                             const long long* moved, unsigned long long by) {
  if (moved) by += (unsigned long long)*moved;
  counter.high += counter.low + by < by;
  counter.low += by;
  return philox(key, counter);
}

#define KERNEL extern "C" __global__ void __launch_bounds__(THREADS)

// words (blocks, 4): the blocks counter, counter + 1, ...; 16 bytes from each thread, here and below.
KERNEL philox_1_blocks(unsigned long long key, Counter counter, const long long* moved,
                       uint4* words, long long blocks) {
  long long block = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (block < blocks) words[block] = words_after(key, counter, moved, block);
}

// ---------------------------------------------------------------- uniform numbers in [0, 1)
// A word gives a multiple of 2^-24, two words (the lower half first) one of 2^-53.
__device__ __forceinline__ float uniform24(unsigned word) {
  return (word >> 8) * 5.9604644775390625e-8f;
}
__device__ __forceinline__ double uniform53(unsigned low, unsigned high) {
  return (((unsigned long long)high << 32 | low) >> 11) * 1.1102230246251565e-16;
}

KERNEL uniform_1_blocks_f32(unsigned long long key, Counter counter, const long long* moved,
                            float4* values, long long blocks) {
  long long block = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (block >= blocks) return;
  uint4 c = words_after(key, counter, moved, block);
  values[block] = make_float4(uniform24(c.x), uniform24(c.y), uniform24(c.z), uniform24(c.w));
}
KERNEL uniform_1_blocks_f64(unsigned long long key, Counter counter, const long long* moved,
                            double2* values, long long blocks) {
  long long block = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (block >= blocks) return;
  uint4 c = words_after(key, counter, moved, block);
  values[block] = make_double2(uniform53(c.x, c.y), uniform53(c.z, c.w));
}

// ---------------------------------------------------------------- normal numbers
// r cos a and r sin a, r = sqrt(-2 log(1 - u)), a = 2 pi v (Box and Muller 1958); in double, as on
// the CPU, so that the two differ by the last bit of a logarithm or a cosine at most.
__device__ __forceinline__ double2 normal_pair(double u, double v) {
  double radius = sqrt(-2.0 * log(1.0 - u)), angle = 6.283185307179586 * v;
  return make_double2(radius * cos(angle), radius * sin(angle));
}

KERNEL normal_1_blocks_f32(unsigned long long key, Counter counter, const long long* moved,
                           float4* values, long long blocks) {
  constexpr double UNIT = 2.3283064365386963e-10;  // 2^-32
  long long block = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (block >= blocks) return;
  uint4 c = words_after(key, counter, moved, block);
  double2 a = normal_pair(c.x * UNIT, c.y * UNIT), b = normal_pair(c.z * UNIT, c.w * UNIT);
  values[block] = make_float4((float)a.x, (float)a.y, (float)b.x, (float)b.y);
}
KERNEL normal_1_blocks_f64(unsigned long long key, Counter counter, const long long* moved,
                           double2* values, long long blocks) {
  long long block = (long long)blockIdx.x * THREADS + threadIdx.x;
  if (block >= blocks) return;
  uint4 c = words_after(key, counter, moved, block);
  values[block] = normal_pair(uniform53(c.x, c.y), uniform53(c.z, c.w));
}

// ---------------------------------------------------------------- dropout
// y[i] = x[i] scale where uniform number i is p or more, x[i] 0 elsewhere. The backward pass draws
// the same numbers again: nothing is kept. A thread has the four elements of its block of words.
template <class T>
__device__ __forceinline__ void dropout_1_fused(unsigned long long key, Counter counter,
                                                const long long* moved, float p, T scale,
                                                const T* x, T* y, long long size) {
  long long block = (long long)blockIdx.x * THREADS + threadIdx.x, first = 4 * block;
  if (first >= size) return;
  uint4 c = words_after(key, counter, moved, block);
  const unsigned words[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (first + e < size) y[first + e] = x[first + e] * (uniform24(words[e]) >= p ? scale : T(0));
}
KERNEL dropout_1_fused_f32(unsigned long long key, Counter counter, const long long* moved,
                           float p, float scale, const float* x, float* y, long long size) {
  dropout_1_fused<float>(key, counter, moved, p, scale, x, y, size);
}
KERNEL dropout_1_fused_f64(unsigned long long key, Counter counter, const long long* moved,
                           float p, double scale, const double* x, double* y, long long size) {
  dropout_1_fused<double>(key, counter, moved, p, scale, x, y, size);
}
