// Sums of weights in registers, for all output channels of a tile.
#pragma once
#include "vectors.h"

namespace {

template <bool SHORT> struct Cell;  // of a block of currents
template <> struct Cell<true> { typedef int16_t type; };
template <> struct Cell<false> { typedef int32_t type; };

// 16 bits, added to `from`, which is the bias for a layer's first synapse and else what others added, into `to`.
template <int L, bool SHORT, class C> inline void deliver(shorts<L> sum, const C *from, C *to) {
  if constexpr (SHORT) {
    store(to, load<shorts<L>>(from) + sum);
  } else {
    alignas(64) int16_t parts[L];
    store(parts, sum);
    for (int k = 0; k < L; k += INTS)
      store(to + k, load<ints<INTS>>(from + k) + widened<INTS>(load<shorts<INTS>>(parts + k)));
  }
}

// Rows of weights of 16 bits.
template <int TILE, bool SHORT> struct Shorts {
  static constexpr int L = TILE < SHORTS ? TILE : SHORTS, N = TILE / L;
  static constexpr size_t ROW = 2 * TILE;  // bytes
  shorts<L> a[N];
  Shorts() { clear(); }
  void clear() { for (int k = 0; k < N; k++) a[k] = shorts<L>{}; }
  inline void add(const char *row) {
    for (int k = 0; k < N; k++) a[k] += load<shorts<L>>(row + 2 * k * L);
  }
  template <class C> inline void flush(int, const C *from, C *to) {
    for (int k = 0; k < N; k++) deliver<L, SHORT>(a[k], from + k * L, to + k * L);
    clear();
  }
};

// Rows of weights of 8 bits, two to a word: 256 * high + (low + 128). The sum of the words, and the sum of the words'
// upper halves, give both sums exactly modulo 2**16, with half the memory of 16-bit weights and no unpacking. The low
// ones are the first half of the tile's channels, the high ones the second.
template <int TILE, bool SHORT> struct Bytes {
  static constexpr int WORDS = TILE / 2, L = WORDS < SHORTS ? WORDS : SHORTS, N = WORDS / L;
  static constexpr size_t ROW = TILE;
  shorts<L> total[N], high[N];
  Bytes() { clear(); }
  void clear() { for (int k = 0; k < N; k++) total[k] = high[k] = shorts<L>{}; }
  inline void add(const char *row) {
    for (int k = 0; k < N; k++) {
      const shorts<L> w = load<shorts<L>>(row + 2 * k * L);
      total[k] += w;
      high[k] += w >> 8;
    }
  }
  template <class C> inline void flush(int count, const C *from, C *to) {
    const shorts<L> shift = shorts<L>{} + int16_t(count * 128);
    for (int k = 0; k < N; k++) {
      deliver<L, SHORT>(total[k] - (high[k] << 8) - shift, from + k * L, to + k * L);
      deliver<L, SHORT>(high[k], from + WORDS + k * L, to + WORDS + k * L);
    }
    clear();
  }
};

}  // namespace
