// One kernel, one bug. The line that must be reported ends in a comment: BUG and the error's kind;
// where either of two lines may be found first, both do. LAUNCH: other blocks and threads than 2, 64.
// x and y have 128 floats, n is 128; dynamic shared memory has 256 bytes.
#include "ptx.cuh"
#define KERNEL(NAME) extern "C" __global__ void NAME(float* x, float* y, int n)

// ---------------------------------------------------------------- races
KERNEL(no_barrier_before_reading) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = 0;
  __syncthreads();
  s[t] = x[t];      // BUG race
  y[blockIdx.x * 64 + t] = s[63 - t];  // BUG race
}
KERNEL(no_barrier_before_the_next_tile) {
  __shared__ float s[64];
  int t = threadIdx.x;
  float sum = 0;
  for (int k = 0; k < 2; k++) {
    s[t] = x[k * 64 + t];  // BUG race
    __syncthreads();
    for (int i = 0; i < 64; i++) sum += s[i];  // BUG race
  }
  y[blockIdx.x * 64 + t] = sum;
}
KERNEL(tree_sum_without_barrier) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncthreads();
  for (int half = 32; half > 0; half /= 2)
    if (t < half) s[t] += s[t + half];  // BUG race
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[0];
}
KERNEL(sum_of_threads_without_atomic) {
  if (blockIdx.x == 0) y[0] += x[threadIdx.x];  // BUG race
}
KERNEL(sum_of_blocks_without_atomic) {
  if (threadIdx.x == 0) y[0] += x[blockIdx.x];  // BUG race
}
KERNEL(warp_exchange_without_syncwarp) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = 0;
  __syncwarp();
  s[t] = x[t];      // BUG race
  y[blockIdx.x * 64 + t] = s[t ^ 1];  // BUG race
}
KERNEL(warp_synchronous_volatile) {
  __shared__ volatile float s[64];
  int t = threadIdx.x;
  s[t] = x[t];
  __syncthreads();
  if (t < 16) {
    s[t] = s[t] + s[t + 16];  // BUG race
    s[t] = s[t] + s[t + 8];   // BUG race
  }
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[0];
}
KERNEL(syncwarp_for_a_whole_block) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = 0;
  __syncthreads();
  s[t] = x[t];      // BUG race
  __syncwarp();
  y[blockIdx.x * 64 + t] = s[63 - t];  // BUG race
}
KERNEL(syncwarp_of_half_a_warp) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = 0;
  __syncwarp();
  s[t] = x[t];      // BUG race
  __syncwarp(t % 32 < 16 ? 0x0000ffffu : 0xffff0000u);
  y[blockIdx.x * 64 + t] = s[t ^ 16];  // BUG race
}
KERNEL(two_threads_write_one_element) {
  int i = blockIdx.x * 64 + threadIdx.x;
  y[i] = x[i];                   // BUG race
  if (i + 1 < n) y[i + 1] = x[i];  // BUG race
}
KERNEL(blocks_overlap_by_one) {
  int i = blockIdx.x * 63 + threadIdx.x;
  y[i] = x[i];  // BUG race
}
KERNEL(histogram_without_atomic) {
  __shared__ int counts[4];
  int t = threadIdx.x;
  if (t < 4) counts[t] = 0;
  __syncthreads();
  counts[t % 4]++;  // BUG race
  __syncthreads();
  y[blockIdx.x * 64 + t] = counts[t % 4];
}
KERNEL(stencil_in_place) {
  int t = threadIdx.x;
  if (blockIdx.x == 0 && t > 0) x[t] = 0.5f * (x[t - 1] + x[t]);  // BUG race
}
KERNEL(last_block_without_fence) {
  __shared__ bool last;
  int t = threadIdx.x;
  y[blockIdx.x * 64 + t] = x[t];
  __syncthreads();
  if (t == 0) last = atomicAdd((int*)&x[127], 1) == __float_as_int(0.0f) + 1;
  __syncthreads();
  if (last && t == 0)
    for (int i = 1; i < 128; i++) y[0] += y[i];  // BUG race
}
KERNEL(prefix_sum_with_one_buffer) {
  __shared__ float s[64];
  int t = threadIdx.x;
  s[t] = x[t];
  for (int by = 1; by < 64; by *= 2) {
    __syncthreads();
    if (t >= by) s[t] += s[t - by];  // BUG race
  }
  y[blockIdx.x * 64 + t] = s[t];
}
KERNEL(double_buffer_of_one) {
  __shared__ float s[2][64];
  int t = threadIdx.x;
  float sum = 0;
  s[0][t] = x[t];
  for (int k = 0; k < 4; k++) {
    __syncthreads();
    s[k % 2][t] = x[t];    // BUG race
    sum += s[k % 2][t ^ 33];  // BUG race
  }
  y[blockIdx.x * 64 + t] = sum;
}
KERNEL(plain_read_of_an_atomic_counter) {
  int* counter = (int*)y;
  atomicAdd(counter, 1);  // BUG race
  if (threadIdx.x == 5) x[blockIdx.x] = *counter;  // BUG race
  atomicAdd(counter, 1);  // BUG race
}
KERNEL(message_by_plain_stores) {
  if (threadIdx.x == 0 && blockIdx.x == 0) y[0] = 1;  // BUG race
  if (threadIdx.x == 0 && blockIdx.x == 1) x[0] = y[0];  // BUG race
}
KERNEL(bytes_that_meet) {
  unsigned char* bytes = (unsigned char*)y;
  int t = threadIdx.x;
  if (blockIdx.x == 0) bytes[t / 2] = t;  // BUG race
}

