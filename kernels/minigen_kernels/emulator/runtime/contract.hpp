// What a kernel that was compiled for the CPU and the runtime know of each other.
//
// A thread of the grid is a fiber: a stack of its own, left and entered only at barriers, warp
// collectives and atomics. Blocks run one after another, all on one thread of the operating system.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// The emulator's own part of a kernel: not watched by the checker, not inlined into what is.
#define EMULATOR_OWN __attribute__((noinline, no_sanitize("thread", "undefined")))

namespace emulator {

// The indices of the thread that runs now.
struct Current {
  uint3 thread, block;
  dim3 block_size, grid_size;
  int lane;
};
extern Current current;

// Where something stands in the source. As a default argument it is the place of the call.
struct Place {
  const char* file;
  int line;
  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};
#define EMULATOR_HERE emulator::Place::here()

// One launch; mirrored in launch.py.
struct Launch {
  unsigned grid[3], block[3];
  unsigned dynamic_shared;  // bytes
  unsigned check, count;    // 1: look at every access; 1: count bank conflicts and transactions
  uint64_t seed;
  void** arguments;  // a pointer per parameter, as cuLaunchKernel takes them
};
int run(const Launch& launch, void (*body)(void** arguments), const void* in_shared_memory);

// Block barriers. The predicates of all threads come back as their sum, and, or.
struct Votes {
  int count, all, any;
};
Votes block_barrier(int predicate, Place place);

// Warp collectives: every lane of the mask gives `bytes` bytes, and gets those of all 32 lanes.
// A lane that takes no part counts as 0xff bytes: NaN in any float type.
enum class Collective { shuffle, vote, sync, matrix };
unsigned exchange(Collective, unsigned mask, const void* mine, void* all, size_t bytes, Place);
bool lane_is_absent(int lane);  // the block ends before it

// Copies that the hardware makes in the background, from issue to wait.
void copy_issue(void* target, const void* source, int bytes, int source_bytes, Place place);
void copy_commit();
void copy_wait(int groups_that_may_be_pending);

// mbarriers: 8 bytes of shared memory that count arrivals and bytes, phase by phase.
void mbarrier_init(void* barrier, int arrivals, Place place);
void mbarrier_arrive(void* barrier, int bytes_to_come, Place place);
void mbarrier_wait(void* barrier, int parity, Place place);
void fence_async_proxy();

// Boxes of matrices, copied in the background. Mirrored in tensor_map.py, which makes them.
enum class Swizzle : uint32_t { none, by_32, by_64, by_128 };
struct Map {
  uint64_t is_a_map;
  char* address;
  uint64_t columns, rows, planes;  // of the matrices, one behind the other; elements of 2 bytes
  uint32_t box_columns, box_rows;
  Swizzle swizzle;
};
void box_issue(void* target, const void* map, int column, int row, int plane, void* barrier,
               Place place);
// Where a byte lies in memory that is written or read with a swizzle.
inline char* swizzled(char* address, Swizzle swizzle) {
  const unsigned masks[] = {0, 1, 3, 7};
  uintptr_t flip = (uintptr_t)address >> 7 & masks[(int)swizzle];
  return (char*)((uintptr_t)address ^ flip << 4);
}

// wgmma: d (64 x columns) += a b, in the background, of operands that descriptors point to: rows
// along k; or a in four registers, and b with its columns side by side.
unsigned shared_address(const void* p);
void wgmma_fence();
void wgmma_issue(float* d, int columns, uint64_t a, uint64_t b, Place place);
void wgmma_issue(float* d, int columns, const unsigned (&a)[4], uint64_t b, Place place);
void wgmma_commit();
void wgmma_wait(int groups_that_may_be_pending, Place place);

// What the compiler's instrumentation does not see.
void note_atomic(const void* address, size_t bytes);
void note_matrix_row(const void* row, Place place);  // 16 bytes of shared memory
void note_fence();
void yield();  // others may run, if this thread waits for them in a loop

// Ends the launch with an error. kind is one word.
[[noreturn, gnu::cold]] void fault(const char* kind, const char* message, Place place);

}  // namespace emulator
