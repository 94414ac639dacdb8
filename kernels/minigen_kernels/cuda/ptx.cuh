// Every line of inline PTX in the project, and nothing else. Kernels call these wrappers and hold
// no `asm` of their own, so that the emulator has this one file to replace
// (emulator/runtime/ptx.hpp). 16-bit floats travel as `unsigned short`, two of them as `unsigned`:
// no CUDA header is needed.
#pragma once
#ifdef __MINIGEN_EMULATOR__
#include "ptx.hpp"
#else

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return (unsigned)__cvta_generic_to_shared(p);
}

// ---------------------------------------------------------------- numbers of 16 and 19 bits
__device__ __forceinline__ float bf16_to_float(unsigned short h) {
  return __uint_as_float((unsigned)h << 16);
}
__device__ __forceinline__ unsigned short float_to_bf16(float x) {
  unsigned short h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
__device__ __forceinline__ float f16_to_float(unsigned short h) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
  return x;
}
__device__ __forceinline__ unsigned short float_to_f16(float x) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
  unsigned r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ unsigned pack_f16(float low, float high) {
  unsigned r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ __forceinline__ unsigned float_to_tf32(float x) {
  unsigned r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(x));
  return r;
}

// ---------------------------------------------------------------- tensor cores: D += A B
// bf16, f16: A (16 x 16) by rows, B (16 x 8) by columns; tf32: 16 x 8 and 8 x 8.
#define MINIGEN_MMA(NAME, SHAPE)                                                                  \
  __device__ __forceinline__ void NAME(float (&d)[4], const unsigned (&a)[4],                     \
                                       const unsigned (&b)[2]) {                                  \
    asm volatile("mma.sync.aligned." SHAPE                                                        \
                 " {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                         \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                 \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));             \
  }
MINIGEN_MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MINIGEN_MMA(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
MINIGEN_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef MINIGEN_MMA

// ---------------------------------------------------------------- shared memory to fragments
// Lane 8m + r points to row r of matrix m, 16 bytes of shared memory.
#define MINIGEN_LDMATRIX(SUFFIX, OPTION)                                                          \
  __device__ __forceinline__ void ldmatrix_x1##SUFFIX(unsigned (&r)[1], const void* row) {        \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" OPTION ".shared.b16 {%0}, [%1];"                 \
                 : "=r"(r[0]) : "r"(shared_address(row)) : "memory");                             \
  }                                                                                               \
  __device__ __forceinline__ void ldmatrix_x2##SUFFIX(unsigned (&r)[2], const void* row) {        \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" OPTION ".shared.b16 {%0,%1}, [%2];"              \
                 : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");                 \
  }                                                                                               \
  __device__ __forceinline__ void ldmatrix_x4##SUFFIX(unsigned (&r)[4], const void* row) {        \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" OPTION ".shared.b16 {%0,%1,%2,%3}, [%4];"        \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                                 \
                 : "r"(shared_address(row)) : "memory");                                          \
  }
MINIGEN_LDMATRIX(, "")
MINIGEN_LDMATRIX(_trans, ".trans")
#undef MINIGEN_LDMATRIX

// ---------------------------------------------------------------- global to shared, asynchronous
// BYTES 4, 8 or 16, both addresses multiples of it; without `valid`, zeros are written.
template <int BYTES>
__device__ __forceinline__ void cp_async(void* target, const void* source, bool valid = true) {
  int bytes = valid ? BYTES : 0;
  if (BYTES == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(target)), "l"(source), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;"
                 :: "r"(shared_address(target)), "l"(source), "r"(bytes), "n"(BYTES) : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" :: "n"(PENDING) : "memory");
}
#endif