// ---------------------------------------------------------------- uninitialised
KERNEL(halo_never_written) {
  __shared__ float s[66];
  int t = threadIdx.x;
  s[t + 1] = x[t];
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[t] + s[t + 1] + s[t + 2];  // BUG uninitialised
}
KERNEL(dynamic_shared_never_written) {
  extern __shared__ float tile[];
  y[blockIdx.x * 64 + threadIdx.x] = tile[threadIdx.x];  // BUG uninitialised
}
KERNEL(counter_not_zeroed) {
  __shared__ int counter;
  atomicAdd(&counter, 1);  // BUG uninitialised
  __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = counter;
}
KERNEL(tile_left_from_another_block) {
  __shared__ float s[64];
  int t = threadIdx.x;
  if (blockIdx.x == 0) s[t] = x[t];
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[t];  // BUG uninitialised
}
KERNEL(last_tile_half_written) {
  __shared__ float s[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  if (i < n - 20) s[t] = x[i];
  __syncthreads();
  float sum = 0;
  for (int k = 0; k < 64; k++) sum += s[k];  // BUG uninitialised
  y[i] = sum;
}

// ---------------------------------------------------------------- out of bounds
KERNEL(no_guard_at_the_tail) {  // LAUNCH 3 64
  int i = blockIdx.x * 64 + threadIdx.x;
  y[i] = 1;  // BUG out-of-bounds
}
KERNEL(reads_one_too_far) {
  int i = blockIdx.x * 64 + threadIdx.x;
  y[i] = x[i + 1];  // BUG out-of-bounds
}
KERNEL(reads_before_the_start) {
  int i = blockIdx.x * 64 + threadIdx.x;
  y[i] = x[i - 1];  // BUG out-of-bounds
}
KERNEL(rows_and_columns_exchanged) {
  int row = blockIdx.x * 64 + threadIdx.x;
  if (row < 128) y[row] = x[row * 2];  // BUG out-of-bounds
}
KERNEL(static_shared_too_small) {
  __shared__ float s[63];
  int t = threadIdx.x;
  s[t] = x[t];  // BUG out-of-bounds
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[0];
}
KERNEL(dynamic_shared_too_small) {
  extern __shared__ float tile[];
  tile[threadIdx.x + 1] = 1;  // BUG out-of-bounds
}
KERNEL(inner_index_too_large) {
  __shared__ float s[8][8];
  int t = threadIdx.x;
  s[0][t] = x[t];  // BUG out-of-bounds
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[t / 8][t % 8];
}
KERNEL(local_array_too_small) {
  float acc[4] = {};
  for (int i = 0; i <= n / 32; i++) acc[i] += x[i];  // BUG out-of-bounds
  y[blockIdx.x * 64 + threadIdx.x] = acc[0] + acc[1] + acc[2] + acc[3];
}
KERNEL(null_pointer) {
  const float* bias = n > 1000 ? x : nullptr;
  y[blockIdx.x * 64 + threadIdx.x] = bias[threadIdx.x];  // BUG out-of-bounds
}
KERNEL(pointer_to_a_local_of_another) {
  __shared__ float* p;
  float mine = x[threadIdx.x];
  if (threadIdx.x == 0) p = &mine;
  __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = *p;  // BUG out-of-bounds
  __syncthreads();
}
KERNEL(float4_across_the_end) {
  int i = blockIdx.x * 64 + threadIdx.x;
  float4 v = ((const float4*)x)[i];  // BUG out-of-bounds
  y[i] = v.x + v.y + v.z + v.w;
}

// ---------------------------------------------------------------- misaligned
KERNEL(float4_off_by_one) {
  float4* p = (float4*)(y + 1 + 4 * threadIdx.x % 64);
  if (blockIdx.x == 0 && threadIdx.x < 8) *p = make_float4(1, 2, 3, 4);  // BUG misaligned
}
KERNEL(double_at_an_odd_float) {
  if (blockIdx.x == 0 && threadIdx.x == 3) *(double*)(y + 3) = 1;  // BUG misaligned
}
KERNEL(cp_async_off_by_one) {
  __shared__ alignas(16) float s[68];
  if (threadIdx.x < 16) cp_async<16>(s + 4 * threadIdx.x, x + 4 * threadIdx.x + 1);  // BUG misaligned
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  y[blockIdx.x * 64 + threadIdx.x] = s[threadIdx.x];
}
KERNEL(ldmatrix_off_by_one) {
  __shared__ alignas(16) unsigned short s[64 * 9];
  int t = threadIdx.x;
  for (int i = t; i < 64 * 9; i += 64) s[i] = i;
  __syncthreads();
  unsigned r[1];
  ldmatrix_x1(r, s + t % 8 * 9);  // BUG misaligned
  y[blockIdx.x * 64 + t] = r[0];
}

// ---------------------------------------------------------------- barriers
KERNEL(return_before_barrier) {  // LAUNCH 3 50
  int i = blockIdx.x * 50 + threadIdx.x;
  if (i >= n) return;
  __syncthreads();  // BUG barrier
  y[i] = x[i];
}
KERNEL(barrier_for_one_warp) {
  if (threadIdx.x < 32) __syncthreads();  // BUG barrier
  y[blockIdx.x * 64 + threadIdx.x] = 1;
}
KERNEL(two_barriers_for_one) {
  if (threadIdx.x < 32) {
    __syncthreads();  // BUG barrier
  } else {
    __syncthreads();  // BUG barrier
  }
  y[blockIdx.x * 64 + threadIdx.x] = 1;
}
KERNEL(barrier_in_a_loop_of_unequal_length) {
  for (int i = 0; i < (int)threadIdx.x; i++) __syncthreads();  // BUG barrier
}
KERNEL(syncwarp_against_syncthreads) {
  if (threadIdx.x % 2)
    __syncwarp();  // BUG barrier
  else
    __syncthreads();  // BUG barrier
}
KERNEL(vote_against_barrier) {
  if (threadIdx.x < 10)
    y[threadIdx.x] = __syncthreads_count(1);  // BUG barrier
  else
    __syncthreads();  // BUG barrier
}

// ---------------------------------------------------------------- shuffles
KERNEL(shuffle_with_lanes_that_returned) {
  int t = threadIdx.x;
  if (t > 20) return;
  y[blockIdx.x * 64 + t] = __shfl_xor_sync(0xffffffffu, x[t], 1);  // BUG shuffle
}
KERNEL(shuffle_in_a_branch) {
  int t = threadIdx.x;
  if (t % 2) y[blockIdx.x * 64 + t] = __shfl_down_sync(0xffffffffu, x[t], 2);  // BUG shuffle
  __syncthreads();  // BUG barrier
}
KERNEL(shuffle_outside_its_own_mask) {
  int t = threadIdx.x;
  y[blockIdx.x * 64 + t] = __shfl_sync(0x0000ffffu, x[t], 0);  // BUG shuffle
}
KERNEL(shuffle_from_a_lane_outside_the_mask) {
  int t = threadIdx.x;
  if (t % 32 < 16) y[blockIdx.x * 64 + t] = __shfl_sync(0x0000ffffu, x[t], 20);  // BUG shuffle
}
KERNEL(shuffle_beyond_the_block) {  // LAUNCH 1 20
  float v = x[threadIdx.x];
  for (int by = 16; by > 0; by /= 2) v += __shfl_down_sync(0xffffffffu, v, by);  // BUG shuffle
  y[threadIdx.x] = v;
}
KERNEL(shuffles_that_differ) {
  int t = threadIdx.x;
  if (t % 2) {
    y[blockIdx.x * 64 + t] = __shfl_xor_sync(0xffffffffu, x[t], 2);  // BUG shuffle
  } else {
    y[blockIdx.x * 64 + t] = __shfl_xor_sync(0xffffffffu, (double)x[t], 2);  // BUG shuffle
  }
}
KERNEL(mma_by_half_a_warp) {
  unsigned a[4] = {}, b[2] = {};
  float d[4] = {};
  if (threadIdx.x % 32 < 16) mma_bf16(d, a, b);  // BUG shuffle
  y[blockIdx.x * 64 + threadIdx.x] = d[0];
}

// ---------------------------------------------------------------- waits
KERNEL(cp_async_without_wait) {
  __shared__ float s[64];
  int t = threadIdx.x;
  cp_async<4>(s + t, x + t);
  cp_async_commit();
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[63 - t];  // BUG wait
}
KERNEL(cp_async_wait_too_lax) {
  __shared__ float s[2][64];
  int t = threadIdx.x;
  for (int k = 0; k < 2; k++) {
    cp_async<4>(&s[k][t], x + 64 * k + t);
    cp_async_commit();
  }
  cp_async_wait<1>();
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[0][63 - t] + s[1][t];  // BUG wait
}
KERNEL(cp_async_without_commit) {
  __shared__ float s[64];
  int t = threadIdx.x;
  cp_async<4>(s + t, x + t);
  cp_async_wait<0>();
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[t];  // BUG wait
}
KERNEL(cp_async_wait_without_barrier) {
  __shared__ float s[64];
  int t = threadIdx.x;
  cp_async<4>(s + t, x + t);  // BUG race
  cp_async_commit();
  cp_async_wait<0>();
  y[blockIdx.x * 64 + t] = s[63 - t];  // BUG race BUG wait BUG uninitialised
}
KERNEL(write_under_a_pending_copy) {
  __shared__ float s[64];
  int t = threadIdx.x;
  cp_async<4>(s + t, x + t);
  cp_async_commit();
  if (t == 7) s[t] = 0;  // BUG wait
  cp_async_wait<0>();
  __syncthreads();
  y[blockIdx.x * 64 + t] = s[t];
}
KERNEL(returns_with_pending_copy) {
  __shared__ float s[64];
  cp_async<4>(s + threadIdx.x, x + threadIdx.x);  // BUG wait
  cp_async_commit();
}
KERNEL(pipeline_refills_what_is_being_read) {
  __shared__ float s[2][64];
  int t = threadIdx.x;
  float sum = 0;
  cp_async<4>(&s[0][t], x + t);
  cp_async_commit();
  for (int k = 0; k < 4; k++) {
    if (k < 3) cp_async<4>(&s[(k + 1) % 2][t], x + t);  // BUG race
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    sum += s[k % 2][63 - t];  // BUG race BUG wait
  }
  cp_async_wait<0>();
  y[blockIdx.x * 64 + t] = sum;
}

// ---------------------------------------------------------------- arithmetic and the rest
KERNEL(division_by_zero) {
  y[blockIdx.x * 64 + threadIdx.x] = n / (int)(threadIdx.x / 64);  // BUG arithmetic
}
KERNEL(shift_too_far) {
  y[blockIdx.x * 64 + threadIdx.x] = 1 << threadIdx.x;  // BUG arithmetic
}
KERNEL(index_overflows) {
  int i = 2000000000 + 10000000 * (int)threadIdx.x;  // BUG arithmetic
  y[blockIdx.x * 64 + threadIdx.x] = i > 0;
}
KERNEL(assertion) {
  assert(threadIdx.x < 63);  // BUG assert
}
KERNEL(trap) {
  if (x[threadIdx.x] > -1e9f) __trap();  // BUG trap
}
KERNEL(endless_loop) {
  if (blockIdx.x == 0 && threadIdx.x == 0)
    while (y[0] < 1) y[1] += 1;  // BUG hang
}
KERNEL(polls_for_what_nobody_writes) {
  if (blockIdx.x == 0 && threadIdx.x < 2)
    while (*(volatile float*)y < 1);  // BUG hang
}
extern "C" __global__ void writes_through_const(const float* x, float* y, int n) {
  ((float*)x)[threadIdx.x] = 1;  // BUG read-only
}
