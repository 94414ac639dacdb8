// Functions that CUDA has and C has not. Those that a GPU computes roughly (__expf, __sinf ...) are
// exact here: compare with a tolerance.
#pragma once

// ---------------------------------------------------------------- min, max of any two numbers
#define EMULATOR_MIN_MAX(T)                                    \
  constexpr T min(T a, T b) { return b < a ? b : a; }          \
  constexpr T max(T a, T b) { return a < b ? b : a; }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
constexpr unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
constexpr unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
constexpr unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
constexpr unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

// ---------------------------------------------------------------- floating point
// CUDA's sqrt(float) and the like give a float; abs is for any number.
#define EMULATOR_FLOAT(NAME)                        \
  inline float NAME(float x) { return NAME##f(x); } \
  namespace std {                                   \
  using ::NAME;                                     \
  }
#define EMULATOR_FLOAT_2(NAME)                                  \
  inline float NAME(float x, float y) { return NAME##f(x, y); } \
  namespace std {                                               \
  using ::NAME;                                                 \
  }
EMULATOR_FLOAT(sqrt) EMULATOR_FLOAT(cbrt) EMULATOR_FLOAT(exp) EMULATOR_FLOAT(exp2)
EMULATOR_FLOAT(expm1) EMULATOR_FLOAT(log) EMULATOR_FLOAT(log2) EMULATOR_FLOAT(log10)
EMULATOR_FLOAT(log1p) EMULATOR_FLOAT(sin) EMULATOR_FLOAT(cos) EMULATOR_FLOAT(tan)
EMULATOR_FLOAT(asin) EMULATOR_FLOAT(acos) EMULATOR_FLOAT(atan) EMULATOR_FLOAT(sinh)
EMULATOR_FLOAT(cosh) EMULATOR_FLOAT(tanh) EMULATOR_FLOAT(asinh) EMULATOR_FLOAT(acosh)
EMULATOR_FLOAT(atanh) EMULATOR_FLOAT(erf) EMULATOR_FLOAT(erfc) EMULATOR_FLOAT(tgamma)
EMULATOR_FLOAT(lgamma) EMULATOR_FLOAT(floor) EMULATOR_FLOAT(ceil) EMULATOR_FLOAT(trunc)
EMULATOR_FLOAT(round) EMULATOR_FLOAT(rint) EMULATOR_FLOAT(nearbyint) EMULATOR_FLOAT(fabs)
EMULATOR_FLOAT_2(pow) EMULATOR_FLOAT_2(atan2) EMULATOR_FLOAT_2(fmod) EMULATOR_FLOAT_2(hypot)
EMULATOR_FLOAT_2(fmin) EMULATOR_FLOAT_2(fmax) EMULATOR_FLOAT_2(copysign)
inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
inline float ldexp(float x, int n) { return ldexpf(x, n); }
extern "C" int abs(int) noexcept;
inline long abs(long x) { return x < 0 ? -x : x; }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline float abs(float x) { return fabsf(x); }
inline double abs(double x) { return fabs(x); }
namespace std {
using ::abs;
using ::fma;
using ::ldexp;
}  // namespace std
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(x * -0.70710678118654752f); }
inline double normcdf(double x) { return 0.5 * erfc(x * -0.70710678118654752); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frsqrt_rn(float a) { return 1.0f / sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }

// ---------------------------------------------------------------- bits and conversions
namespace emulator {
template <class To, class From>
inline __attribute__((always_inline)) To bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}
}  // namespace emulator
inline int __float_as_int(float x) { return emulator::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return emulator::bits<unsigned>(x); }
inline float __int_as_float(int x) { return emulator::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return emulator::bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulator::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator::bits<double>(x); }
inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
inline int __float2int_rd(float x) { return (int)floorf(x); }
inline int __float2int_ru(float x) { return (int)ceilf(x); }
inline int __float2int_rz(float x) { return (int)x; }
inline unsigned __float2uint_rn(float x) { return (unsigned)nearbyintf(x); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
inline float __double2float_rn(double x) { return (float)x; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; i++) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  unsigned long long both = (unsigned long long)y << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; i++)
    result |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)((((unsigned long long)high << 32 | low) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return (unsigned)(((unsigned long long)high << 32 | low) >> (shift & 31));
}
inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return (unsigned)((unsigned long long)a * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
inline int __mul24(int a, int b) { return (a << 8 >> 8) * (b << 8 >> 8); }
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++) c += (signed char)(a >> 8 * i) * (signed char)(b >> 8 * i);
  return c;
}

// ---------------------------------------------------------------- loads and stores with a hint
#define EMULATOR_LOAD(NAME)                                                    \
  template <class T>                                                           \
  inline __attribute__((always_inline)) T NAME(const T* address) {             \
    return *address;                                                           \
  }
EMULATOR_LOAD(__ldg)
EMULATOR_LOAD(__ldca)
EMULATOR_LOAD(__ldcg)
EMULATOR_LOAD(__ldcs)
EMULATOR_LOAD(__ldlu)
EMULATOR_LOAD(__ldcv)
#define EMULATOR_STORE(NAME)                                                   \
  template <class T>                                                           \
  inline __attribute__((always_inline)) void NAME(T* address, T value) {       \
    *address = value;                                                          \
  }
EMULATOR_STORE(__stwb)
EMULATOR_STORE(__stcg)
EMULATOR_STORE(__stcs)
EMULATOR_STORE(__stwt)

inline long long clock64() {
  static long long ticks;
  return ++ticks;
}
inline int clock() { return (int)clock64(); }
