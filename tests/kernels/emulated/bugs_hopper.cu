// As bugs.cu, of what sm_90a adds: one kernel, one bug. tile copies boxes of 256 rows of 64
// numbers, 32 KiB with a swizzle of 128 bytes; strip boxes of 8 such rows, 1 KiB as they lie; both of
// a matrix of 256 rows. y has 128 floats. LAUNCH: other blocks and threads than 1, 128.
#include "ptx.cuh"
#define KERNEL(NAME) extern "C" __global__ void NAME(TensorMap tile, TensorMap strip, float* y)
constexpr int BYTES = 1024, NUMBERS = 512;  // of a strip

__device__ __forceinline__ void make(Mbarrier& barrier, int arrivals) {
  if (threadIdx.x == 0) {
    mbarrier_init(&barrier, arrivals);
    fence_async_proxy();
  }
  __syncthreads();
}
__device__ __forceinline__ void fetch(void* target, const TensorMap& map, int bytes,
                                      Mbarrier& full) {
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(&full, bytes);
    copy_box(target, map, 0, 0, 0, &full);
  }
}
// Of 8 rows a group, 128 bytes a row, with the swizzle of that many.
__device__ __forceinline__ unsigned long long operand(const void* p) {
  return (shared_address(p) >> 4) | 64ull << 32 | 1ull << 62;
}
__device__ __forceinline__ void put(float* y, float x) {
  y[threadIdx.x] = x;
}

// ---------------------------------------------------------------- mbarriers and boxes
KERNEL(box_read_without_wait) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  fetch(s, strip, BYTES, full);
  __syncthreads();
  put(y, s[threadIdx.x]);  // BUG wait
}
KERNEL(wait_of_the_wrong_parity) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  fetch(s, strip, BYTES, full);
  mbarrier_wait(&full, 1);
  put(y, s[threadIdx.x]);  // BUG wait BUG uninitialised
}
KERNEL(parity_that_does_not_alternate) {
  __shared__ alignas(1024) unsigned short s[2][NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  float sum = 0;
  for (int i = 0; i < 2; i++) {
    fetch(s[i], strip, BYTES, full);
    mbarrier_wait(&full, 0);
    sum += s[i][threadIdx.x];  // BUG wait BUG uninitialised
  }
  put(y, sum);
}
KERNEL(only_one_thread_waits) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  fetch(s, strip, BYTES, full);  // BUG race
  if (threadIdx.x == 0) mbarrier_wait(&full, 0);
  put(y, s[threadIdx.x]);  // BUG wait BUG race BUG uninitialised
}
KERNEL(more_bytes_expected_than_come) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  fetch(s, strip, 2 * BYTES, full);
  mbarrier_wait(&full, 0);  // BUG mbarrier
  put(y, s[threadIdx.x]);
}
KERNEL(fewer_bytes_expected_than_come) {
  __shared__ alignas(1024) unsigned short s[2][NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(&full, BYTES);
    copy_box(s[0], strip, 0, 0, 0, &full);
    copy_box(s[1], strip, 0, 8, 0, &full);
  }
  mbarrier_wait(&full, 0);
  put(y, s[0][threadIdx.x] + s[1][threadIdx.x]);  // BUG wait
}
KERNEL(fewer_bytes_expected_than_a_box_has) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(&full, BYTES / 2);
    copy_box(s, strip, 0, 0, 0, &full);  // BUG mbarrier
  }
  mbarrier_wait(&full, 0);
  put(y, s[threadIdx.x]);
}
KERNEL(an_arrival_is_missing) {
  __shared__ Mbarrier all;
  make(all, 128);
  if (threadIdx.x > 0) mbarrier_arrive(&all);
  mbarrier_wait(&all, 0);  // BUG mbarrier
}
KERNEL(mbarrier_that_nobody_made) {
  __shared__ Mbarrier all;
  if (threadIdx.x == 0) all = 0;
  __syncthreads();
  mbarrier_arrive(&all);  // BUG mbarrier
}
KERNEL(mbarrier_used_while_it_is_made) {
  __shared__ Mbarrier all;
  if (threadIdx.x == 0) mbarrier_init(&all, 128);
  mbarrier_arrive(&all);  // BUG mbarrier BUG race BUG uninitialised
  mbarrier_wait(&all, 0);
}
KERNEL(mbarrier_without_a_fence) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full;
  if (threadIdx.x == 0) {
    mbarrier_init(&full, 1);
    mbarrier_arrive_expect(&full, BYTES);
    copy_box(s, strip, 0, 0, 0, &full);  // BUG fence
  }
  __syncthreads();
  mbarrier_wait(&full, 0);
  put(y, s[threadIdx.x]);
}
KERNEL(refilled_before_all_have_read) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full, empty;
  make(full, 1);
  make(empty, 4);
  float sum = 0;
  for (int i = 0; i < 2; i++) {
    if (i > 0 && threadIdx.x == 0) mbarrier_wait(&empty, 0);
    if (threadIdx.x == 0) {
      mbarrier_arrive_expect(&full, BYTES);
      copy_box(s, strip, 0, 0, 0, &full);  // BUG race
    }
    mbarrier_wait(&full, i);
    sum += s[threadIdx.x];  // BUG wait
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&empty);  // for lanes that may still be reading
  }
  put(y, sum);
}
KERNEL(emptied_before_it_was_read) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full, empty;
  make(full, 1);
  make(empty, 128);
  float sum = 0;
  for (int i = 0; i < 2; i++) {
    if (i > 0 && threadIdx.x == 0) mbarrier_wait(&empty, 0);
    if (threadIdx.x == 0) {
      mbarrier_arrive_expect(&full, BYTES);
      copy_box(s, strip, 0, 0, 0, &full);  // BUG race
    }
    mbarrier_wait(&full, i);
    mbarrier_arrive(&empty);
    sum += s[threadIdx.x];  // BUG wait BUG race
  }
  put(y, sum);
}
KERNEL(box_to_a_crooked_address) {
  __shared__ alignas(1024) unsigned short s[2 * NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  if (threadIdx.x == 0) copy_box(s + 8, strip, 0, 0, 0, &full);  // BUG misaligned
}
KERNEL(box_larger_than_its_target) {
  __shared__ alignas(1024) unsigned short s[NUMBERS / 2];
  __shared__ Mbarrier full;
  make(full, 1);
  if (threadIdx.x == 0) copy_box(s, strip, 0, 0, 0, &full);  // BUG out-of-bounds
}
KERNEL(box_left_behind) {
  __shared__ alignas(1024) unsigned short s[NUMBERS];
  __shared__ Mbarrier full;
  make(full, 1);
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(&full, BYTES);
    copy_box(s, strip, 0, 0, 0, &full);  // BUG wait
  }
}

