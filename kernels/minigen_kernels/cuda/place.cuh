// Where an element of an operand lies in global memory; or it is 0, and `at` some place in the operand
// all the same. Not a number, so that whoever fills a tile may have it copied past the registers.
#pragma once

template <class T>
struct Place {
  const T* at;
  bool is_there;
  __device__ __forceinline__ T number() const { return is_there ? *at : T(0); }
};
