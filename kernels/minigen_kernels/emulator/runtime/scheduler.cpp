// Which thread runs when, and what block barriers wait for.
#include "internal.hpp"

namespace emulator {

Current current;
State state;
Fiber fibers[1024];

// ---------------------------------------------------------------- order
// Any order of threads between two barriers is one that a GPU may choose. Which one is taken
// follows from the seed: most are random, but some bugs need one warp to run far ahead of others.
enum class Schedule { random, warp_first, last_first };
static Schedule schedule;
static List<int> ready, yielded;  // who yields goes behind all who have not: nobody waits in vain
static uint64_t random_state;

static uint32_t random_bits() {  // xorshift64*
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return (random_state * 2685821657736338717ull) >> 32;
}

static void seed_order(uint64_t seed) {
  random_state = (seed + 1) * 0x9E3779B97F4A7C15ull;
  const Schedule by_seed[] = {Schedule::random, Schedule::warp_first, Schedule::random,
                              Schedule::last_first};
  schedule = by_seed[seed % 4];
}

static int next_thread() {
  size_t count = ready.count, pick = random_bits() % count;
  if (schedule == Schedule::warp_first) {  // stay in the warp that ran last, as long as it can
    for (size_t i = 0; i < count; i++) {
      size_t candidate = (pick + i) % count;
      if (ready[candidate] / 32 != state.thread / 32) continue;
      pick = candidate;
      break;
    }
  } else if (schedule == Schedule::last_first) {
    for (size_t i = 0; i < count; i++)
      if (ready[i] > ready[pick]) pick = i;
  }
  swap(ready[pick], ready[count - 1]);
  return ready[--ready.count];
}

void make_ready(int thread) { ready.push(thread); }

// ---------------------------------------------------------------- in a fiber
void leave() { switch_to_scheduler(fibers[state.thread]); }

void yield() {
  state.turns++;
  (schedule == Schedule::random ? ready : yielded).push(state.thread);
  leave();
}

static void fiber_main() {
  state.body(state.arguments);
  fibers[state.thread].wait = Wait::forever;
  for (;;) leave();
}

Votes block_barrier(int predicate, Place place) {
  Fiber& fiber = fibers[state.thread];
  fiber.wait = Wait::block;
  fiber.predicate = predicate != 0;
  fiber.place = place;
  leave();
  return fiber.votes;
}

// ---------------------------------------------------------------- block barriers
void fail_at(const Fiber& fiber, const char* kind, const char* message) {
  set_fault(kind, message, fiber.place, 0, 0, int(&fiber - fibers));
}

Text thread_name(const Fiber& fiber) {
  return format("thread (%u, %u, %u)", fiber.thread.x, fiber.thread.y, fiber.thread.z);
}

static bool same_place(Place a, Place b) { return a.line == b.line && !strcmp(a.file, b.file); }

// Nobody can run: either all wait at one block barrier, or somebody waits for ever.
static void pass_block_barrier() {
  Votes votes{0, 1, 0};
  const Fiber* waiting = nullptr;
  for (int i = 0; i < state.threads; i++) {
    const Fiber& fiber = fibers[i];
    if (fiber.wait == Wait::warp) {
      const char* kind = moves_data(fiber.collective) ? "shuffle" : "barrier";
      return fail_at(fiber, kind, "the lane waits for ever: others of its mask are elsewhere");
    }
    if (fiber.wait == Wait::mbarrier) return fail_waiting_for_ever(fiber);
    if (fiber.wait != Wait::block) continue;
    if (waiting && !same_place(waiting->place, fiber.place))
      return fail_at(fiber, "barrier",
                     format("divergent barrier: %s waits at the one in line %d",
                            thread_name(*waiting).text, waiting->place.line));
    waiting = &fiber;
    votes.count += fiber.predicate;
    votes.all &= fiber.predicate;
    votes.any |= fiber.predicate;
  }
  for (int i = 0; i < state.threads; i++)
    if (fibers[i].wait == Wait::forever)
      return fail_at(*waiting, "barrier",
                     format("divergent barrier: %s has returned without reaching it",
                            thread_name(fibers[i]).text));
  if (state.count) count_logged_accesses();
  state.block_epoch++;
  state.turns = 0;
  for (int i = 0; i < state.threads; i++) {
    fibers[i].wait = Wait::nothing;
    fibers[i].votes = votes;
    ready.push(i);
  }
}

// ---------------------------------------------------------------- blocks
static void start_block(unsigned number) {
  const dim3 &grid = current.grid_size, &size = current.block_size;
  current.block = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
  state.block_serial++;
  state.block_epoch = 0;
  state.turns = 0;
  ready.clear();
  yielded.clear();
  poison_shared_memory();
  fence_start_block();
  mbarriers_start_block();
  boxes_start_block();
  for (unsigned i = 0; i < unsigned(state.threads); i++) {
    Fiber& fiber = fibers[i];
    fiber.wait = Wait::nothing;
    fiber.thread = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    memset(fiber.seen, 0, state.threads * sizeof *fiber.seen);
    fiber.fenced = false;
    fiber.async_fence = 0;
    fiber.copies.clear();
    fiber.copy_group = 0;
    fiber.wgmmas.clear();
    fiber.accumulators.clear();
    fiber.wgmma_fenced = false;
    fiber.wgmma_group = 0;
    fiber.wgmmas_so_far = 0;
    fiber.last_wgmma = {nullptr, 0};
    fiber.stack = stack_of(i);
    fiber_prepare(fiber, fiber_main);
    ready.push(i);
  }
}

static void run_thread(int thread) {
  state.thread = thread;
  state.steps = 0;
  current.thread = fibers[thread].thread;
  current.lane = thread % 32;
  switch_to_fiber(fibers[thread]);
}

static void run_block() {
  int alive = state.threads;
  while (alive && !failed) {
    if (!ready.count) swap(ready, yielded);
    if (!ready.count) {
      if (!land_a_box()) pass_block_barrier();
      continue;
    }
    run_thread(next_thread());
    if (failed) return;
    Fiber& fiber = fibers[state.thread];
    if (fiber.wait == Wait::forever) {
      alive--;
      if (fiber.copies.count)
        return set_fault("wait", "the thread returns while a cp.async of it is pending",
                         {nullptr, 0}, offset_in_library(fiber.copies[0].pc) - 1, 0, state.thread);
      if (fiber.wgmmas.count)
        return set_fault("wait", "the thread returns while a wgmma of it is pending",
                         fiber.wgmmas[0].place, 0, 0, state.thread);
    }
    if (fiber.wait == Wait::warp || fiber.wait == Wait::forever)
      complete_collectives(state.thread / 32);
  }
  if (!failed) fail_if_boxes_are_pending();
  if (!failed) fail_if_warps_differ_in_their_wgmmas();
  if (state.count && !failed) count_logged_accesses();
}

static void run_grid() {
  const dim3& grid = current.grid_size;
  static List<unsigned> order;
  order.clear();
  for (size_t i = 0; i < size_t(grid.x) * grid.y * grid.z; i++) order.push(i);
  for (size_t i = order.count; i > 1; i--) swap(order[i - 1], order[random_bits() % i]);
  for (unsigned block : order) {
    start_block(block);
    run_block();
    if (!failed && !shared_guard_is_whole())
      set_fault("out-of-bounds", "write behind the end of dynamic shared memory", {nullptr, 0}, 0,
                0, -1);
    if (failed) return;
  }
}

int run(const Launch& launch, void (*body)(void**), const void* in_shared_memory) {
  failed = false;
  current.block_size = {launch.block[0], launch.block[1], launch.block[2]};
  current.grid_size = {launch.grid[0], launch.grid[1], launch.grid[2]};
  state = State{};
  state.thread = 0;
  state.threads = launch.block[0] * launch.block[1] * launch.block[2];
  state.check = launch.check;
  state.count = launch.count;
  state.body = body;
  state.arguments = launch.arguments;
  seed_order(launch.seed);
  reserve_stacks(state.threads);
  if (open_shared_memory(launch, in_shared_memory)) {
    state.running = true;
    catch_signals();
    run_grid();
    release_signals();
    state.running = false;
  }
  close_memory();
  fflush(stdout);  // what the kernel printed
  return failed;
}

}  // namespace emulator
