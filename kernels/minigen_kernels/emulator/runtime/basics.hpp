// A growing list and a formatted text. The headers of the C++ library would cost ten times the rest
// of the runtime to compile, and every user compiles it once.
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace emulator {

template <class T>  // of plain data: moved by memcpy, nothing to destroy
struct List {
  T* items = nullptr;
  size_t count = 0, room = 0;

  void push(const T& item) {
    if (count == room) {
      T copy = item;  // it may be one of ours
      room = room ? 2 * room : 16;
      items = (T*)realloc((void*)items, room * sizeof(T));
      if (!items) abort();
      items[count++] = copy;
      return;
    }
    items[count++] = item;
  }
  void clear() { count = 0; }
  T* begin() { return items; }
  T* end() { return items + count; }
  T& operator[](size_t i) { return items[i]; }
};

struct Text {
  char text[400];
  operator const char*() const { return text; }
};
__attribute__((format(printf, 1, 2))) inline Text format(const char* form, ...) {
  Text result;
  va_list arguments;
  va_start(arguments, form);
  vsnprintf(result.text, sizeof result.text, form, arguments);
  va_end(arguments);
  return result;
}

template <class T>
void swap(T& a, T& b) {
  T c = a;
  a = b;
  b = c;
}

}  // namespace emulator
