// float4 and its relatives: the types, their alignment, and make_float4 ...
#pragma once

#define EMULATOR_VECTORS(T, NAME)                                                   \
  struct NAME##1 {                                                                  \
    T x;                                                                            \
  };                                                                                \
  struct alignas(2 * sizeof(T)) NAME##2 {                                           \
    T x, y;                                                                         \
  };                                                                                \
  struct NAME##3 {                                                                  \
    T x, y, z;                                                                      \
  };                                                                                \
  struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) NAME##4 {                      \
    T x, y, z, w;                                                                   \
  };                                                                                \
  constexpr NAME##1 make_##NAME##1(T x) { return {x}; }                             \
  constexpr NAME##2 make_##NAME##2(T x, T y) { return {x, y}; }                     \
  constexpr NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; }             \
  constexpr NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }

EMULATOR_VECTORS(signed char, char)
EMULATOR_VECTORS(unsigned char, uchar)
EMULATOR_VECTORS(short, short)
EMULATOR_VECTORS(unsigned short, ushort)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(long, long)
EMULATOR_VECTORS(unsigned long, ulong)
EMULATOR_VECTORS(long long, longlong)
EMULATOR_VECTORS(unsigned long long, ulonglong)
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)

struct uint1 {
  unsigned x;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
constexpr uint1 make_uint1(unsigned x) { return {x}; }
constexpr uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
constexpr uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
