// Bank conflicts and memory transactions per place in the source.
//
// The lanes of a warp run one after another here, so each access is logged, and at the next block
// barrier the n-th access of each lane from one place is taken for one request of the warp.
//   shared memory: 32 banks of 4 bytes; a request takes as many turns as the busiest bank has
//   different words. Accesses of 8 and 16 bytes go by half and quarter warps, ldmatrix by 8 rows.
//   global memory: a request takes one transaction for each 32-byte sector that it touches.
#include "internal.hpp"

namespace emulator {

struct Logged {
  uint64_t site;
  uintptr_t address;
  uint32_t turn;  // how often the lane had been here since the last barrier
  uint16_t thread;
  uint8_t bytes, write, shared;
};
struct Count {  // mirrored in module.py
  uint64_t site, shared, write, requests, transactions, ideal;
};
static List<Logged> logged;
static List<Count> counts;

void log_access(const void* address, size_t bytes, bool write, bool shared, uint64_t site) {
  if (bytes > 16) return;  // a copy of a large struct is no single request
  logged.push({site, (uintptr_t)address, 0, uint16_t(state.thread), uint8_t(bytes), write, shared});
}

static void add(const Logged& example, int transactions, int ideal) {
  Count* found = nullptr;
  for (Count& c : counts)
    if (c.site == example.site && c.write == example.write && c.shared == example.shared)
      found = &c;
  if (!found) {
    counts.push({example.site, example.shared, example.write, 0, 0, 0});
    found = &counts[counts.count - 1];
  }
  found->requests++;
  found->transactions += transactions;
  found->ideal += ideal;
}

static int compare_words(const void* a, const void* b) {
  uintptr_t x = *(const uintptr_t*)a, y = *(const uintptr_t*)b;
  return x < y ? -1 : x > y;
}

// Sorts, and drops what stands there twice.
static void make_unique(List<uintptr_t>& list) {
  qsort(list.items, list.count, sizeof(uintptr_t), compare_words);
  size_t kept = 0;
  for (uintptr_t item : list)
    if (!kept || list[kept - 1] != item) list[kept++] = item;
  list.count = kept;
}

static int busiest_bank(List<uintptr_t>& words) {
  int per_bank[32] = {}, most = 0;
  make_unique(words);
  for (uintptr_t word : words)
    if (++per_bank[word % 32] > most) most = per_bank[word % 32];
  return most;
}

static void count_shared(const Logged* begin, const Logged* end) {
  static List<uintptr_t> words;
  int lanes_at_once = begin->bytes == 16 ? 8 : begin->bytes == 8 ? 16 : 32;
  int taken = 0, ideal = 0;
  for (int phase = 0; phase < 32 / lanes_at_once; phase++) {
    words.clear();
    for (const Logged* a = begin; a < end; a++)
      if (a->thread % 32 / lanes_at_once == phase)
        for (uintptr_t b = a->address; b < a->address + a->bytes; b += 4) words.push(b / 4);
    ideal += words.count > 0;
    taken += busiest_bank(words);
  }
  add(*begin, taken, ideal);
}

static void count_global(const Logged* begin, const Logged* end) {
  static List<uintptr_t> sectors, bytes;
  sectors.clear();
  bytes.clear();
  for (const Logged* a = begin; a < end; a++)
    for (uintptr_t b = a->address; b < a->address + a->bytes; b++) {
      sectors.push(b / 32);
      bytes.push(b);
    }
  make_unique(sectors);
  make_unique(bytes);
  add(*begin, int(sectors.count), int((bytes.count + 31) / 32));
}

// By thread and place, in the order in which they were logged: then equal ones can be numbered.
static int compare_by_thread(const void* a, const void* b) {
  const Logged &x = *(const Logged*)a, &y = *(const Logged*)b;
  if (x.thread != y.thread) return x.thread < y.thread ? -1 : 1;
  if (x.site != y.site) return x.site < y.site ? -1 : 1;
  return x.turn < y.turn ? -1 : x.turn > y.turn;
}

static bool one_request(const Logged& a, const Logged& b) {
  return a.site == b.site && a.turn == b.turn && a.thread / 32 == b.thread / 32 &&
         a.shared == b.shared && a.write == b.write;
}

static int compare_by_request(const void* a, const void* b) {
  const Logged &x = *(const Logged*)a, &y = *(const Logged*)b;
  if (x.thread / 32 != y.thread / 32) return x.thread < y.thread ? -1 : 1;
  if (x.site != y.site) return x.site < y.site ? -1 : 1;
  if (x.turn != y.turn) return x.turn < y.turn ? -1 : 1;
  if (x.shared != y.shared) return x.shared < y.shared ? -1 : 1;
  if (x.write != y.write) return x.write < y.write ? -1 : 1;
  return x.thread < y.thread ? -1 : x.thread > y.thread;
}

static void number_turns() {
  for (size_t i = 0; i < logged.count; i++) logged[i].turn = uint32_t(i);
  qsort(logged.items, logged.count, sizeof(Logged), compare_by_thread);
  for (size_t i = 0; i < logged.count; i++) {
    const Logged* before = i ? &logged[i - 1] : nullptr;
    bool again = before && before->thread == logged[i].thread && before->site == logged[i].site;
    logged[i].turn = again ? before->turn + 1 : 0;
  }
}

void count_logged_accesses() {
  number_turns();
  qsort(logged.items, logged.count, sizeof(Logged), compare_by_request);
  for (size_t i = 0, j; i < logged.count; i = j) {
    for (j = i; j < logged.count && one_request(logged[i], logged[j]); j++) {
    }
    (logged[i].shared ? count_shared : count_global)(&logged[i], logged.items + j);
  }
  logged.clear();
}

// ---------------------------------------------------------------- called from Python
extern "C" size_t emulator_counts(Count* out, size_t room) {
  for (size_t i = 0; i < counts.count && i < room; i++) out[i] = counts[i];
  return counts.count;
}
extern "C" void emulator_reset_counts() {
  counts.clear();
  logged.clear();
}

}  // namespace emulator
