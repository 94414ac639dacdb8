// Atomics. A fiber is only left where it asks to be, so plain code is atomic; the checker is told
// which accesses are. Afterwards others may run: they may be waiting for what has changed.
#pragma once

namespace emulator {
template <class T>
struct Plain {
  using type = T;  // keeps the value's type out of the deduction: atomicAdd(&a_float, 1)
};
template <class T, class F>
EMULATOR_OWN T update(T* address, F next) {
  T old = *address;
  *address = next(old);
  yield();
  return old;
}
}  // namespace emulator

#define EMULATOR_ATOMIC(NAME, NEXT)                                                          \
  template <class T>                                                                         \
  inline __attribute__((always_inline)) T NAME(T* address,                                   \
                                               typename emulator::Plain<T>::type value) {    \
    emulator::note_atomic(address, sizeof(T));                                               \
    return emulator::update(address, [value](T old) -> T { return NEXT; });                  \
  }                                                                                          \
  template <class T>                                                                         \
  inline __attribute__((always_inline)) T NAME##_block(                                      \
      T* address, typename emulator::Plain<T>::type value) {                                 \
    return NAME(address, value);                                                             \
  }
EMULATOR_ATOMIC(atomicAdd, old + value)
EMULATOR_ATOMIC(atomicSub, old - value)
EMULATOR_ATOMIC(atomicExch, value)
EMULATOR_ATOMIC(atomicMin, value < old ? value : old)
EMULATOR_ATOMIC(atomicMax, old < value ? value : old)
EMULATOR_ATOMIC(atomicAnd, old & value)
EMULATOR_ATOMIC(atomicOr, old | value)
EMULATOR_ATOMIC(atomicXor, old ^ value)
EMULATOR_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
EMULATOR_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)

template <class T>
inline __attribute__((always_inline)) T atomicCAS(T* address,
                                                  typename emulator::Plain<T>::type expected,
                                                  typename emulator::Plain<T>::type value) {
  emulator::note_atomic(address, sizeof(T));
  return emulator::update(address, [=](T old) -> T { return old == expected ? value : old; });
}
