// wgmma.mma_async, m64nNk16 of bfloat16: both operands in shared memory, rows along k ("K-major");
// or A in registers, as lanes have it for mma.sync, and the columns of B side by side ("MN-major").
//
// A descriptor, as the PTX ISA has it: bits 0-13 the address, 16-29 and 32-45 the leading and the
// stride byte offset, all without their lowest 4 bits, 49-51 the base offset, 62-63 the swizzle.
// Lines of 128, 64 or 32 bytes are swizzled, those of 16 are not; eight make a group.
//   Along k, a line is of a row; the stride offset leads from 8 rows to the next 8. Swizzled lines
//   hold all 32 bytes of an instruction; else the leading offset leads to the next 16.
//   Side by side, a line is of a k: the stride offset leads from 8 of them to the next 8, the
//   leading offset to the columns behind a line's; without a swizzle it is the other way round.
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
  long line_bytes() const {
    const long widths[] = {16, 32, 64, 128};
    return widths[int(swizzle)];
  }
  // Eight numbers of a row: `half` of the sixteen.
  const unsigned short* along_k(int row, int half) const {
    long along = swizzle == Swizzle::none ? half * leading : half * 16;
    char* plain = start + row / 8 * stride + row % 8 * line_bytes() + along;
    return (const unsigned short*)swizzled(plain, swizzle);
  }
  // Eight columns, from 8 `eight` on, of one k.
  const unsigned short* side_by_side(int eight, int k) const {
    const bool plain = swizzle == Swizzle::none;
    long next_columns = plain ? stride : leading, next_k = plain ? leading : stride;
    long line = line_bytes(), across = eight * 16;
    char* at = start + across / line * next_columns + across % line + k / 8 * next_k + k % 8 * line;
    return (const unsigned short*)swizzled(at, swizzle);
  }
};

static void check_operand(uint64_t descriptor, Place place) {
  const Operand operand(descriptor);
  const unsigned pattern[] = {0, 1, 3, 7};
  unsigned at = unsigned(descriptor << 4 >> 7) & pattern[int(operand.swizzle)];
  if (at != (descriptor >> 49 & 7))
    fault("misaligned", "wgmma: a swizzled tile begins at a multiple of 8 rows' bytes", place);
}

// The 16 bytes that a lane answers for: one of A's 16 rows of its warp, every 32nd part of B.
template <class F>
static void each_chunk(const PendingWgmma& w, F f) {
  const Operand a(w.a), b(w.b);
  const int warp = state.thread / 32 % 4, lane = state.thread % 32;
  for (int half = 0; half < 2 && !w.from_registers && lane < 16; half++)
    f(a.along_k(16 * warp + lane, half), a.swizzle);
  for (int i = lane; i < 2 * w.columns; i += 32)
    f(w.from_registers ? b.side_by_side(i / DEPTH, i % DEPTH) : b.along_k(i / 2, i % 2), b.swizzle);
}

static Accumulators& accumulators_at(Fiber& fiber, float* d, int columns) {
  for (Accumulators& a : fiber.accumulators)
    if (a.d == d) return a;
  fiber.accumulators.push({d, columns / 2, 0, false, {}});
  return fiber.accumulators[fiber.accumulators.count - 1];
}

void wgmma_fence() {
  Fiber& fiber = fibers[state.thread];
  fiber.wgmma_fenced = true;
  for (Accumulators& a : fiber.accumulators) a.touched = false;
}

