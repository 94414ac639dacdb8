// The CUDA dialect on a CPU: what an unmodified .cu file needs to compile with g++. The loader puts
// it in front of the file, so that a source includes nothing of ours.
#pragma once
// C's own headers: those of the C++ library around them take longer than the kernel to compile, and
// have other overloads than CUDA. So a source that includes <math.h> or <cmath> gets these.
#define _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#define _GLIBCXX_MATH_H 1
#define _GLIBCXX_CMATH 1
#define _GLIBCXX_BITS_STD_ABS_H 1
#include <math.h>
#undef _GLIBCXX_INCLUDE_NEXT_C_HEADERS
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "contract.hpp"

#define __MINIGEN_EMULATOR__ 1
#define __CUDA_ARCH__ 900

// ---------------------------------------------------------------- keywords
#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __shared__ thread_local  // see memory.cpp
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
// `__shared__ alignas(16) T s[N]` is CUDA; C++ would have the alignas in front.
#define alignas(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __maxnreg__(...)
#define __grid_constant__

// ---------------------------------------------------------------- indices
#define threadIdx (emulator::current.thread)
#define blockIdx (emulator::current.block)
#define blockDim (emulator::current.block_size)
#define gridDim (emulator::current.grid_size)
#define warpSize 32

// ---------------------------------------------------------------- barriers and fences
inline void __syncthreads(emulator::Place here = EMULATOR_HERE) {
  emulator::block_barrier(0, here);
}
inline int __syncthreads_count(int predicate, emulator::Place here = EMULATOR_HERE) {
  return emulator::block_barrier(predicate, here).count;
}
inline int __syncthreads_and(int predicate, emulator::Place here = EMULATOR_HERE) {
  return emulator::block_barrier(predicate, here).all;
}
inline int __syncthreads_or(int predicate, emulator::Place here = EMULATOR_HERE) {
  return emulator::block_barrier(predicate, here).any;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, emulator::Place here = EMULATOR_HERE) {
  emulator::exchange(emulator::Collective::sync, mask, nullptr, nullptr, 0, here);
}
inline void __threadfence() { emulator::note_fence(); }
inline void __threadfence_block() { emulator::note_fence(); }
inline void __threadfence_system() { emulator::note_fence(); }
inline void __nanosleep(unsigned) { emulator::yield(); }

// ---------------------------------------------------------------- the rest of the language
inline void __trap(emulator::Place here = EMULATOR_HERE) {
  emulator::fault("trap", "__trap() was called", here);
}
#undef assert
#define assert(condition)                                                               \
  ((condition) ? (void)0                                                                \
               : emulator::fault("assert", "assert(" #condition ") failed", EMULATOR_HERE))
extern "C" void* emulator_memcpy(void* to, const void* from, size_t bytes);
extern "C" void* emulator_memset(void* to, int value, size_t bytes);
#define memcpy emulator_memcpy
#define memset emulator_memset

#include "vectors.hpp"
#include "arithmetic.hpp"
#include "atomics.hpp"
#include "warp.hpp"
#include "launch.hpp"
