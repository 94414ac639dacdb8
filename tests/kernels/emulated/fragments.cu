// One instruction each, with its operands and result by lane: what the tests of fragments launch.
#include "ptx.cuh"
#define MMA(NAME)                                                                                  \
  extern "C" __global__ void NAME##_lanes(const unsigned* a, const unsigned* b, float* d) {        \
    unsigned ra[4], rb[2];                                                                         \
    float rd[4];                                                                                   \
    for (int i = 0; i < 4; i++) ra[i] = a[4 * threadIdx.x + i];                                    \
    for (int i = 0; i < 2; i++) rb[i] = b[2 * threadIdx.x + i];                                    \
    for (int i = 0; i < 4; i++) rd[i] = d[4 * threadIdx.x + i];                                    \
    NAME(rd, ra, rb);                                                                              \
    for (int i = 0; i < 4; i++) d[4 * threadIdx.x + i] = rd[i];                                    \
  }
MMA(mma_bf16)
MMA(mma_f16)
MMA(mma_tf32)

#define LDMATRIX(NAME, N)                                                                          \
  extern "C" __global__ void NAME##_lanes(const unsigned short* matrices, unsigned* out, int pad) {\
    __shared__ alignas(16) unsigned short rows[8 * N * 16];                                        \
    for (int i = threadIdx.x; i < 64 * N; i += 32) rows[i / 8 * pad + i % 8] = matrices[i];        \
    __syncthreads();                                                                               \
    unsigned r[N];                                                                                 \
    NAME(r, rows + threadIdx.x % (8 * N) * pad);                                                   \
    for (int i = 0; i < N; i++) out[N * threadIdx.x + i] = r[i];                                   \
  }
LDMATRIX(ldmatrix_x1, 1)
LDMATRIX(ldmatrix_x2, 2)
LDMATRIX(ldmatrix_x4, 4)
LDMATRIX(ldmatrix_x1_trans, 1)
LDMATRIX(ldmatrix_x2_trans, 2)
LDMATRIX(ldmatrix_x4_trans, 4)

extern "C" __global__ void conversions(const float* x, unsigned short* bf16, unsigned short* f16,
                                       unsigned* tf32, unsigned* pairs, float* back) {
  int i = threadIdx.x;
  bf16[i] = float_to_bf16(x[i]);
  f16[i] = float_to_f16(x[i]);
  tf32[i] = float_to_tf32(x[i]);
  pairs[2 * i] = pack_bf16(x[i], 1.0f);
  pairs[2 * i + 1] = pack_f16(1.0f, x[i]);
  back[2 * i] = bf16_to_float(bf16[i]);
  back[2 * i + 1] = f16_to_float(f16[i]);
}
