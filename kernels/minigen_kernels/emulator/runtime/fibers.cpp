// One stack per thread of the block, and the switch between them.
#include "internal.hpp"

#include <sys/mman.h>
#include <unistd.h>
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulator {

// Memory comes from the operating system page by page, when a stack grows into it. Below each stack
// lies a page that nobody may touch, so that a kernel with too many locals ends with an error.
static char* arena;
static int reserved;

static size_t slot() { return STACK_BYTES + sysconf(_SC_PAGESIZE); }

void reserve_stacks(int count) {
  if (count <= reserved) return;
  if (arena) munmap(arena, reserved * slot());
  arena = (char*)mmap(nullptr, count * slot(), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) abort();
  reserved = count;
  for (int i = 0; i < count; i++) mprotect(arena + i * slot(), slot() - STACK_BYTES, PROT_NONE);
}

char* stack_of(int thread) { return arena + thread * slot() + slot() - STACK_BYTES; }

bool in_stacks(const void* address) {
  return address >= arena && address < arena + reserved * slot();
}

#ifdef __x86_64__
// Keep the registers that a function must preserve, change stacks, take up the other side's. The
// portable swapcontext asks the operating system to keep the signal mask too, several times slower.
extern "C" void emulator_switch(void** save, void** load);
asm(R"(.text
.globl emulator_switch
.hidden emulator_switch
.type emulator_switch, @function
emulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

static void* scheduler_stack_pointer;

void fiber_prepare(Fiber& fiber, void (*main)()) {
  void** top = (void**)(fiber.stack + STACK_BYTES - 16);
  *--top = nullptr;      // main's return address: it never returns
  *--top = (void*)main;  // where the `ret` above goes
  top -= 6;
  memset(top, 0, 6 * sizeof *top);
  fiber.stack_pointer = top;
}
void switch_to_fiber(Fiber& fiber) {
  emulator_switch(&scheduler_stack_pointer, &fiber.stack_pointer);
}
void switch_to_scheduler(Fiber& fiber) {
  emulator_switch(&fiber.stack_pointer, &scheduler_stack_pointer);
}
#else
static ucontext_t contexts[1024], scheduler_context;

void fiber_prepare(Fiber& fiber, void (*main)()) {
  ucontext_t& context = contexts[&fiber - &fibers[0]];
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = STACK_BYTES;
  context.uc_link = nullptr;
  makecontext(&context, main, 0);
}
void switch_to_fiber(Fiber& fiber) {
  swapcontext(&scheduler_context, &contexts[&fiber - &fibers[0]]);
}
void switch_to_scheduler(Fiber& fiber) {
  swapcontext(&contexts[&fiber - &fibers[0]], &scheduler_context);
}
#endif

}  // namespace emulator