static void issue(PendingWgmma w, const void* pc) {
  Fiber& fiber = fibers[state.thread];
  const Place place = w.place;
  if (state.thread / 128 * 128 + 128 > state.threads)
    fault("shuffle", "wgmma: the block ends before the four warps that it takes", place);
  fiber.wgmmas_so_far = (fiber.wgmmas_so_far * 31 + w.a) * 31 + w.b + 1;
  fiber.last_wgmma = place;
  if (!w.from_registers) check_operand(w.a, place);
  check_operand(w.b, place);
  Accumulators& sums = accumulators_at(fiber, w.d, w.columns);
  if (!fiber.wgmma_fenced || sums.touched)
    fault("fence", "wgmma: no wgmma.fence since its accumulators were touched", place);
  if (sums.pending++ == 0) {
    memcpy(sums.values, w.d, sums.count * sizeof *w.d);
    memset((void*)w.d, 0xff, sums.count * sizeof *w.d);
  }
  w.group = fiber.wgmma_group;
  if (state.check)
    each_chunk(w, [&](const void* chunk, Swizzle swizzle) {
      check_read_by_wgmma(chunk, 16, swizzle, place, pc);
      mark_as_read_by_wgmma(chunk, 16, true);
    });
  fiber.wgmmas.push(w);
}

struct Given {  // by each lane of a warp
  uint64_t a, b;
  unsigned registers[4];
};
static void give(const Given& mine, Given (&all)[32], Place place) {
  exchange(Collective::matrix, 0xffffffffu, &mine, all, sizeof mine, place);
  for (const Given& other : all)
    if (other.a != mine.a || other.b != mine.b)
      fault("shuffle", "wgmma: the lanes of a warp give different descriptors", place);
}

void wgmma_issue(float* d, int columns, uint64_t a, uint64_t b, Place place) {
  Given all[32];
  give({a, b, {}}, all, place);
  issue({d, columns, 0, false, a, b, {}, place}, __builtin_return_address(0));
}

static float to_float(unsigned short bf16) {
  uint32_t bits = uint32_t(bf16) << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// Lane 4g + t gives, of the rows g and g + 8, the k 2t and 2t + 1, and 8 further.
void wgmma_issue(float* d, int columns, const unsigned (&a)[4], uint64_t b, Place place) {
  Given all[32];
  give({0, b, {a[0], a[1], a[2], a[3]}}, all, place);
  PendingWgmma w{d, columns, 0, true, 0, b, {}, place};
  const int g = state.thread % 32 / 4;
  for (int i = 0; i < 2; i++)
    for (int k = 0; k < DEPTH; k++) {
      unsigned pair = all[4 * g + k % 8 / 2].registers[k / 8 * 2 + i];
      w.left[i][k] = to_float((unsigned short)(pair >> 16 * (k % 2)));
    }
  issue(w, __builtin_return_address(0));
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

static void row(const Operand& operand, int row, float (&x)[DEPTH]) {
  for (int half = 0; half < 2; half++) {
    const unsigned short* chunk = operand.along_k(row, half);
    for (int i = 0; i < 8; i++) x[8 * half + i] = to_float(chunk[i]);
  }
}
static void column(const Operand& operand, int column, float (&x)[DEPTH]) {
  for (int k = 0; k < DEPTH; k++) x[k] = to_float(operand.side_by_side(column / 8, k)[column % 8]);
}

static void compute(const PendingWgmma& w, float* d) {
  const Operand a(w.a), b(w.b);
  const int warp = state.thread / 32 % 4, g = state.thread % 32 / 4, t = state.thread % 4;
  float left[2][DEPTH], right[DEPTH];
  memcpy(left, w.left, sizeof left);
  for (int i = 0; i < 2 && !w.from_registers; i++) row(a, 16 * warp + g + 8 * i, left[i]);
  for (int j = 0; j < w.columns / 8; j++)
    for (int e = 0; e < 2; e++) {
      (w.from_registers ? column : row)(b, 8 * j + 2 * t + e, right);
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
  for (Accumulators& a : fiber.accumulators) {
    if ((float*)address < a.d || (float*)address >= a.d + a.count) continue;
    if (a.pending)
      fault_at("wait",
               format("%s of an accumulator of a pending wgmma",
                      kind == Kind::read ? "read" : "write"),
               site);
    a.touched = true;
  }
}

}  // namespace emulator
