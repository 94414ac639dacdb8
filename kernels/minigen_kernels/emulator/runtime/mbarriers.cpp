// mbarriers. A phase ends when all arrivals have come and all bytes that were to come are there;
// then the next begins. Who waits for the end of a phase has afterwards seen what every thread that
// arrived in it had seen and done, and what was copied.
#include "internal.hpp"

namespace emulator {

struct Mbarrier {
  const void* address;
  int arrivals, missing;  // of each phase; of this one
  long bytes;             // that are still to come
  uint32_t phase;
  int made_by;
  uint32_t made_at;  // clock
  uint32_t seen[1024], seen_at_end[1024];  // this phase's arrivals had seen; those of all before
};
static List<Mbarrier> mbarriers;  // of the block that runs

void mbarriers_start_block() { mbarriers.clear(); }

static Mbarrier* find(const void* address) {
  for (Mbarrier& m : mbarriers)
    if (m.address == address) return &m;
  return nullptr;
}

static Mbarrier& get(const void* address, Place place) {
  Mbarrier* found = find(address);
  if (!found) fault("mbarrier", "nobody has made an mbarrier here: mbarrier_init is first", place);
  return *found;
}

// Arrivals and waits count as reads, which do not race with each other, but with who makes it.
static void check(const void* address, Kind kind, const void* pc, Place place) {
  if (!shared_region(address))
    fault("out-of-bounds", "an mbarrier must lie in shared memory", place);
  if (state.check) check_access(address, 8, kind, false, pc);
}

static void learn(uint32_t* mine, const uint32_t* theirs) {
  for (int t = 0; t < state.threads; t++)
    if (theirs[t] > mine[t]) mine[t] = theirs[t];
}

static void end_phase_if_complete(Mbarrier& m) {
  if (m.missing || m.bytes) return;
  m.phase++;
  m.missing = m.arrivals;
  learn(m.seen_at_end, m.seen);
  for (int t = 0; t < state.threads; t++) {
    Fiber& fiber = fibers[t];
    if (fiber.wait != Wait::mbarrier || fiber.mbarrier != m.address || fiber.until > m.phase)
      continue;
    learn(fiber.seen, m.seen_at_end);
    fiber.wait = Wait::nothing;
    make_ready(t);
  }
}

void mbarrier_init(void* barrier, int arrivals, Place place) {
  check(barrier, Kind::write, __builtin_return_address(0), place);
  if (arrivals < 1) fault("mbarrier", "an mbarrier waits for one arrival at least", place);
  state.mbarriers = true;
  memset(barrier, 0xff, 8);
  Mbarrier* m = find(barrier);
  if (!m) {
    mbarriers.push(Mbarrier{});
    m = &mbarriers[mbarriers.count - 1];
  }
  *m = Mbarrier{barrier, arrivals, arrivals, 0, 0, state.thread,
                fibers[state.thread].seen[state.thread], {}, {}};
}

void mbarrier_arrive(void* barrier, int bytes_to_come, Place place) {
  check(barrier, Kind::read, __builtin_return_address(0), place);
  Mbarrier& m = get(barrier, place);
  Fiber& fiber = fibers[state.thread];
  fiber.seen[state.thread]++;  // what comes from here on is not handed on
  learn(m.seen, fiber.seen);
  m.bytes += bytes_to_come;
  m.missing--;
  end_phase_if_complete(m);
  yield();
}

// Waits until the phase of this parity has ended: the present one, or the last.
void mbarrier_wait(void* barrier, int parity, Place place) {
  check(barrier, Kind::read, __builtin_return_address(0), place);
  Mbarrier& m = get(barrier, place);
  Fiber& fiber = fibers[state.thread];
  if ((m.phase & 1) != (parity & 1u)) {
    learn(fiber.seen, m.seen_at_end);
    return yield();
  }
  fiber.wait = Wait::mbarrier;
  fiber.mbarrier = barrier;
  fiber.until = m.phase + 1;
  fiber.place = place;
  leave();
}

void fence_async_proxy() {
  Fiber& fiber = fibers[state.thread];
  fiber.async_fence = ++fiber.seen[state.thread];
}

uint32_t mbarrier_phase(const void* barrier, const char* what, Place place) {
  Mbarrier& m = get(barrier, place);
  if (fibers[m.made_by].async_fence <= m.made_at)
    fault("fence", format("%s: no fence.proxy.async after the mbarrier was made", what), place);
  return m.phase;
}

void complete_bytes(const void* barrier, uint32_t phase, int bytes, int thread, uint32_t clock,
                    uint64_t site) {
  Mbarrier& m = *find(barrier);
  m.bytes -= bytes;
  if (m.phase != phase || (!m.missing && m.bytes < 0)) {
    const char* text = "more bytes are copied than the mbarrier's phase was told to expect";
    return set_fault("mbarrier", text, {nullptr, 0}, site, 0, thread);
  }
  if (m.seen[thread] < clock) m.seen[thread] = clock;
  end_phase_if_complete(m);
}

bool somebody_waits_for(const void* barrier) {
  for (int t = 0; t < state.threads; t++)
    if (fibers[t].wait == Wait::mbarrier && fibers[t].mbarrier == barrier) return true;
  return false;
}

void fail_waiting_for_ever(const Fiber& fiber) {
  const Mbarrier& m = *find(fiber.mbarrier);
  fail_at(fiber, "mbarrier",
          format("the thread waits for ever: %d arrivals and %ld bytes do not come", m.missing,
                 m.bytes));
}

}  // namespace emulator
