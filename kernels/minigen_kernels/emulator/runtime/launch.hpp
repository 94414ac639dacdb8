// From an array of pointers to arguments, as cuLaunchKernel takes them, to a call of the kernel.
// The types are those of its own signature; launch.py is told them, to check what it is given.
#pragma once

namespace emulator {

// A parameter in five characters or so: kind, size, and for a pointer what it points to.
template <class T>
constexpr char kind_of() {
  if constexpr (__is_same(T, bool)) return 'b';
  else if constexpr (__is_class(T) || __is_union(T)) return 's';
  else if constexpr (__is_same(T, float) || __is_same(T, double)) return 'f';
  else return T(-1) < T(0) ? 'i' : 'u';
}

template <class T>
struct Describe {
  static void print(FILE* out) { fprintf(out, "%c%zu ", kind_of<T>(), sizeof(T)); }
};
template <class T>
struct Describe<const T> : Describe<T> {};
template <class T>
struct Describe<T*> {
  static void print(FILE* out) { fprintf(out, "pw%c%zu ", kind_of<T>(), sizeof(T)); }
};
template <class T>
struct Describe<const T*> {
  static void print(FILE* out) { fprintf(out, "pr%c%zu ", kind_of<T>(), sizeof(T)); }
};
template <class T>
struct Describe<volatile T*> : Describe<T*> {};
template <class T>
struct Describe<const volatile T*> : Describe<const T*> {};
template <>
struct Describe<void*> {
  static void print(FILE* out) { fprintf(out, "pwv1 "); }
};
template <>
struct Describe<const void*> {
  static void print(FILE* out) { fprintf(out, "prv1 "); }
};
template <class T>
struct Describe<T**> {
  static void print(FILE* out) { fprintf(out, "pwu8 "); }
};

template <class... A>
const char* signature(void (*)(A...)) {
  static char text[64 * 8 + 1];
  FILE* out = fmemopen(text, sizeof text, "w");
  (Describe<A>::print(out), ...);
  fclose(out);
  return text;
}

template <size_t... I>
struct Indices {};
template <class... A, size_t... I>
EMULATOR_OWN void call(void (*kernel)(A...), void** arguments, Indices<I...>) {
  kernel(*(A*)arguments[I]...);
}
template <size_t N, size_t... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <size_t... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};
template <class... A>
EMULATOR_OWN void call(void (*kernel)(A...), void** arguments) {
  call(kernel, arguments, typename MakeIndices<sizeof...(A)>::type{});
}

}  // namespace emulator

// What the loader writes behind the source, once per kernel; KERNEL is its name with namespaces.
#define EMULATOR_KERNEL(NAME, KERNEL)                                                        \
  extern "C" const char* emulator_signature_##NAME() { return emulator::signature(KERNEL); } \
  EMULATOR_OWN static void emulator_call_##NAME(void** arguments) {                          \
    emulator::call(KERNEL, arguments);                                                       \
  }                                                                                          \
  extern "C" EMULATOR_OWN int emulator_launch_##NAME(const emulator::Launch* launch) {       \
    static thread_local char in_shared_memory;                                               \
    return emulator::run(*launch, emulator_call_##NAME, &in_shared_memory);                  \
  }
