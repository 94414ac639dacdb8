// What sm_90a adds, an idea at a time: what the tests of boxes, swizzles and wgmma launch.
#include "ptx.cuh"
#define KERNEL(NAME) extern "C" __global__ void NAME

// A box as it lies in shared memory.
KERNEL(box_as_it_lies)(TensorMap map, unsigned short* out, int size, int column, int row,
                       int matrix) {
  __shared__ alignas(1024) unsigned short box[256 * 64];
  __shared__ Mbarrier there;
  if (threadIdx.x == 0) {
    mbarrier_init(&there, 1);
    fence_async_proxy();
    mbarrier_arrive_expect(&there, 2 * size);
    copy_box(box, map, column, row, matrix, &there);
  }
  __syncthreads();
  mbarrier_wait(&there, 0);
  for (int i = threadIdx.x; i < size; i += blockDim.x) out[i] = box[i];
}

// d += a b, 64 x 2 SUMS x 16, by lanes; the descriptors are given, but for where the operands lie.
template <int SUMS>
__device__ __forceinline__ void by_lanes(const unsigned short* a, int size_a,
                                         unsigned long long of_a, const unsigned short* b,
                                         int size_b, unsigned long long of_b, float* d) {
  __shared__ alignas(1024) unsigned short at_a[64 * 64];
  __shared__ alignas(1024) unsigned short at_b[256 * 64];
  for (int i = threadIdx.x; i < size_a; i += 128) at_a[i] = a[i];
  for (int i = threadIdx.x; i < size_b; i += 128) at_b[i] = b[i];
  fence_async_proxy();
  __syncthreads();
  float sums[SUMS];
  for (int i = 0; i < SUMS; i++) sums[i] = d[SUMS * threadIdx.x + i];
  wgmma_fence();
  wgmma_bf16(sums, of_a + (shared_address(at_a) >> 4), of_b + (shared_address(at_b) >> 4));
  wgmma_commit();
  wgmma_wait<0>();
  for (int i = 0; i < SUMS; i++) d[SUMS * threadIdx.x + i] = sums[i];
}
// The same with a in registers, by lanes.
template <int SUMS>
__device__ __forceinline__ void turned_by_lanes(const unsigned* a, const unsigned short* b,
                                                int size_b, unsigned long long of_b, float* d) {
  __shared__ alignas(1024) unsigned short at_b[256 * 64];
  for (int i = threadIdx.x; i < size_b; i += 128) at_b[i] = b[i];
  fence_async_proxy();
  __syncthreads();
  float sums[SUMS];
  unsigned left[4];
  for (int i = 0; i < SUMS; i++) sums[i] = d[SUMS * threadIdx.x + i];
  for (int i = 0; i < 4; i++) left[i] = a[4 * threadIdx.x + i];
  wgmma_fence();
  wgmma_bf16(sums, left, of_b + (shared_address(at_b) >> 4));
  wgmma_commit();
  wgmma_wait<0>();
  for (int i = 0; i < SUMS; i++) d[SUMS * threadIdx.x + i] = sums[i];
}
#define WGMMA(SUMS)                                                                               \
  KERNEL(wgmma_##SUMS)(const unsigned short* a, int size_a, unsigned long long of_a,              \
                       const unsigned short* b, int size_b, unsigned long long of_b, float* d) {  \
    by_lanes<SUMS>(a, size_a, of_a, b, size_b, of_b, d);                                          \
  }
#define TURNED(SUMS)                                                                              \
  KERNEL(wgmma_turned_##SUMS)(const unsigned* a, const unsigned short* b, int size_b,             \
                              unsigned long long of_b, float* d) {                                \
    turned_by_lanes<SUMS>(a, b, size_b, of_b, d);                                                 \
  }
WGMMA(128)
WGMMA(32)
TURNED(64)
TURNED(32)

// y[i] = the sum over all boxes of 8 x 64 of x's rows, at this place: a warp fetches into a ring of
// two boxes, another adds up.
KERNEL(sum_of_boxes)(TensorMap map, float* y, int boxes) {
  __shared__ alignas(1024) unsigned short ring[2][512];
  __shared__ Mbarrier full[2], empty[2];
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; i++) {
      mbarrier_init(&full[i], 1);
      mbarrier_init(&empty[i], 32);
    }
    fence_async_proxy();
  }
  __syncthreads();
  if (threadIdx.x == 32)
    for (int i = 0; i < boxes; i++) {
      if (i >= 2) mbarrier_wait(&empty[i % 2], i / 2 % 2 ^ 1);
      mbarrier_arrive_expect(&full[i % 2], 1024);
      copy_box(ring[i % 2], map, 0, 8 * i, 0, &full[i % 2]);
    }
  if (threadIdx.x < 32) {
    float sums[16] = {};
    for (int i = 0; i < boxes; i++) {
      mbarrier_wait(&full[i % 2], i / 2 % 2);
      for (int j = 0; j < 16; j++) sums[j] += bf16_to_float(ring[i % 2][32 * j + threadIdx.x]);
      mbarrier_arrive(&empty[i % 2]);
    }
    for (int j = 0; j < 16; j++) y[32 * j + threadIdx.x] = sums[j];
  }
}
