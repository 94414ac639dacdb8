// Shuffles, votes, reductions of a warp: all of them are one exchange, and a choice from it.
#pragma once

namespace emulator {

template <class T>
struct Mail {
  T from[32];  // what each lane gave
  unsigned present;
};

template <class T>
EMULATOR_OWN Mail<T> gather(Collective collective, unsigned mask, const T& mine, Place place) {
  static_assert(sizeof(T) <= 64, "a warp collective moves at most 64 bytes per lane");
  Mail<T> mail;
  mail.present = exchange(collective, mask, &mine, mail.from, sizeof(T), place);
  return mail;
}

// The value of one lane. A lane outside the mask gives an undefined value (NaN here), which is no
// fault as long as nobody uses it; but to name it, or a lane that does not exist, is one.
template <class T>
EMULATOR_OWN T take(const Mail<T>& mail, int source, bool named, Place place) {
  if (!(mail.present >> source & 1)) {
    if (lane_is_absent(source)) fault("shuffle", "the lane to read from does not exist", place);
    if (named) fault("shuffle", "the lane to read from is not in the mask", place);
  }
  return mail.from[source];
}

}  // namespace emulator

template <class T>
EMULATOR_OWN T __shfl_sync(unsigned mask, T value, int source, int width = 32,
                           emulator::Place here = EMULATOR_HERE) {
  int lane = emulator::current.lane;
  auto mail = emulator::gather(emulator::Collective::shuffle, mask, value, here);
  return emulator::take(mail, (lane & ~(width - 1)) | (source & (width - 1)), true, here);
}
template <class T>
EMULATOR_OWN T __shfl_xor_sync(unsigned mask, T value, int flip, int width = 32,
                               emulator::Place here = EMULATOR_HERE) {
  int lane = emulator::current.lane, source = lane ^ flip;
  auto mail = emulator::gather(emulator::Collective::shuffle, mask, value, here);
  bool beyond = (source & ~(width - 1)) > lane;
  return beyond ? value : emulator::take(mail, source & 31, true, here);
}
template <class T>
EMULATOR_OWN T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32,
                                emulator::Place here = EMULATOR_HERE) {
  int lane = emulator::current.lane;
  auto mail = emulator::gather(emulator::Collective::shuffle, mask, value, here);
  bool beyond = (lane & (width - 1)) + (int)by >= width;
  return beyond ? value : emulator::take(mail, lane + (int)by, false, here);
}
template <class T>
EMULATOR_OWN T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32,
                              emulator::Place here = EMULATOR_HERE) {
  int lane = emulator::current.lane;
  auto mail = emulator::gather(emulator::Collective::shuffle, mask, value, here);
  bool beyond = (lane & (width - 1)) < (int)by;
  return beyond ? value : emulator::take(mail, lane - (int)by, false, here);
}

EMULATOR_OWN inline unsigned __ballot_sync(unsigned mask, int predicate,
                                           emulator::Place here = EMULATOR_HERE) {
  auto mail = emulator::gather(emulator::Collective::vote, mask, int(predicate != 0), here);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; lane++)
    if (mail.present >> lane & 1) bits |= unsigned(mail.from[lane]) << lane;
  return bits;
}
EMULATOR_OWN inline int __any_sync(unsigned mask, int predicate,
                                   emulator::Place here = EMULATOR_HERE) {
  return __ballot_sync(mask, predicate, here) != 0;
}
EMULATOR_OWN inline int __all_sync(unsigned mask, int predicate,
                                   emulator::Place here = EMULATOR_HERE) {
  return __ballot_sync(mask, !predicate, here) == 0;
}
// A thread of a diverged warp may always find itself alone.
inline unsigned __activemask() { return 1u << emulator::current.lane; }

template <class T>
EMULATOR_OWN unsigned __match_any_sync(unsigned mask, T value,
                                       emulator::Place here = EMULATOR_HERE) {
  auto mail = emulator::gather(emulator::Collective::vote, mask, value, here);
  unsigned bits = 0;
  for (int lane = 0; lane < 32; lane++)
    if (mail.present >> lane & 1) bits |= unsigned(mail.from[lane] == value) << lane;
  return bits;
}

#define EMULATOR_REDUCE(NAME, NEXT)                                                             \
  template <class T>                                                                            \
  EMULATOR_OWN T NAME(unsigned mask, T value, emulator::Place here = EMULATOR_HERE) {           \
    auto mail = emulator::gather(emulator::Collective::vote, mask, value, here);                \
    int own = emulator::current.lane;                                                           \
    T total = value;                                                                            \
    for (int lane = 0; lane < 32; lane++) {                                                     \
      if (lane == own || !(mail.present >> lane & 1)) continue;                                 \
      T other = mail.from[lane];                                                                \
      total = NEXT;                                                                             \
    }                                                                                           \
    return total;                                                                               \
  }
EMULATOR_REDUCE(__reduce_add_sync, total + other)
EMULATOR_REDUCE(__reduce_min_sync, other < total ? other : total)
EMULATOR_REDUCE(__reduce_max_sync, total < other ? other : total)
EMULATOR_REDUCE(__reduce_and_sync, total & other)
EMULATOR_REDUCE(__reduce_or_sync, total | other)
EMULATOR_REDUCE(__reduce_xor_sync, total ^ other)
