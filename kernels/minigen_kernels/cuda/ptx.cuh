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

// ---------------------------------------------------------------- sm_90a: mbarriers
// A phase ends when all arrivals have come, and all bytes that they said to expect. Phases are
// numbered from 0; a wait gives the parity of the one whose end it waits for.
#if __CUDA_ARCH__ >= 900
using Mbarrier = unsigned long long;
__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :: "r"(shared_address(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];"
               :: "r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expect(Mbarrier* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :: "r"(shared_address(barrier)), "r"(bytes) : "memory");
}
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, int parity) {
  unsigned ended;
  do  // each try waits for a while
    asm volatile("{ .reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p; }"
                 : "=r"(ended) : "r"(shared_address(barrier)), "r"(parity) : "memory");
  while (!ended);
}
// What this thread has written to shared memory: before copies of boxes or wgmma meet it.
__device__ __forceinline__ void fence_async_proxy() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---------------------------------------------------------------- sm_90a: boxes of matrices
// Matrices and the box that is copied of one (CUtensorMap), made on the host: tensor_map.py.
struct alignas(64) TensorMap {
  unsigned char opaque[128];
};
// The box at this column and row, zeros where it leaves its matrix; its bytes go to the mbarrier.
__device__ __forceinline__ void copy_box(void* target, const TensorMap& map, int column, int row,
                                         int matrix, Mbarrier* barrier) {
  asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
               " [%0], [%1, {%3, %4, %5}], [%2];"
               :: "r"(shared_address(target)), "l"(&map), "r"(shared_address(barrier)),
                  "r"(column), "r"(row), "r"(matrix) : "memory");
}
#endif

// ---------------------------------------------------------------- sm_90a: wgmma
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Registers of a thread from here on, for all four warps of a group: some leave what others take.
template <int COUNT>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(COUNT));
}
template <int COUNT>
__device__ __forceinline__ void keep_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(COUNT));
}
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(PENDING) : "memory");
}
// d (64 x N) += a (64 x 16) b (16 x N) by four warps, N twice as many as a thread has sums. b lies
// in shared memory where a descriptor points; so does a, both in rows along k; or a is in registers,
// as for mma.sync, and b's columns lie side by side.
#define MINIGEN_NAMES_32 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15" \
  ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define MINIGEN_NAMES_64 MINIGEN_NAMES_32 \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47" \
  ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define MINIGEN_NAMES_128 MINIGEN_NAMES_64 \
  ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79" \
  ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95" \
  ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111" \
  ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define MINIGEN_4(I) "+f"(d[I]), "+f"(d[I + 1]), "+f"(d[I + 2]), "+f"(d[I + 3])
#define MINIGEN_16(I) MINIGEN_4(I), MINIGEN_4(I + 4), MINIGEN_4(I + 8), MINIGEN_4(I + 12)
#define MINIGEN_SUMS_32 MINIGEN_16(0), MINIGEN_16(16)
#define MINIGEN_SUMS_64 MINIGEN_SUMS_32, MINIGEN_16(32), MINIGEN_16(48)
#define MINIGEN_SUMS_128                                                                          \
  MINIGEN_SUMS_64, MINIGEN_16(64), MINIGEN_16(80), MINIGEN_16(96), MINIGEN_16(112)
// The numbers behind the operands: added to d, neither negated, and which of them are turned.
#define MINIGEN_WGMMA(SUMS, N, A, B)                                                              \
  __device__ __forceinline__ void wgmma_bf16(float (&d)[SUMS], unsigned long long a,              \
                                             unsigned long long b) {                              \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {"                     \
                 MINIGEN_NAMES_##SUMS "}, " A ", " B ", 1, 1, 1, 0, 0;"                           \
                 : MINIGEN_SUMS_##SUMS : "l"(a), "l"(b) : "memory");                              \
  }
#define MINIGEN_WGMMA_TURNED(SUMS, N, A, B)                                                       \
  __device__ __forceinline__ void wgmma_bf16(float (&d)[SUMS], const unsigned (&a)[4],            \
                                             unsigned long long b) {                              \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {"                     \
                 MINIGEN_NAMES_##SUMS "}, {" A "}, " B ", 1, 1, 1, 1;"                            \
                 : MINIGEN_SUMS_##SUMS                                                            \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b) : "memory");                \
  }
MINIGEN_WGMMA(128, 256, "%128", "%129")
MINIGEN_WGMMA(32, 64, "%32", "%33")
MINIGEN_WGMMA_TURNED(64, 128, "%64,%65,%66,%67", "%68")
MINIGEN_WGMMA_TURNED(32, 64, "%32,%33,%34,%35", "%36")
#undef MINIGEN_WGMMA
#undef MINIGEN_WGMMA_TURNED
#endif
#endif
