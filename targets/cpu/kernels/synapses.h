// What the synapses of a layer add to its currents.
#pragma once
#include <algorithm>
#include <cstring>
#include "events.h"
#include "network.h"
#include "vectors.h"

namespace {

struct Span {  // what a worker does now: places x .. x + count of a row, steps t0 .. t1, one tile
  int sample, y, x, count, t0, t1, tile;
};

template <bool NARROW> struct Cell;
template <> struct Cell<true> { typedef int16_t type; };
template <> struct Cell<false> { typedef int32_t type; };

// The sums of a tile in registers. They start from `from`, which is the bias for a layer's first arm, else `cur`.
template <int L, int N, bool NARROW> struct Sums {
  shorts<L> a[N];
  typename Cell<NARROW>::type *cur;
  const typename Cell<NARROW>::type *from;
  Sums(typename Cell<NARROW>::type *c, const typename Cell<NARROW>::type *f) : cur(c), from(f) {
    for (int k = 0; k < N; k++) a[k] = NARROW ? load<shorts<L>>(from + k * L) : shorts<L>{};
  }
  inline void add(const int16_t *row) {
    for (int k = 0; k < N; k++) a[k] += load<shorts<L>>(row + k * L);
  }
  inline void flush() {  // into 32 bits whenever 16 may be full
    for (int k = 0; k < N; k++) {
      if constexpr (NARROW) store(cur + k * L, a[k]);
      else store(cur + k * L, load<ints<L>>(from + k * L) + widened<L>(a[k])), a[k] = shorts<L>{};
    }
    from = cur;
  }
};

// Where the currents of a span begin: the bias of each place for the first arm, else what others added.
template <bool NARROW> struct Start {
  typedef typename Cell<NARROW>::type cell;
  const cell *bias;  // null for all arms but the first
  int stride;        // from place to place
  const cell *at(int place, const cell *cur) const { return bias ? bias + size_t(place) * stride : cur; }
};

template <int L, int N, bool NARROW> inline void silent(const typename Cell<NARROW>::type *from, typename Cell<NARROW>::type *cur) {
  if (from != cur) std::memcpy(cur, from, N * L * sizeof *cur);
}

template <int L, int N, bool NARROW, int RUN>
void tables(const Arm &arm, const Buffer &b, const Network &net, const Span &s, Start<NARROW> from, typename Cell<NARROW>::type *cur) {
  constexpr int TILE = N * L;
  constexpr size_t TAP = 256 * TILE;
  const int run = RUN ? RUN : arm.kw * b.bytes;  // bytes of a row of the kernel
  const int16_t *weights = (const int16_t *)arm.weights + size_t(s.tile) * arm.kh * run * TAP;
  const size_t row = b.row(), down = arm.dy * row, next = net.samples * b.image();
  const bool dense = RUN || arm.dx == 1;
  for (int i = 0; i < s.count; i++) {
    const int t1 = std::max(s.t0, std::min(s.t1, arm.delay));
    for (int t = s.t0; t < t1; t++, cur += TILE) silent<L, N, NARROW>(from.at(i, cur), cur);
    const uint8_t *image = b.bits + (size_t(std::max(0, t1 - arm.delay)) * net.samples + s.sample) * b.image() +
                           size_t(s.y * arm.sy + b.border - arm.py) * row +
                           size_t((s.x + i) * arm.sx + b.border - arm.px) * b.bytes;
    for (int t = t1; t < s.t1; t++, cur += TILE, image += next) {
      Sums<L, N, NARROW> sums(cur, from.at(i, cur));
      const int16_t *w = weights;
      const uint8_t *in = image;
      for (int ky = 0; ky < arm.kh; ky++, in += down) {
        if (dense)
          for (int j = 0; j < run; j++, w += TAP) sums.add(w + size_t(in[j]) * TILE);
        else
          for (int kx = 0; kx < arm.kw; kx++)
            for (int j = 0; j < b.bytes; j++, w += TAP) sums.add(w + size_t(in[kx * arm.dx * b.bytes + j]) * TILE);
      }
      sums.flush();
    }
  }
}

template <int L, int N, bool NARROW>
void events(const Arm &arm, const Buffer &b, const Events &list, const Span &s, Start<NARROW> from, typename Cell<NARROW>::type *cur) {
  constexpr int TILE = N * L;
  const int taps = arm.shared ? 1 : arm.kh * arm.kw;
  const int16_t *weights = (const int16_t *)arm.weights + size_t(s.tile) * taps * b.channels * TILE;
  // Neighbouring columns lie next to each other in the list and in the weights: one run for a row of the kernel.
  const bool whole = arm.dx == 1 && !arm.shared;
  const int wide = b.width + 2 * b.border, runs = whole ? 1 : arm.kw, span = whole ? arm.kw : 1;
  const size_t step = arm.shared ? 0 : size_t(span) * b.channels * TILE;
  for (int i = 0; i < s.count; i++)
    for (int t = s.t0; t < s.t1; t++, cur += TILE) {
      if (t < arm.delay) { silent<L, N, NARROW>(from.at(i, cur), cur); continue; }
      const size_t image = size_t(s.sample - list.sample) * list.steps + t - arm.delay - list.step;
      const uint32_t *start = list.start.get() + image * (list.pixels + 1);
      const uint32_t *all = list.list.get() + image * list.room;
      const int x0 = (s.x + i) * arm.sx + b.border - arm.px;
      const uint32_t *at = start + size_t(s.y * arm.sy + b.border - arm.py) * wide + x0;
      Sums<L, N, NARROW> sums(cur, from.at(i, cur));
      const int16_t *w = weights;
      int left = arm.safe;
      for (int ky = 0; ky < arm.kh; ky++, at += size_t(arm.dy) * wide)
        for (int r = 0; r < runs; r++, w += step) {
          const uint32_t *e = all + at[r * arm.dx], *end = all + at[r * arm.dx + span];
          const int16_t *base = w - size_t(x0 + r * arm.dx) * b.channels * TILE;
          if (NARROW) {
            for (; e < end; e++) sums.add(base + size_t(*e) * TILE);
          } else
            while (e < end) {
              const uint32_t *stop = std::min(end, e + left);
              left -= int(stop - e);
              for (; e < stop; e++) sums.add(base + size_t(*e) * TILE);
              if (!left) sums.flush(), left = arm.safe;
            }
        }
      sums.flush();
    }
}

// One weight for each channel and tap: one-to-one synapses, depthwise convolutions, sums of spikes.
template <int L, int N, bool NARROW>
void lanewise(const Arm &arm, const Buffer &b, const Network &net, const Layer &l, const Span &s, Start<NARROW> from, typename Cell<NARROW>::type *cur) {
  constexpr int TILE = N * L;
  const ints<L> lane = bit_of_lane<L>();
  for (int i = 0; i < s.count; i++) {
    const size_t place = arm.places > 1 ? size_t(s.y) * l.width + s.x + i : 0;
    const int32_t *weights = (const int32_t *)arm.weights + place * arm.kh * arm.kw * l.padded + size_t(s.tile) * TILE;
    for (int t = s.t0; t < s.t1; t++, cur += TILE) {
      silent<L, N, NARROW>(from.at(i, cur), cur);
      if (t < arm.delay) continue;
      const uint8_t *in = b.bits + (size_t(t - arm.delay) * net.samples + s.sample) * b.image() +
                          size_t(s.y * arm.sy + b.border - arm.py) * b.row() +
                          size_t((s.x + i) * arm.sx + b.border - arm.px) * b.bytes + s.tile * (TILE / 8);
      const int32_t *w = weights;
      for (int ky = 0; ky < arm.kh; ky++, in += arm.dy * b.row())
        for (int kx = 0; kx < arm.kw; kx++, w += l.padded)
          for (int k = 0; k < N; k++) {
            const uint8_t *p = in + kx * arm.dx * b.bytes + k * (L / 8);
            uint32_t bits = 0;
            for (int j = L / 8 - 1; j >= 0; j--) bits = bits << 8 | p[j];
            if (!bits) continue;
            const ints<L> set = (ints<L>{} + int32_t(bits)) & lane;
            const ints<L> added = load<ints<L>>(w + k * L) & (set != 0);
            auto *c = cur + k * L;
            if constexpr (NARROW) store(c, load<shorts<L>>(c) + narrowed<L>(added));
            else store(c, load<ints<L>>(c) + added);
          }
    }
  }
}

template <int L, int N, bool NARROW>
void add_arm(const Network &net, const Layer &l, const Arm &arm, const Events &list, const Span &s, Start<NARROW> from, typename Cell<NARROW>::type *cur) {
  const Buffer &b = net.buffers[arm.source];
  if (arm.kind == LANEWISE) return lanewise<L, N, NARROW>(arm, b, net, l, s, from, cur);
  if (arm.kind == EVENTS) return events<L, N, NARROW>(arm, b, list, s, from, cur);
  if (arm.dx == 1) switch (arm.kw * b.bytes) {
    case 1: return tables<L, N, NARROW, 1>(arm, b, net, s, from, cur);
    case 3: return tables<L, N, NARROW, 3>(arm, b, net, s, from, cur);
    case 6: return tables<L, N, NARROW, 6>(arm, b, net, s, from, cur);
  }
  tables<L, N, NARROW, 0>(arm, b, net, s, from, cur);
}

}  // namespace
