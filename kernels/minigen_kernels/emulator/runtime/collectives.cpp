// Warp collectives: shuffles, votes, __syncwarp, and what tensor cores need. All wait until
// the lanes of a mask have come, and all but __syncwarp hand each lane what every lane gave.
#include "internal.hpp"

namespace emulator {

unsigned exchange(Collective collective, unsigned mask, const void* mine, void* all, size_t bytes,
                  Place place) {
  if (!(mask >> current.lane & 1))
    fault("shuffle", "the lane that calls is not in the mask that it gives", place);
  Fiber& fiber = fibers[state.thread];
  fiber.wait = Wait::warp;
  fiber.collective = collective;
  fiber.mask = mask;
  fiber.mine = mine;
  fiber.all = all;
  fiber.bytes = bytes;
  fiber.place = place;
  leave();
  return fiber.took_part;
}

bool lane_is_absent(int lane) { return state.thread / 32 * 32 + lane >= state.threads; }

bool moves_data(Collective c) { return c == Collective::shuffle || c == Collective::matrix; }

// Is everybody there whom this lane's mask names? Fails the launch where they can never be.
static bool is_complete(const Fiber& fiber, int first, int last) {
  for (int lane = 0; lane < 32; lane++) {
    if (!(fiber.mask >> lane & 1)) continue;
    if (first + lane >= last) {
      // A block may end within a warp, and everybody writes the full mask all the same.
      if (fiber.mask == 0xffffffffu && fiber.collective != Collective::matrix) continue;
      fail_at(fiber, "shuffle",
              format("the mask names lane %d, but the block ends before it", lane));
      return false;
    }
    const Fiber& other = fibers[first + lane];
    if (other.wait == Wait::forever) {
      if (!moves_data(fiber.collective)) continue;  // barriers and votes do without it
      fail_at(fiber, "shuffle",
              format("the mask names lane %d, which has returned from the kernel", lane));
      return false;
    }
    if (other.wait != Wait::warp || other.mask != fiber.mask) return false;
    if (other.collective != fiber.collective || other.bytes != fiber.bytes) {
      fail_at(fiber, "shuffle",
              format("lanes of one mask meet in different collectives: %s is at line %d",
                     thread_name(other).text, other.place.line));
      return false;
    }
  }
  return true;
}

static void deliver(unsigned lanes, int first, size_t bytes) {
  static char everything[32 * 64];
  memset(everything, 0xff, 32 * bytes);
  for (int lane = 0; lane < 32; lane++)
    if (lanes >> lane & 1) memcpy(everything + lane * bytes, fibers[first + lane].mine, bytes);
  for (int lane = 0; lane < 32; lane++)
    if (lanes >> lane & 1) memcpy(fibers[first + lane].all, everything, 32 * bytes);
}

// __syncwarp: each lane has now seen whatever any of them had seen, and all that they did.
static void join_clocks(unsigned lanes, int first) {
  static uint32_t joined[1024];
  // Of other warps a thread has seen something only where there are mbarriers.
  int begin = state.mbarriers ? 0 : first, end = state.mbarriers ? state.threads : first + 32;
  size_t bytes = (end - begin) * sizeof *joined;
  memset(joined + begin, 0, bytes);
  for (int lane = 0; lane < 32; lane++)
    if (lanes >> lane & 1)
      for (int i = begin; i < end; i++) {
        uint32_t seen = fibers[first + lane].seen[i] + (i == first + lane);
        if (seen > joined[i]) joined[i] = seen;
      }
  for (int lane = 0; lane < 32; lane++)
    if (lanes >> lane & 1) memcpy(fibers[first + lane].seen + begin, joined + begin, bytes);
}

void complete_collectives(int warp) {
  int first = warp * 32, last = first + 32 < state.threads ? first + 32 : state.threads;
  for (int i = first; i < last && !failed; i++) {
    const Fiber& fiber = fibers[i];
    if (fiber.wait != Wait::warp || !is_complete(fiber, first, last)) continue;
    unsigned lanes = 0;
    for (int lane = 0; first + lane < last; lane++)
      if (fiber.mask >> lane & 1 && fibers[first + lane].wait == Wait::warp) lanes |= 1u << lane;
    if (fiber.bytes) deliver(lanes, first, fiber.bytes);
    if (fiber.collective == Collective::sync) join_clocks(lanes, first);
    for (int lane = 0; lane < 32; lane++) {
      if (!(lanes >> lane & 1)) continue;
      fibers[first + lane].wait = Wait::nothing;
      fibers[first + lane].took_part = lanes;
      make_ready(first + lane);
    }
  }
}

}  // namespace emulator
