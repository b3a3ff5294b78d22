// What the synapses of a layer add to its currents.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>
#include "events.h"
#include "network.h"
#include "sums.h"

namespace {

constexpr int BLOCK_BYTES = 8192;  // of currents at a time

struct Scratch {  // of one worker
  alignas(64) char currents[BLOCK_BYTES];
  std::vector<int32_t> states;    // membranes and synaptic currents of a span, with room to align them
  std::vector<uint8_t> expanded;  // the spikes that a span hears, four to a byte
};

struct Span {  // what a worker does now: places x .. x + count of a row, steps t0 .. t1, one tile
  int sample, y, x, count, t0, t1, tile;
};

// Where the currents of a span begin: the bias of each place for the first arm, else what others added.
template <bool SHORT> struct Start {
  typedef typename Cell<SHORT>::type cell;
  const cell *bias;  // null for all arms but the first
  int stride;        // from place to place
  const cell *at(int place, const cell *cur) const { return bias ? bias + size_t(place) * stride : cur; }
};

template <int TILE, bool SHORT> inline void silent(const typename Cell<SHORT>::type *from, typename Cell<SHORT>::type *cur) {
  if (from != cur) std::memcpy(cur, from, TILE * sizeof *cur);
}

// A row of spikes with four to a byte, each byte in front of a factor of eight: what the tables are addressed with.
template <int TILE> inline void expand(const uint8_t *in, uint8_t *to, size_t bytes, bool half) {
  constexpr int UP = TILE == 16 ? 2 : TILE == 32 ? 3 : 4;  // 2 * TILE bytes per row, in eighths
  size_t j = 0;
  if (half) {  // four channels at most
    for (; j < bytes; j++) to[j] = uint8_t(in[j] << UP);
    return;
  }
  for (; j < bytes; j++) {
    to[2 * j] = uint8_t((in[j] & 15) << UP);
    to[2 * j + 1] = uint8_t((in[j] >> 4) << UP);
  }
}

// Sums of four weights each, for whatever four inputs do: [ky][kx][four][16][lane].
template <int TILE, bool SHORT, int RUN>
void tables(const Arm &arm, const Buffer &b, const Network &net, const Span &s, Scratch &scratch, Start<SHORT> from,
            typename Cell<SHORT>::type *cur) {
  constexpr size_t TABLE = 16 * TILE;
  const bool half = b.channels <= 4;
  const int fours = half ? 1 : 2 * b.bytes, run = RUN ? RUN : arm.kw * fours;
  const int16_t *weights = (const int16_t *)arm.weights + size_t(s.tile) * arm.kh * arm.kw * fours * TABLE;
  const size_t columns = size_t(s.count - 1) * arm.sx + size_t(arm.kw - 1) * arm.dx + 1, wide = columns * fours;
  const int t1 = std::max(s.t0, std::min(s.t1, arm.delay));
  const size_t need = size_t(s.t1 - t1) * arm.kh * wide;
  if (scratch.expanded.size() < need) scratch.expanded.resize(need);
  for (int t = t1; t < s.t1; t++)
    for (int ky = 0; ky < arm.kh; ky++)
      expand<TILE>(b.bits + (size_t(t - arm.delay) * net.samples + s.sample) * b.image() +
                       size_t(s.y * arm.sy + b.border - arm.py + ky * arm.dy) * b.row() + size_t(s.x * arm.sx + b.border - arm.px) * b.bytes,
                   scratch.expanded.data() + (size_t(t - t1) * arm.kh + ky) * wide, columns * b.bytes, half);
  for (int i = 0; i < s.count; i++) {
    for (int t = s.t0; t < t1; t++, cur += TILE) silent<TILE, SHORT>(from.at(i, cur), cur);
    const uint8_t *in = scratch.expanded.data() + size_t(i) * arm.sx * fours;
    for (int t = t1; t < s.t1; t++, cur += TILE) {
      Shorts<TILE, SHORT> sums;
      const int16_t *w = weights;
      for (int ky = 0; ky < arm.kh; ky++, in += wide) {
        if (RUN || arm.dx == 1)
          for (int j = 0; j < run; j++, w += TABLE) sums.add((const char *)(w + size_t(in[j]) * 4));
        else
          for (int kx = 0; kx < arm.kw; kx++)
            for (int j = 0; j < fours; j++, w += TABLE) sums.add((const char *)(w + size_t(in[kx * arm.dx * fours + j]) * 4));
      }
      sums.flush(0, from.at(i, cur), cur);
    }
  }
}

// Rows of weights of the spikes, one by one: [kx][ky][channel][lane], and a row of zeros behind the last.
template <int TILE, bool SHORT, class Sums>
void events(const Arm &arm, const Buffer &b, const Events &list, const Span &s, Start<SHORT> from, typename Cell<SHORT>::type *cur) {
  const size_t column = arm.shared ? 0 : size_t(arm.kh) * arm.channels, zero = arm.shared ? size_t(arm.channels) : column * arm.kw;
  const char *const weights = (const char *)arm.weights + size_t(s.tile) * (zero + 1) * Sums::ROW, *const none = weights + zero * Sums::ROW;
  // Neighbouring columns lie next to each other in the list and in the weights: one run for the whole kernel.
  const int runs = arm.dx == 1 ? 1 : arm.kw, span = arm.dx == 1 ? arm.kw : 1;
  for (int i = 0; i < s.count; i++) {
    const int x0 = (s.x + i) * arm.sx + b.border - arm.px;
    for (int t = s.t0; t < s.t1; t++, cur += TILE) {
      if (t < arm.delay) { silent<TILE, SHORT>(from.at(i, cur), cur); continue; }
      const size_t row = list.row(s.sample, t - arm.delay, s.y);
      const uint32_t *start = list.starts(row) + x0;
      const uint16_t *all = list.spikes(row);
      const auto *base = from.at(i, cur);
      Sums sums;
      int added = 0;
      for (int r = 0; r < runs; r++) {
        const char *w = weights + (ptrdiff_t(r) * span - x0 - r * arm.dx) * ptrdiff_t(column * Sums::ROW);
        const uint16_t *e = all + start[r * arm.dx], *end = all + start[r * arm.dx + span];
        for (;;) {
          const uint16_t *stop = SHORT || end - e <= arm.safe - added ? end : e + (arm.safe - added);
          added += int(stop - e + 3) & ~3;
          for (; stop - e >= 4; e += 4)
            for (int j = 0; j < 4; j++) sums.add(w + size_t(e[j]) * Sums::ROW);
          if (e < stop) {  // as if there were four
            sums.add(w + size_t(e[0]) * Sums::ROW);
            sums.add(stop - e > 1 ? w + size_t(e[1]) * Sums::ROW : none);
            sums.add(stop - e > 2 ? w + size_t(e[2]) * Sums::ROW : none);
            sums.add(none);
            e = stop;
          }
          if (SHORT || e == end) break;
          sums.flush(added, base, cur);
          added = 0, base = cur;
        }
      }
      sums.flush(added, base, cur);
    }
  }
}

// One weight for each channel and tap: one-to-one synapses, depthwise convolutions, sums of spikes.
template <int TILE, bool SHORT>
void lanewise(const Arm &arm, const Buffer &b, const Network &net, const Layer &l, const Span &s, Start<SHORT> from, typename Cell<SHORT>::type *cur) {
  constexpr int L = INTS;
  const ints<L> lane = bit_of_lane<L>();
  for (int i = 0; i < s.count; i++) {
    const size_t place = arm.places > 1 ? size_t(s.y) * l.width + s.x + i : 0;
    const int32_t *weights = (const int32_t *)arm.weights + place * arm.kh * arm.kw * l.padded + size_t(s.tile) * TILE;
    for (int t = s.t0; t < s.t1; t++, cur += TILE) {
      silent<TILE, SHORT>(from.at(i, cur), cur);
      if (t < arm.delay) continue;
      const uint8_t *in = b.bits + (size_t(t - arm.delay) * net.samples + s.sample) * b.image() +
                          size_t(s.y * arm.sy + b.border - arm.py) * b.row() +
                          size_t((s.x + i) * arm.sx + b.border - arm.px) * b.bytes + s.tile * (TILE / 8);
      const int32_t *w = weights;
      for (int ky = 0; ky < arm.kh; ky++, in += arm.dy * b.row())
        for (int kx = 0; kx < arm.kw; kx++, w += l.padded)
          for (int k = 0; k < TILE; k += L) {
            const uint8_t *p = in + kx * arm.dx * b.bytes + k / 8;
            uint32_t bits = 0;
            for (int j = L / 8 - 1; j >= 0; j--) bits = bits << 8 | p[j];
            if (!bits) continue;
            const ints<L> set = (ints<L>{} + int32_t(bits)) & lane;
            const ints<L> added = load<ints<L>>(w + k) & (set != 0);
            if constexpr (SHORT) store(cur + k, load<shorts<L>>(cur + k) + narrowed<L>(added));
            else store(cur + k, load<ints<L>>(cur + k) + added);
          }
    }
  }
}

template <int TILE, bool SHORT>
void add_arm(const Network &net, const Layer &l, const Arm &arm, const Events &list, const Span &s, Scratch &scratch, Start<SHORT> from,
             typename Cell<SHORT>::type *cur) {
  const Buffer &b = net.buffers[arm.source];
  if (arm.kind == LANEWISE) return lanewise<TILE, SHORT>(arm, b, net, l, s, from, cur);
  if constexpr (TILE > 16)
    if (arm.kind == EVENTS && arm.packed) return events<TILE, SHORT, Bytes<TILE, SHORT>>(arm, b, list, s, from, cur);
  if (arm.kind == EVENTS) return events<TILE, SHORT, Shorts<TILE, SHORT>>(arm, b, list, s, from, cur);
  if (arm.dx == 1) switch (arm.kw * (b.channels <= 4 ? 1 : 2 * b.bytes)) {
    case 3: return tables<TILE, SHORT, 3>(arm, b, net, s, scratch, from, cur);
    case 6: return tables<TILE, SHORT, 6>(arm, b, net, s, scratch, from, cur);
    case 12: return tables<TILE, SHORT, 12>(arm, b, net, s, scratch, from, cur);
  }
  tables<TILE, SHORT, 0>(arm, b, net, s, scratch, from, cur);
}

}  // namespace
