// The first fault of a launch ends it: it is noted here, and the scheduler drops all fibers.
#include "internal.hpp"

#include <signal.h>
#include <unistd.h>
#include <sys/syscall.h>

namespace emulator {

Fault last_fault;
bool failed;

void set_fault(const char* kind, const char* message, Place place, uint64_t pc,
               uint64_t other_pc, int thread) {
  if (failed) return;
  failed = true;
  Fault& f = last_fault;
  f = Fault{};
  snprintf(f.kind, sizeof f.kind, "%s", kind);
  snprintf(f.message, sizeof f.message, "%s", message);
  snprintf(f.file, sizeof f.file, "%s", place.file ? place.file : "");
  f.line = place.line;
  f.pc = pc;
  f.other_pc = other_pc;
  f.has_thread = thread >= 0;
  if (thread < 0) return;
  const uint3 &b = current.block, &t = fibers[thread].thread;
  const unsigned blocks[3] = {b.x, b.y, b.z}, threads[3] = {t.x, t.y, t.z};
  memcpy(f.block, blocks, sizeof blocks);
  memcpy(f.thread, threads, sizeof threads);
}

[[noreturn]] static void give_up() {
  for (;;) leave();  // the scheduler never comes back to this fiber
}

void fault(const char* kind, const char* message, Place place) {
  set_fault(kind, message, place, 0, 0, state.thread);
  give_up();
}

void fault_at(const char* kind, const char* message, uint64_t pc, uint64_t other_pc) {
  set_fault(kind, message, {nullptr, 0}, pc, other_pc, state.thread);
  give_up();
}

// ---------------------------------------------------------------- traps of the processor
// A wild pointer or a division by 0 shall end the launch, not Python. The handler runs on a stack
// of its own, because a fiber's may be what has overflowed, and never returns to the fiber.
static const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGINT};
static struct sigaction before[5];
static stack_t stack_before;
static char handler_stack[64 << 10];
static long runner;

static void handle(int signal, siginfo_t* info, void* context) {
  bool mine = state.running && syscall(SYS_gettid) == runner && state.thread >= 0;
  if (!mine) {  // a fault of somebody else, or an interrupt that another thread received
    int i = 0;
    while (SIGNALS[i] != signal) i++;
    if (before[i].sa_flags & SA_SIGINFO) return before[i].sa_sigaction(signal, info, context);
    if (before[i].sa_handler == SIG_IGN) return;
    if (before[i].sa_handler != SIG_DFL) return before[i].sa_handler(signal);
    sigaction(signal, &before[i], nullptr);  // the faulting instruction runs again, and ends it all
    return;
  }
  uint64_t pc = 0;
#ifdef __x86_64__
  pc = offset_in_library((void*)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP]);
#endif
  char* address = (char*)info->si_addr;
  char* stack = stack_of(state.thread);
  if (signal == SIGINT) {
    set_fault("interrupted", "interrupted", {nullptr, 0}, pc, 0, state.thread);
  } else if (signal == SIGFPE) {
    set_fault("arithmetic", "integer division by zero", {nullptr, 0}, pc, 0, state.thread);
  } else if (address < stack && address >= stack - (64 << 10)) {
    set_fault("stack", "the thread's local variables need more than 256 KiB", {nullptr, 0}, pc, 0,
              state.thread);
  } else {
    set_fault("out-of-bounds",
              format("access to address %p, which belongs to no argument", address), {nullptr, 0},
              pc, 0, state.thread);
  }
  give_up();
}

void catch_signals() {
  runner = syscall(SYS_gettid);
  stack_t own{};
  own.ss_sp = handler_stack;
  own.ss_size = sizeof handler_stack;
  sigaltstack(&own, &stack_before);
  for (int i = 0; i < 5; i++) {
    struct sigaction action{};
    action.sa_sigaction = handle;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGNALS[i], &action, &before[i]);
  }
}

void release_signals() {
  for (int i = 0; i < 5; i++) sigaction(SIGNALS[i], &before[i], nullptr);
  sigaltstack(&stack_before, nullptr);
}

extern "C" const Fault* emulator_fault() { return failed ? &last_fault : nullptr; }

}  // namespace emulator
