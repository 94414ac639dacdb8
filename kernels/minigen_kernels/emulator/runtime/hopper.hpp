// The wrappers of cuda/ptx.cuh for sm_90a, emulated: mbarriers, copies of boxes, wgmma.
#pragma once

inline unsigned shared_address(const void* p) { return emulator::shared_address(p); }

// ---------------------------------------------------------------- mbarriers
using Mbarrier = unsigned long long;
__forceinline__ void mbarrier_init(Mbarrier* barrier, int arrivals,
                                   emulator::Place here = EMULATOR_HERE) {
  emulator::mbarrier_init(barrier, arrivals, here);
}
__forceinline__ void mbarrier_arrive(Mbarrier* barrier, emulator::Place here = EMULATOR_HERE) {
  emulator::mbarrier_arrive(barrier, 0, here);
}
__forceinline__ void mbarrier_arrive_expect(Mbarrier* barrier, int bytes,
                                            emulator::Place here = EMULATOR_HERE) {
  emulator::mbarrier_arrive(barrier, bytes, here);
}
__forceinline__ void mbarrier_wait(Mbarrier* barrier, int parity,
                                   emulator::Place here = EMULATOR_HERE) {
  emulator::mbarrier_wait(barrier, parity, here);
}
__forceinline__ void fence_async_proxy() { emulator::fence_async_proxy(); }

// ---------------------------------------------------------------- boxes of matrices
struct alignas(64) TensorMap {
  unsigned char opaque[128];
};
__forceinline__ void copy_box(void* target, const TensorMap& map, int column, int row, int matrix,
                              Mbarrier* barrier, emulator::Place here = EMULATOR_HERE) {
  emulator::box_issue(target, &map, column, row, matrix, barrier, here);
}

// ---------------------------------------------------------------- wgmma
template <int COUNT>
__forceinline__ void take_registers() {}
template <int COUNT>
__forceinline__ void keep_registers() {}
__forceinline__ void wgmma_fence() { emulator::wgmma_fence(); }
template <int SUMS>
__forceinline__ void wgmma_bf16(float (&d)[SUMS], unsigned long long a, unsigned long long b,
                                emulator::Place here = EMULATOR_HERE) {
  static_assert(SUMS == 32 || SUMS == 128);
  emulator::wgmma_issue(d, 2 * SUMS, a, b, here);
}
template <int SUMS>
__forceinline__ void wgmma_bf16(float (&d)[SUMS], const unsigned (&a)[4], unsigned long long b,
                                emulator::Place here = EMULATOR_HERE) {
  static_assert(SUMS == 32 || SUMS == 64);
  emulator::wgmma_issue(d, 2 * SUMS, a, b, here);
}
__forceinline__ void wgmma_commit() { emulator::wgmma_commit(); }
template <int PENDING>
__forceinline__ void wgmma_wait(emulator::Place here = EMULATOR_HERE) {
  emulator::wgmma_wait(PENDING, here);
}
