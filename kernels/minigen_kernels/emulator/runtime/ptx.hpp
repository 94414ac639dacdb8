// The wrappers of cuda/ptx.cuh, emulated: same names, same meaning, no inline assembly. Those of
// sm_90a are in hopper.hpp.
//
// Fragments as in the PTX ISA, "Matrix Fragments for mma": lane 4g + t of the warp holds of A the
// rows g and g + 8, of B the column g, of C the rows g and g + 8 in the columns 2t and 2t + 1.
#pragma once

// ---------------------------------------------------------------- numbers of 16 and 19 bits
inline float bf16_to_float(unsigned short h) { return __uint_as_float((unsigned)h << 16); }
inline unsigned short float_to_bf16(float x) {  // to the nearest, ties to even
  unsigned bits = __float_as_uint(x);
  if (x != x) return 0x7fff;
  return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float f16_to_float(unsigned short h) { return (float)emulator::bits<_Float16>(h); }
inline unsigned short float_to_f16(float x) {
  return emulator::bits<unsigned short>((_Float16)x);
}
inline unsigned pack_bf16(float low, float high) {
  return float_to_bf16(low) | (unsigned)float_to_bf16(high) << 16;
}
inline unsigned pack_f16(float low, float high) {
  return float_to_f16(low) | (unsigned)float_to_f16(high) << 16;
}
// Ten bits of mantissa, to the nearest, ties away from zero.
inline unsigned float_to_tf32(float x) {
  unsigned bits = __float_as_uint(x);
  bool finite = (bits & 0x7f800000) != 0x7f800000;
  return finite ? (bits + 0x1000) & 0xffffe000 : bits;
}

// ---------------------------------------------------------------- tensor cores
namespace emulator {

struct Fragments {
  unsigned a[4], b[2];
};

// The element (row, k) of A and (k, column) of B, from the registers of the lane that holds it.
// DEPTH 16: two 16-bit numbers per register; DEPTH 8: one 32-bit number.
template <int DEPTH, float (*TO_FLOAT)(unsigned)>
EMULATOR_OWN float a_element(const Mail<Fragments>& mail, int row, int k) {
  const int packed = DEPTH / 8, upper = k / (DEPTH / 2), within = k % (DEPTH / 2);
  unsigned reg = mail.from[4 * (row % 8) + within / packed].a[2 * upper + row / 8];
  return TO_FLOAT(reg >> (16 * (within % packed)));
}
template <int DEPTH, float (*TO_FLOAT)(unsigned)>
EMULATOR_OWN float b_element(const Mail<Fragments>& mail, int k, int column) {
  const int packed = DEPTH / 8, upper = k / (DEPTH / 2), within = k % (DEPTH / 2);
  unsigned reg = mail.from[4 * column + within / packed].b[upper];
  return TO_FLOAT(reg >> (16 * (within % packed)));
}

template <int DEPTH, float (*TO_FLOAT)(unsigned)>
EMULATOR_OWN void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Place place) {
  Fragments mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const Mail<Fragments> mail = gather(Collective::matrix, 0xffffffffu, mine, place);
  int g = current.lane / 4, t = current.lane % 4;
  for (int i = 0; i < 4; i++) {
    int row = g + i / 2 * 8, column = 2 * t + i % 2;
    for (int k = 0; k < DEPTH; k++) {
      float left = a_element<DEPTH, TO_FLOAT>(mail, row, k);
      d[i] += left * b_element<DEPTH, TO_FLOAT>(mail, k, column);
    }
  }
}

EMULATOR_OWN inline float from_bf16(unsigned bits) { return bf16_to_float((unsigned short)bits); }
EMULATOR_OWN inline float from_f16(unsigned bits) { return f16_to_float((unsigned short)bits); }
EMULATOR_OWN inline float from_tf32(unsigned bits) {  // the tensor core ignores the low 13 bits
  return __uint_as_float(bits & 0xffffe000);
}

}  // namespace emulator

inline void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     emulator::Place here = EMULATOR_HERE) {
  emulator::mma<16, emulator::from_bf16>(d, a, b, here);
}
inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                    emulator::Place here = EMULATOR_HERE) {
  emulator::mma<16, emulator::from_f16>(d, a, b, here);
}
inline void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                     emulator::Place here = EMULATOR_HERE) {
  emulator::mma<8, emulator::from_tf32>(d, a, b, here);
}

// ---------------------------------------------------------------- ldmatrix
namespace emulator {

// Matrix m of 8 x 8 16-bit numbers has its row r where lane 8m + r points to. Lane l gets the
// elements 2 (l % 4) and the next of row l / 4; of the transposed matrix with TRANSPOSED.
template <int N, bool TRANSPOSED>
EMULATOR_OWN void load_matrices(unsigned (&r)[N], const void* row, Place place) {
  if ((uintptr_t)row & 15) fault("misaligned", "ldmatrix: a row must be 16-byte aligned", place);
  const Mail<const void*> rows = gather(Collective::matrix, 0xffffffffu, row, place);
  int line = current.lane / 4, pair = current.lane % 4 * 2;
  for (int m = 0; m < N; m++) {
    r[m] = 0;
    for (int half = 0; half < 2; half++) {
      int i = TRANSPOSED ? pair + half : line, j = TRANSPOSED ? line : pair + half;
      r[m] |= (unsigned)((const unsigned short*)rows.from[8 * m + i])[j] << 16 * half;
    }
  }
}

template <int N, bool TRANSPOSED>
__forceinline__ void ldmatrix(unsigned (&r)[N], const void* row, Place place) {
  if (current.lane < 8 * N) note_matrix_row(row, place);  // each of these lanes answers for one row
  load_matrices<N, TRANSPOSED>(r, row, place);
}

}  // namespace emulator

#define EMULATOR_LDMATRIX(N)                                                                   \
  __forceinline__ void ldmatrix_x##N(unsigned (&r)[N], const void* row,                        \
                                     emulator::Place here = EMULATOR_HERE) {                   \
    emulator::ldmatrix<N, false>(r, row, here);                                                \
  }                                                                                            \
  __forceinline__ void ldmatrix_x##N##_trans(unsigned (&r)[N], const void* row,                \
                                             emulator::Place here = EMULATOR_HERE) {           \
    emulator::ldmatrix<N, true>(r, row, here);                                                 \
  }
EMULATOR_LDMATRIX(1)
EMULATOR_LDMATRIX(2)
EMULATOR_LDMATRIX(4)

// ---------------------------------------------------------------- cp.async
template <int BYTES>
__forceinline__ void cp_async(void* target, const void* source, bool valid = true,
                              emulator::Place here = EMULATOR_HERE) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16);
  emulator::copy_issue(target, source, BYTES, valid ? BYTES : 0, here);
}
inline void cp_async_commit() { emulator::copy_commit(); }
template <int PENDING>
inline void cp_async_wait() {
  emulator::copy_wait(PENDING);
}

#include "hopper.hpp"
