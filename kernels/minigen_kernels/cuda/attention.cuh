// What the attention kernels are told, and how a score is masked.
#pragma once

struct Attention {
  int T, S, d, dv;       // queries, keys, width of q and k, width of v
  long long mask_batch;  // elements from one mask of the batch to the next; 0: one mask for all
  int is_causal;         // query i looks at keys 0 ... i
};

template <class T>
struct Mask {  // one of both, or neither
  const unsigned char* allowed;
  const T* added;
};

template <class T>
__device__ __forceinline__ T minus_infinity() {
  return -(T)__int_as_float(0x7f800000);
}

template <class T>
__device__ __forceinline__ T masked(T score, const Mask<T>& mask, const Attention& g, int b, int i,
                                    int j) {
  if (j >= g.S || (g.is_causal && j > i)) return minus_infinity<T>();
  long long at = b * g.mask_batch + (long long)i * g.S + j;
  if (mask.allowed) return mask.allowed[at] ? score : minus_infinity<T>();
  return mask.added ? score + mask.added[at] : score;
}
