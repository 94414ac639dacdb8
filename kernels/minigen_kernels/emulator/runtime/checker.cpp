// Races, uninitialised reads, bad addresses: what check mode asks at every access to memory.
//
// Each cell of memory remembers its last write and its last reads. Two accesses by different
// threads, one of them a write, must be ordered:
//   - in a block by a block barrier or an mbarrier between them, in a warp also by __syncwarp;
//   - from block to block, or within one, by a fence, then an atomic on one variable by both.
// Nothing else orders them, shuffles not either. Atomics do not race with atomics. So a race is
// found whatever order the threads happen to run in.
#include "internal.hpp"

namespace emulator {

struct Access {
  uint32_t block : 21, thread : 10, atomic : 1;  // block 0: none
  uint32_t epoch;                                // block barriers that the thread had passed
  uint32_t clock;                                // its own count of __syncwarp and arrivals
  uint32_t site;                                 // offset of the code in the library
};

// Of all reads, a later write must be compared with the last one; with the last ones by another
// thread of that warp, by another warp, and by another block, since one of them may be the writer.
struct Cell {
  Access write, read, same_warp, other_warp, other_block;
  uint32_t in_flight;  // block serial, while a copy into it is pending
  uint16_t wgmmas;     // that are pending and read it
  uint8_t box;         // 0: written by threads; else by a copy of a box, 1 + its swizzle
};
static_assert(sizeof(Cell) <= 96);

static Access now_by(Kind kind, uint64_t site) {
  const Fiber& fiber = fibers[state.thread];
  return {state.block_serial & 0x1fffff, uint32_t(state.thread), kind == Kind::atomic,
          state.block_epoch, fiber.seen[state.thread], uint32_t(site)};
}

// ---------------------------------------------------------------- order by fences and atomics
// A thread that has passed __threadfence and then does an atomic operation hands on, at that
// address, what it had done and what its block had done by the barrier before. Whoever does an
// atomic on the address later has seen it, and so has its block behind the next barrier.
struct Release {
  const void* address;
  uint32_t block, thread, epoch;
};
struct Acquired {
  Release release;
  uint32_t thread, epoch;
};
static List<Release> released;
static List<Acquired> acquired;  // by threads of the block that runs

void fence_start_block() { acquired.clear(); }

void note_fence() {
  Fiber& fiber = fibers[state.thread];
  fiber.fenced = true;
  fiber.fence_epoch = state.block_epoch;
}

static void hand_on(const void* address) {
  const Fiber& fiber = fibers[state.thread];
  for (const Release& r : released)
    if (r.address == address) acquired.push({r, uint32_t(state.thread), state.block_epoch});
  if (fiber.fenced)
    released.push(
        {address, state.block_serial & 0x1fffff, uint32_t(state.thread), fiber.fence_epoch});
}

static bool ordered_by_fence(const Access& past, const Access& now) {
  for (const Acquired& a : acquired) {
    const Release& r = a.release;
    bool released = past.block == r.block && (past.epoch < r.epoch || past.thread == r.thread);
    if (released && (now.thread == a.thread || now.epoch > a.epoch)) return true;
  }
  return false;
}

// ---------------------------------------------------------------- the rule
static bool may_race(const Access& past, const Access& now) {
  if (!past.block || (past.atomic && now.atomic)) return false;
  if (past.block != now.block) return !ordered_by_fence(past, now);
  if (past.thread == now.thread || past.epoch != now.epoch) return false;
  if (fibers[now.thread].seen[past.thread] > past.clock) return false;
  return !ordered_by_fence(past, now);
}

static void remember_read(Cell& cell, const Access& now) {
  Access& last = cell.read;
  if (!last.block) {
    last = now;
  } else if (last.block != now.block) {
    cell.other_block = last;
    cell.same_warp = cell.other_warp = {};
  } else if (last.thread / 32 != now.thread / 32) {
    cell.other_warp = last;
    cell.same_warp = {};
  } else if (last.thread != now.thread) {
    cell.same_warp = last;
  }
  last = now;
}

// ---------------------------------------------------------------- reports
static const char* verb(Kind kind) {
  return kind == Kind::read ? "read" : kind == Kind::write ? "write" : "atomic";
}

static Text thread_of(const Access& access) {
  const dim3& size = current.block_size;
  unsigned t = access.thread;
  bool here = access.block == (state.block_serial & 0x1fffff);
  return format("thread (%u, %u, %u) of %s block", t % size.x, t / size.x % size.y,
                t / size.x / size.y, here ? "this" : "another");
}

static Text place_of(const Region& region, const void* address, size_t bytes) {
  long offset = (char*)address - region.begin;
  return format("%s, byte %ld (%zu bytes)", region.name.text, offset, bytes);
}

[[noreturn]] static void report_race(const Region& region, const void* address, size_t bytes,
                                     Kind kind, const Access& past, bool past_write,
                                     uint64_t site) {
  const char* before = past.atomic ? "an atomic" : past_write ? "a write" : "a read";
  fault_at("race",
           format("%s of %s is not ordered after %s by %s", verb(kind),
                  place_of(region, address, bytes).text, before, thread_of(past).text),
           site, past.site);
}

// ---------------------------------------------------------------- cells
// All accesses so far were whole multiples of the region's granule. A smaller one splits the cells:
// each part has been accessed as the whole was.
static void allocate(Region& region) {
  size_t count = (region.end - region.begin + region.granule - 1) / region.granule;
  region.cells = (Cell*)calloc(count, sizeof(Cell));
  if (!region.cells) fault_at("memory", "not enough memory to watch all accesses", 0);
}

static void refine(Region& region, int granule) {
  Cell* coarse = region.cells;
  int parts = region.granule / granule;
  region.granule = granule;
  allocate(region);
  size_t count = (region.end - region.begin + granule - 1) / granule;
  for (size_t i = 0; i < count; i++)
    if (coarse[i / parts].read.block || coarse[i / parts].write.block)
      region.cells[i] = coarse[i / parts];
  free(coarse);
}

static void fit_granule(Region& region, const char* address, size_t bytes) {
  if (!region.cells) allocate(region);
  size_t start = address - region.begin;
  int granule = region.granule;
  while ((start | bytes) & (granule - 1)) granule /= 2;
  if (granule < region.granule) refine(region, granule);
}

void drop_cells(Region& region) {
  free(region.cells);
  region.cells = nullptr;
  released.clear();
}

// ---------------------------------------------------------------- one access
static void check_cell(Region& region, Cell& cell, const void* address, size_t bytes, Kind kind,
                       const Access& now) {
  uint64_t site = now.site;
  if (cell.in_flight == state.block_serial) {
    fault_at("wait",
             format("%s of %s, into which a copy is pending", verb(kind),
                    place_of(region, address, bytes).text),
             site, cell.write.site);
  }
  if (cell.wgmmas && kind != Kind::read)
    fault_at("wait",
             format("%s of %s, which a wgmma is reading", verb(kind),
                    place_of(region, address, bytes).text),
             site, cell.read.site);
  if (region.shared && cell.write.block != now.block) cell.write = {};
  if (region.shared && cell.read.block != now.block)
    cell.read = cell.same_warp = cell.other_warp = cell.other_block = {};
  if (region.shared && kind != Kind::write && !cell.write.block)
    fault_at("uninitialised",
             format("read of %s, to which nobody in the block has written",
                    place_of(region, address, bytes).text),
             site);
  if (may_race(cell.write, now))
    report_race(region, address, bytes, kind, cell.write, true, site);
  if (kind == Kind::read) return remember_read(cell, now);
  const Access* const reads[] = {&cell.read, &cell.same_warp, &cell.other_warp, &cell.other_block};
  for (const Access* read : reads)
    if (may_race(*read, now)) report_race(region, address, bytes, kind, *read, false, site);
  cell.write = now;
  cell.box = 0;
}

[[noreturn]] static void report_outside(const char* address, size_t bytes, Kind kind,
                                        uint64_t site) {
  if (in_stacks(address))
    fault_at("out-of-bounds", format("%s of another thread's local variable", verb(kind)), site);
  fault_at("out-of-bounds",
           format("%s of %zu bytes at %p, which belongs to no argument", verb(kind), bytes,
                  (const void*)address),
           site);
}

void check_access(const void* target, size_t bytes, Kind kind, bool may_be_unaligned,
                  const void* pc) {
  const char* address = (const char*)target;
  if (!state.running) return;
  if (address >= (char*)&current && address < (char*)(&current + 1)) return;  // threadIdx ...
  const char* stack = fibers[state.thread].stack;
  uint64_t site = offset_in_library(pc) - 1;  // within the instruction that calls
  if (address >= stack && address < stack + STACK_BYTES)
    return check_accumulator(address, kind, site);
  if (++state.steps > (1ull << 26))
    fault_at("hang", "67 million accesses without a barrier: an endless loop?", site);
  if (state.turns > (1ull << 24))
    fault_at("hang",
             "threads of the block wait for what does not come (other blocks run before or after)",
             site);
  Region* region = find_region(address);
  if (!region && kind == Kind::read && in_library(address)) return;  // a constant, a literal
  if (!region) report_outside(address, bytes, kind, site);
  if (address + bytes > region->end)
    fault_at("out-of-bounds", format("%s across the end of %s", verb(kind), region->name.text),
             site);
  if (!may_be_unaligned && (uintptr_t)address & (bytes - 1) && !(bytes & (bytes - 1)))
    fault_at("misaligned",
             format("%s of %s: the address is not a multiple of its size", verb(kind),
                    place_of(*region, address, bytes).text),
             site);
  if (kind != Kind::read && !region->writable)
    fault_at("read-only", format("write to %s, which is read-only", region->name.text), site);
  if (state.count) log_access(address, bytes, kind != Kind::read, region->shared, site);
  fit_granule(*region, address, bytes);
  if (kind == Kind::atomic) hand_on(address);
  const Access now = now_by(kind, site);
  size_t first = (address - region->begin) / region->granule;
  size_t last = (address + bytes - 1 - region->begin) / region->granule;
  for (size_t i = first; i <= last; i++)
    check_cell(*region, region->cells[i], address, bytes, kind, now);
}

// Of what happens in the background: it is no request of a warp.
void check_uncounted(const void* address, size_t bytes, Kind kind, const void* pc) {
  const bool counted = state.count;
  state.count = false;
  check_access(address, bytes, kind, true, pc);
  state.count = counted;
}

template <class F>
static void each_cell(const void* target, int bytes, F f) {
  Region* region = find_region(target);
  if (!region || !region->cells) return;
  size_t first = ((char*)target - region->begin) / region->granule;
  size_t last = ((char*)target + bytes - 1 - region->begin) / region->granule;
  for (size_t i = first; i <= last; i++) f(region->cells[i]);
}

void mark_in_flight(const void* target, int bytes, bool in_flight) {
  each_cell(target, bytes, [&](Cell& c) { c.in_flight = in_flight ? state.block_serial : 0; });
}

void mark_as_box(const void* target, int bytes, Swizzle swizzle) {
  each_cell(target, bytes, [&](Cell& c) { c.box = 1 + int(swizzle); });
}

void mark_as_read_by_wgmma(const void* target, int bytes, bool begins) {
  each_cell(target, bytes, [&](Cell& c) { c.wgmmas += begins ? 1 : -1; });
}

// Tensor cores read what copies have written as those have left it; what threads have written they
// see only behind a fence of its writer.
void check_read_by_wgmma(const void* address, int bytes, Swizzle swizzle, Place place,
                         const void* pc) {
  if (!shared_region(address))
    fault("out-of-bounds", "wgmma: the descriptor points outside shared memory", place);
  check_uncounted(address, bytes, Kind::read, pc);
  each_cell(address, bytes, [&](Cell& c) {
    if (c.box && c.box != 1 + int(swizzle))
      fault("swizzle", "wgmma: the tile was written with another swizzle than it is read with",
            place);
    if (!c.box && fibers[c.write.thread].async_fence <= c.write.clock)
      fault("fence", "wgmma: its operand was written by a thread, without fence.proxy.async after",
            place);
  });
}

}  // namespace emulator