// ---------------------------------------------------------------- wgmma
extern __shared__ __align__(1024) unsigned short large[];  // 33 KiB
#define TILE                \
  __shared__ Mbarrier full; \
  float sums[128] = {};     \
  make(full, 1);            \
  fetch(large, tile, 2 * 256 * 64, full)
KERNEL(wgmma_before_its_tile_is_there) {
  TILE;
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));  // BUG wait BUG uninitialised
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[0]);
}
KERNEL(sums_without_wait) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));
  wgmma_commit();
  put(y, sums[threadIdx.x]);  // BUG wait
  wgmma_wait<0>();
}
KERNEL(wgmma_wait_too_lax) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));
  wgmma_commit();
  wgmma_wait<1>();
  put(y, sums[threadIdx.x]);  // BUG wait
}
KERNEL(wgmma_without_commit) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);  // BUG wait
}
KERNEL(wgmma_without_fence) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_bf16(sums, operand(large), operand(large));  // BUG fence
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);
}
KERNEL(sums_changed_without_a_new_fence) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  for (int i = 0; i < 2; i++) {
    wgmma_bf16(sums, operand(large), operand(large));  // BUG fence
    wgmma_commit();
    wgmma_wait<0>();
    sums[threadIdx.x] *= 2;
  }
  put(y, sums[threadIdx.x]);
}
KERNEL(wgmma_left_behind) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));  // BUG wait
  wgmma_commit();
}
KERNEL(tile_refilled_under_a_wgmma) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));
  wgmma_commit();
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrier_arrive_expect(&full, 2 * 256 * 64);
    copy_box(large, tile, 0, 0, 0, &full);  // BUG wait
  }
  wgmma_wait<0>();
  mbarrier_wait(&full, 1);
  put(y, sums[threadIdx.x]);
}
KERNEL(another_swizzle) {
  TILE;
  mbarrier_wait(&full, 0);
  const unsigned long long by_64 = (shared_address(large) >> 4) | 64ull << 32 | 2ull << 62;
  wgmma_fence();
  wgmma_bf16(sums, operand(large), by_64);  // BUG swizzle
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);
}
KERNEL(tile_between_two_patterns) {
  __shared__ Mbarrier full;
  float sums[128] = {};
  make(full, 1);
  fetch(large + 256, tile, 2 * 256 * 64, full);
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma_bf16(sums, operand(large + 256), operand(large + 256));  // BUG misaligned
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);
}
KERNEL(operand_of_threads_without_fence) {
  for (int i = threadIdx.x; i < 256 * 64; i += 128) large[i] = 0;
  __syncthreads();
  float sums[128] = {};
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));  // BUG fence
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);
}
KERNEL(stride_beyond_the_tile) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  const unsigned long long too_far = operand(large) + (64ull << 32);
  wgmma_bf16(sums, operand(large), too_far);  // BUG out-of-bounds BUG uninitialised
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);
}
KERNEL(wgmma_by_half_a_warp) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  if (threadIdx.x % 32 < 16) wgmma_bf16(sums, operand(large), operand(large));  // BUG shuffle
  wgmma_commit();
  wgmma_wait<0>();  // BUG shuffle
  put(y, sums[threadIdx.x]);
}
KERNEL(wgmma_by_three_warps) {  // LAUNCH 1 96
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma_bf16(sums, operand(large), operand(large));  // BUG shuffle
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);
}
KERNEL(wgmma_that_one_warp_leaves_out) {
  TILE;
  mbarrier_wait(&full, 0);
  wgmma_fence();
  if (threadIdx.x >= 32) wgmma_bf16(sums, operand(large), operand(large));  // BUG shuffle
  wgmma_commit();
  wgmma_wait<0>();
  put(y, sums[threadIdx.x]);
}
