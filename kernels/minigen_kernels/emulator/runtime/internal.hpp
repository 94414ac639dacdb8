// What the parts of the runtime know of each other; no kernel sees it.
#pragma once
#include "basics.hpp"
#include "contract.hpp"

namespace emulator {

// ---------------------------------------------------------------- threads (scheduler.cpp)
enum class Wait { nothing, warp, block, mbarrier, forever };  // forever: the thread has returned

enum class Kind { read, write, atomic };

struct PendingCopy {
  void* target;
  const void* source;
  int bytes, source_bytes, group;
  const void* pc;  // of the code that issued it
};

struct Accumulators {  // of a thread, that wgmma has used
  float* d;
  int count, pending;  // numbers; instructions
  bool touched;        // since the last wgmma.fence
  float values[128];   // while some are: those of the instructions that are done
};
struct PendingWgmma {
  float* d;
  int columns, group;
  bool from_registers;  // a, and then b's columns lie side by side
  uint64_t a, b;
  float left[2][16];  // the two rows of A that the lane multiplies, if they come from registers
  Place place;
};

struct Fiber {
  void* stack_pointer;
  char* stack;
  Wait wait;
  uint3 thread;
  Place place;  // of the barrier or collective that it waits at
  int predicate;
  Votes votes;
  Collective collective;
  unsigned mask, took_part;
  const void* mine;  // what this lane gives, and where what all lanes give shall go
  void* all;
  size_t bytes;
  // By __syncwarp and mbarriers, this thread has seen everything that thread t of the block did
  // before its clock was seen[t].
  uint32_t seen[1024];
  const void* mbarrier;  // that it waits for, until phase `until` has begun
  uint32_t until, async_fence;  // its clock at its last fence.proxy.async
  bool fenced;
  uint32_t fence_epoch;
  List<PendingCopy> copies;
  int copy_group;
  List<PendingWgmma> wgmmas;
  List<Accumulators> accumulators;
  bool wgmma_fenced;  // once at least
  int wgmma_group;
  uint64_t wgmmas_so_far;  // a hash of all, which the four warps of a group must have in common
  Place last_wgmma;
};
extern Fiber fibers[1024];

struct State {
  int thread;                  // the fiber that runs now
  int threads;                 // of a block
  uint32_t block_serial;       // 1 for the first block that ran
  uint32_t block_epoch;        // block barriers passed
  uint64_t steps;              // accesses since the last switch
  uint64_t turns;              // that threads gave others to run, since the last block barrier
  bool check, count, running;
  bool mbarriers;              // a block of this launch has some
  void (*body)(void**);
  void** arguments;
};
extern State state;
void leave();  // from a fiber to the scheduler
void make_ready(int thread);
Text thread_name(const Fiber& fiber);
void fail_at(const Fiber& fiber, const char* kind, const char* message);

// ---------------------------------------------------------------- mbarriers.cpp
void mbarriers_start_block();
void complete_bytes(const void* barrier, uint32_t phase, int bytes, int thread, uint32_t clock,
                    uint64_t site);
uint32_t mbarrier_phase(const void* barrier, const char* what, Place place);  // that is under way
bool somebody_waits_for(const void* barrier);
void fail_waiting_for_ever(const Fiber& fiber);

// ---------------------------------------------------------------- boxes.cpp
void boxes_start_block();
bool land_a_box();
void fail_if_boxes_are_pending();

// ---------------------------------------------------------------- wgmma.cpp
void check_accumulator(const void* address, Kind kind, uint64_t site);
void fail_if_warps_differ_in_their_wgmmas();

// ---------------------------------------------------------------- collectives.cpp
bool moves_data(Collective collective);
void complete_collectives(int warp);

// ---------------------------------------------------------------- fibers.cpp
constexpr size_t STACK_BYTES = 256 << 10;
void reserve_stacks(int count);
char* stack_of(int thread);
void fiber_prepare(Fiber& fiber, void (*main)());
void switch_to_fiber(Fiber& fiber);
void switch_to_scheduler(Fiber& fiber);
bool in_stacks(const void* address);

// ---------------------------------------------------------------- errors (errors.cpp)
struct Fault {  // mirrored in module.py
  char kind[24], message[512], file[512];
  int line;              // 0: not known, see pc
  uint64_t pc, other_pc;  // offsets into the library; 0: not known
  unsigned block[3], thread[3];
  int has_thread;
};
extern Fault last_fault;
extern bool failed;
void set_fault(const char* kind, const char* message, Place place, uint64_t pc,
               uint64_t other_pc, int thread);
[[noreturn]] void fault_at(const char* kind, const char* message, uint64_t pc,
                           uint64_t other_pc = 0);
void catch_signals();
void release_signals();

// ---------------------------------------------------------------- memory.cpp
struct Cell;
struct Region {
  Text name;
  char *begin, *end;
  bool shared, writable;
  int granule;  // bytes per cell: as large as all accesses so far allow
  Cell* cells;  // allocated when first looked at
};
Region* find_region(const void* address);
Region* shared_region(const void* address);
char* shared_memory();
bool in_library(const void* address);
uint64_t offset_in_library(const void* pc);
bool open_shared_memory(const Launch& launch, const void* in_shared_memory);
void poison_shared_memory();
bool shared_guard_is_whole();
void close_memory();

// ---------------------------------------------------------------- checker.cpp
void check_access(const void* address, size_t bytes, Kind kind, bool may_be_unaligned,
                  const void* pc);
void check_uncounted(const void* address, size_t bytes, Kind kind, const void* pc);
void mark_in_flight(const void* target, int bytes, bool in_flight);
void mark_as_box(const void* target, int bytes, Swizzle swizzle);  // written in the background
void mark_as_read_by_wgmma(const void* target, int bytes, bool begins);
void check_read_by_wgmma(const void* address, int bytes, Swizzle swizzle, Place place,
                         const void* pc);
void fence_start_block();
void drop_cells(Region& region);

// ---------------------------------------------------------------- counters.cpp
void log_access(const void* address, size_t bytes, bool write, bool shared, uint64_t site);
void count_logged_accesses();

}  // namespace emulator
