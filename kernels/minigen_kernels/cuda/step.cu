// What a training step that is recorded once and replayed needs: the numbers that change (the
// learning rate, the count of steps) are put into device memory, where its kernels read them.
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
