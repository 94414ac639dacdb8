// How accesses come to the checker, without any sanitizer library: in check mode the kernel is
// compiled with -fsanitize=thread and others, which makes g++ call the functions below around every
// access and at every bad index, shift or division. They are ours.
#include "internal.hpp"

namespace emulator {

#define CALLER __builtin_return_address(0)

void note_matrix_row(const void* row, Place place) {
  if (!state.check) return;
  if (!shared_region(row))
    fault("out-of-bounds", "ldmatrix: the row is not in shared memory", place);
  check_access(row, 16, Kind::read, false, CALLER);
}
void note_atomic(const void* address, size_t bytes) {
  if (state.check) check_access(address, bytes, Kind::atomic, false, CALLER);
}

// A thread that reads a volatile variable may be waiting for another to change it. In global memory
// that is a way to talk, as an atomic is; in shared memory it is the old warp-synchronous style,
// which is a race.
static void volatile_access(const void* address, size_t bytes, Kind kind, const void* pc) {
  const Region* region = find_region(address);
  bool global = region && !region->shared;
  if (global && kind == Kind::read) yield();  // before: between check and load nobody may run
  check_access(address, bytes, global ? Kind::atomic : kind, false, pc);
}

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

#define HOOKS(N)                                                                                 \
  void __tsan_read##N(void* p) { check_access(p, N, Kind::read, false, CALLER); }                \
  void __tsan_write##N(void* p) { check_access(p, N, Kind::write, false, CALLER); }              \
  void __tsan_unaligned_read##N(void* p) { check_access(p, N, Kind::read, true, CALLER); }       \
  void __tsan_unaligned_write##N(void* p) { check_access(p, N, Kind::write, true, CALLER); }     \
  void __tsan_volatile_read##N(void* p) { volatile_access(p, N, Kind::read, CALLER); }           \
  void __tsan_volatile_write##N(void* p) { volatile_access(p, N, Kind::write, CALLER); }         \
  void __tsan_unaligned_volatile_read##N(void* p) { volatile_access(p, N, Kind::read, CALLER); } \
  void __tsan_unaligned_volatile_write##N(void* p) { volatile_access(p, N, Kind::write, CALLER); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)
void __tsan_read_range(void* p, unsigned long n) { check_access(p, n, Kind::read, true, CALLER); }
void __tsan_write_range(void* p, unsigned long n) { check_access(p, n, Kind::write, true, CALLER); }

struct Located {  // every record of the undefined-behaviour checks begins with a place
  const char* file;
  unsigned line, column;
  operator Place() const { return {file, int(line)}; }
};

#define UNDEFINED(NAME, KIND, MESSAGE)                                                     \
  void __ubsan_handle_##NAME(Located* l) { fault(KIND, MESSAGE, *l); }               \
  void __ubsan_handle_##NAME##_abort(Located* l) { fault(KIND, MESSAGE, *l); }
UNDEFINED(out_of_bounds, "out-of-bounds", "index outside the bounds that the array declares")
UNDEFINED(shift_out_of_bounds, "arithmetic", "shift by a negative amount, or by the width or more")
UNDEFINED(add_overflow, "arithmetic", "signed integer overflow in an addition")
UNDEFINED(sub_overflow, "arithmetic", "signed integer overflow in a subtraction")
UNDEFINED(mul_overflow, "arithmetic", "signed integer overflow in a multiplication")
UNDEFINED(negate_overflow, "arithmetic", "signed integer overflow in a negation")
UNDEFINED(divrem_overflow, "arithmetic", "integer division by zero")

struct TypeMismatch {
  Located at;
  const void* type;
  unsigned char log_alignment, access;
};
void __ubsan_handle_type_mismatch_v1_abort(TypeMismatch* record, const void* address) {
  uintptr_t mask = (uintptr_t(1) << record->log_alignment) - 1;
  if ((uintptr_t)address & mask)
    fault("misaligned", "the address is not a multiple of the type's alignment", record->at);
  fault("out-of-bounds", "access through a null pointer", record->at);
}
void __ubsan_handle_type_mismatch_v1(TypeMismatch* record, const void* address) {
  __ubsan_handle_type_mismatch_v1_abort(record, address);
}

// Inside a kernel these would be calls that nobody sees: g++ makes them of struct copies and loops.
void* emulator_memcpy(void* to, const void* from, size_t n) {
  if (state.check && n) {
    check_access(from, n, Kind::read, true, CALLER);
    check_access(to, n, Kind::write, true, CALLER);
  }
  return memcpy(to, from, n);
}
void* emulator_memset(void* to, int value, size_t n) {
  if (state.check && n) check_access(to, n, Kind::write, true, CALLER);
  return memset(to, value, n);
}
}  // extern "C"

}  // namespace emulator
