// cp.async: the hardware may write the target at any moment between issue and wait. So the target
// is poisoned when the copy is issued, counts as in flight until the wait, and gets its data there:
// who reads too early gets NaN, who overwrites or is still reading the old data is found out.
#include "internal.hpp"

namespace emulator {

void copy_issue(void* target, const void* source, int bytes, int source_bytes, Place place) {
  if (((uintptr_t)target | (uintptr_t)source) & (bytes - 1))
    fault("misaligned", "cp.async: target and source must be multiples of the copy's size", place);
  const void* pc = __builtin_return_address(0);
  if (state.check) {
    if (!shared_region(target))
      fault("out-of-bounds", "cp.async: the target is not in shared memory", place);
    if (source_bytes) check_access(source, source_bytes, Kind::read, true, pc);
    check_access(target, bytes, Kind::write, false, pc);
    mark_in_flight(target, bytes, true);
  }
  memset(target, 0xff, bytes);
  Fiber& fiber = fibers[state.thread];
  fiber.copies.push({target, source, bytes, source_bytes, fiber.copy_group, pc});
}

void copy_commit() { fibers[state.thread].copy_group++; }

void copy_wait(int may_be_pending) {
  Fiber& fiber = fibers[state.thread];
  size_t kept = 0;
  for (const PendingCopy& copy : fiber.copies) {
    if (copy.group >= fiber.copy_group - may_be_pending) {
      fiber.copies[kept++] = copy;
      continue;
    }
    if (state.check) {
      mark_in_flight(copy.target, copy.bytes, false);
      // Now it lands, by this thread: others need a barrier from here. It was counted when issued.
      check_uncounted(copy.target, copy.bytes, Kind::write, copy.pc);
    }
    memset(copy.target, 0, copy.bytes);
    memcpy(copy.target, copy.source, copy.source_bytes);
  }
  fiber.copies.count = kept;
}

}  // namespace emulator
