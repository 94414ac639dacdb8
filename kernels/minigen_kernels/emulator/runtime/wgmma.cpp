// wgmma.mma_async, m64nNk16 of bfloat16, both operands in shared memory, rows along k ("K-major").
//
// A descriptor, as the PTX ISA has it: bits 0-13 the address, 16-29 and 32-45 the leading and the
// stride byte offset, all without their lowest 4 bits, 49-51 the base offset, 62-63 the swizzle.
// Eight rows make a group; the stride offset leads from group to group. Swizzled, a row has 128, 64
// or 32 bytes, in which the 32 of one instruction lie; else the leading offset leads from one core
// matrix, 8 rows of 16 bytes, to the next along k.
//
// Lane 4g + t of warp w of four holds, as d[4j + e], row 16w + g (e < 2) or 16w + g + 8 and column
// 8j + 2t + e % 2.
//
// The tensor cores may read the operands and write the accumulators at any moment between issue and
// wait. So the product is computed at the wait, the accumulators are poisoned until then, and who
// touches them, or writes over an operand, is found out.
#include "internal.hpp"

namespace emulator {

constexpr int ROWS = 64, DEPTH = 16, BYTES = 2 * DEPTH;

static char* shared_window() {  // where address 0 would be, so that addresses keep their alignment
  return (char*)((uintptr_t)shared_memory() & ~uintptr_t(1023));
}

unsigned shared_address(const void* p) {
  size_t offset = (const char*)p - shared_window();
  if (offset >= 256 << 10)
    fault("memory", "all shared variables of a source together: more than descriptors reach",
          {nullptr, 0});
  return unsigned(offset);
}

struct Operand {
  char* start;
  long leading, stride;
  Swizzle swizzle;
  explicit Operand(uint64_t descriptor)
      : start(shared_window() + ((descriptor & 0x3fff) << 4)),
        leading(long(descriptor >> 16 & 0x3fff) << 4),
        stride(long(descriptor >> 32 & 0x3fff) << 4) {
    const Swizzle modes[] = {Swizzle::none, Swizzle::by_128, Swizzle::by_64, Swizzle::by_32};
    swizzle = modes[descriptor >> 62];
  }
  // Eight numbers of a row: `half` of the sixteen.
  const unsigned short* chunk(int row, int half) const {
    const long widths[] = {16, 32, 64, 128};
    long along = swizzle == Swizzle::none ? half * leading : half * 16;
    char* plain = start + row / 8 * stride + row % 8 * widths[int(swizzle)] + along;
    return (const unsigned short*)swizzled(plain, swizzle);
  }
};

static void check_operand(uint64_t descriptor, Place place) {
  const Operand operand(descriptor);
  const unsigned pattern[] = {0, 1, 3, 7};
  unsigned at = unsigned(descriptor << 4 >> 7) & pattern[int(operand.swizzle)];
  if (at != (descriptor >> 49 & 7))
    fault("misaligned", "wgmma: a swizzled tile begins at a multiple of 8 rows' bytes", place);
}

// The rows that a lane answers for: of A's 16 of its warp one each, of B's every 32nd.
template <class F>
static void each_chunk(const PendingWgmma& w, F f) {
  const Operand a(w.a), b(w.b);
  const int warp = state.thread / 32 % 4, lane = state.thread % 32;
  for (int half = 0; half < 2; half++) {
    if (lane < 16) f(a.chunk(16 * warp + lane, half), a.swizzle);
    for (int row = lane; row < w.columns; row += 32) f(b.chunk(row, half), b.swizzle);
  }
}

static Accumulators& accumulators_at(Fiber& fiber, float* d, int columns) {
  for (Accumulators& a : fiber.accumulators)
    if (a.d == d) return a;
  fiber.accumulators.push({d, columns / 2, 0, {}});
  return fiber.accumulators[fiber.accumulators.count - 1];
}

void wgmma_fence() { fibers[state.thread].accumulators_fenced = true; }

void wgmma_issue(float* d, int columns, uint64_t a, uint64_t b, Place place) {
  const void* pc = __builtin_return_address(0);
  Fiber& fiber = fibers[state.thread];
  struct Descriptors {
    uint64_t a, b;
  } mine{a, b}, all[32];
  exchange(Collective::matrix, 0xffffffffu, &mine, all, sizeof mine, place);
  for (const Descriptors& other : all)
    if (other.a != a || other.b != b)
      fault("shuffle", "wgmma: the lanes of a warp give different descriptors", place);
  if (state.thread / 128 * 128 + 128 > state.threads)
    fault("shuffle", "wgmma: the block ends before the four warps that it takes", place);
  fiber.wgmmas_so_far = (fiber.wgmmas_so_far * 31 + a) * 31 + b + 1;
  fiber.last_wgmma = place;
  check_operand(a, place);
  check_operand(b, place);
  if (!fiber.accumulators_fenced)
    fault("fence", "wgmma: no wgmma.fence since its accumulators were touched", place);
  Accumulators& sums = accumulators_at(fiber, d, columns);
  if (sums.pending++ == 0) {
    memcpy(sums.values, d, sums.count * sizeof *d);
    memset((void*)d, 0xff, sums.count * sizeof *d);
  }
  const PendingWgmma w{d, columns, fiber.wgmma_group, a, b, place};
  if (state.check)
    each_chunk(w, [&](const void* chunk, Swizzle swizzle) {
      check_read_by_wgmma(chunk, 16, swizzle, place, pc);
      mark_as_read_by_wgmma(chunk, 16, true);
    });
  fiber.wgmmas.push(w);
}

void fail_if_warps_differ_in_their_wgmmas() {
  for (int t = 0; t < state.threads; t += 32) {
    const Fiber &mine = fibers[t], &first = fibers[t / 128 * 128];
    if (mine.wgmmas_so_far == first.wgmmas_so_far) continue;
    const char* text = "the four warps of a group have not executed the same wgmmas";
    return set_fault("shuffle", text, (mine.wgmmas_so_far ? mine : first).last_wgmma, 0, 0, t);
  }
}

void wgmma_commit() { fibers[state.thread].wgmma_group++; }

static float to_float(unsigned short bf16) {
  uint32_t bits = uint32_t(bf16) << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void numbers(const Operand& operand, int row, float (&x)[DEPTH]) {
  for (int half = 0; half < 2; half++) {
    const unsigned short* chunk = operand.chunk(row, half);
    for (int i = 0; i < 8; i++) x[8 * half + i] = to_float(chunk[i]);
  }
}

static void compute(const PendingWgmma& w, float* d) {
  const Operand a(w.a), b(w.b);
  const int warp = state.thread / 32 % 4, g = state.thread % 32 / 4, t = state.thread % 4;
  float left[2][DEPTH], right[DEPTH];
  for (int i = 0; i < 2; i++) numbers(a, 16 * warp + g + 8 * i, left[i]);
  for (int j = 0; j < w.columns / 8; j++)
    for (int e = 0; e < 2; e++) {
      numbers(b, 8 * j + 2 * t + e, right);
      for (int i = 0; i < 2; i++) {
        float sum = d[4 * j + 2 * i + e];
        for (int k = 0; k < DEPTH; k++) sum += left[i][k] * right[k];
        d[4 * j + 2 * i + e] = sum;
      }
    }
}

void wgmma_wait(int may_be_pending, Place place) {
  Fiber& fiber = fibers[state.thread];
  size_t kept = 0;
  for (const PendingWgmma& w : fiber.wgmmas) {
    if (w.group >= fiber.wgmma_group - may_be_pending) {
      fiber.wgmmas[kept++] = w;
      continue;
    }
    Accumulators& sums = accumulators_at(fiber, w.d, w.columns);
    compute(w, sums.values);
    if (--sums.pending == 0) memcpy(w.d, sums.values, sums.count * sizeof *w.d);
    if (state.check)
      each_chunk(w, [](const void* chunk, Swizzle) { mark_as_read_by_wgmma(chunk, 16, false); });
  }
  fiber.wgmmas.count = kept;
  // Of the whole warp: whoever goes on may say so for all its lanes.
  exchange(Collective::sync, 0xffffffffu, nullptr, nullptr, 0, place);
}

void check_accumulator(const void* address, Kind kind, uint64_t site) {
  Fiber& fiber = fibers[state.thread];
  for (const Accumulators& a : fiber.accumulators) {
    if ((float*)address < a.d || (float*)address >= a.d + a.count) continue;
    if (a.pending)
      fault_at("wait",
               format("%s of an accumulator of a pending wgmma", kind == Kind::read ? "read" : "write"),
               site);
    fiber.accumulators_fenced = false;
  }
}

}  // namespace emulator
