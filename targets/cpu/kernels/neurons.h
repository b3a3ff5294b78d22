// What neurons make of their currents.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>
#include "synapses.h"

namespace {

constexpr int BLOCK_BYTES = 16384;  // of currents at a time

template <int L> inline void write_bits(uint8_t *out, uint32_t bits, int channels) {  // those that are left
  const int bytes = std::min(L / 8, (channels + 7) / 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (bytes == L / 8) {
    std::memcpy(out, &bits, L / 8);
    return;
  }
#endif
  for (int j = 0; j < bytes; j++) out[j] = uint8_t(bits >> (8 * j));
}

template <int L, int N> void fire_narrow(const Network &net, const Layer &l, const Span &s, const int16_t *cur, int16_t *v) {
  constexpr int TILE = N * L;
  const Buffer *out = l.out >= 0 ? net.buffers + l.out : nullptr;
  const int left = l.channels - s.tile * TILE;
  shorts<L> threshold[N], amount[N];
  for (int i = 0; i < s.count; i++, v += TILE) {
    if (i == 0 || l.places > 1) {
      const size_t place = l.places > 1 ? size_t(s.y) * l.width + s.x + i : 0;
      for (int k = 0; k < N; k++) {
        const size_t at = place * l.padded + size_t(s.tile) * TILE + k * L;
        threshold[k] = narrowed<L>(load<ints<L>>(l.threshold + at));
        amount[k] = narrowed<L>(load<ints<L>>(l.amount + at));
      }
    }
    shorts<L> m[N];
    for (int k = 0; k < N; k++) m[k] = load<shorts<L>>(v + k * L);
    size_t image = size_t(s.t0) * net.samples + s.sample;
    uint8_t *to_bits = out ? out->bits + image * out->image() + (s.y + out->border) * out->row() +
                                 size_t(s.x + i + out->border) * out->bytes + s.tile * TILE / 8
                           : nullptr;
    const size_t next = out ? net.samples * out->image() : 0;
    for (int t = s.t0; t < s.t1; t++, cur += TILE, image += net.samples, to_bits += next) {
      for (int k = 0; k < N; k++) {
        m[k] = l.decay ? m[k] + load<shorts<L>>(cur + k * L) : load<shorts<L>>(cur + k * L);
        if (l.reset != NONE) {
          const shorts<L> fired = m[k] >= threshold[k];
          m[k] = l.reset == ZERO ? m[k] & ~fired : m[k] - (amount[k] & fired);
          if (left > k * L)
            write_bits<L>(to_bits + k * (L / 8), bits_of<L>(fired), left - k * L);
        }
      }
      if (l.membranes) {
        int32_t *to = l.membranes + ((image * l.height + s.y) * l.width + s.x + i) * l.channels + s.tile * TILE;
        for (int k = 0; k < N; k++)
          for (int j = 0; j < L && k * L + j < left; j++) to[k * L + j] = m[k][j] * (1 << l.shift);
      }
    }
    for (int k = 0; k < N; k++) store(v + k * L, m[k]);
  }
}

template <int L, int N> void fire_wide(const Network &net, const Layer &l, const Span &s, const int32_t *cur, int32_t *v, int32_t *u) {
  constexpr int TILE = N * L;
  const Buffer *out = l.out >= 0 ? net.buffers + l.out : nullptr;
  const int left = l.channels - s.tile * TILE;
  const ints<L> limit = ints<L>{} + l.limit;
  for (int i = 0; i < s.count; i++, v += TILE, u += TILE) {
    const size_t place = l.places > 1 ? size_t(s.y) * l.width + s.x + i : 0;
    const size_t at = place * l.padded + size_t(s.tile) * TILE;
    for (int t = s.t0; t < s.t1; t++, cur += TILE) {
      const size_t image = size_t(t) * net.samples + s.sample;
      for (int k = 0; k < N && k * L < left; k++) {
        ints<L> x = load<ints<L>>(cur + k * L) * (1 << l.shift);
        if (l.current_decay) {
          x += faded(load<ints<L>>(u + k * L), l.current_decay);
          store(u + k * L, x);
        }
        ints<L> m = load<ints<L>>(v + k * L);
        m = l.decay == 4096 ? m + x : l.decay ? faded(m, l.decay) + x : x;
        m = m > limit ? limit : m;
        m = m < -limit ? -limit : m;
        if (l.reset != NONE) {
          const ints<L> fired = m >= load<ints<L>>(l.threshold + at + k * L);
          m = l.reset == ZERO ? m & ~fired : m - (load<ints<L>>(l.amount + at + k * L) & fired);
          write_bits<L>(out->bits + image * out->image() + (s.y + out->border) * out->row() +
                         size_t(s.x + i + out->border) * out->bytes + (s.tile * TILE + k * L) / 8,
                     bits_of<L>(narrowed<L>(fired)), left - k * L);
        }
        store(v + k * L, m);
        const size_t to = ((image * l.height + s.y) * l.width + s.x + i) * l.channels + s.tile * TILE + k * L;
        const int lanes = std::min(L, left - k * L);
        if (l.membranes) std::memcpy(l.membranes + to, v + k * L, size_t(lanes) * 4);
        if (l.currents) std::memcpy(l.currents + to, u + k * L, size_t(lanes) * 4);
      }
    }
  }
}

struct Scratch {  // of one worker
  alignas(64) char currents[BLOCK_BYTES];
  std::vector<int32_t> states;  // membranes and synaptic currents of a span, with room to align them
};

template <int L, int N, bool NARROW>
void neurons(const Network &net, const Layer &l, const std::vector<Events> &lists, Scratch &scratch, Span s) {
  typedef typename Cell<NARROW>::type cell;
  constexpr int TILE = N * L;
  const int end_x = l.width, end_t = s.t1, start_t = s.t0;
  const int fits = std::max(1, BLOCK_BYTES / int(TILE * sizeof(cell)));  // cells of a block: places x steps
  const int steps = std::min(end_t - start_t, fits), places = std::max(1, std::min(end_x, fits / steps));
  scratch.states.resize(size_t(3) * places * TILE + 64);
  auto aligned = [](int32_t *p) { return (int32_t *)((uintptr_t(p) + 63) & ~uintptr_t(63)); };
  cell *cur = (cell *)scratch.currents;
  for (s.x = 0; s.x < end_x; s.x += places) {
    s.count = std::min(places, end_x - s.x);
    const size_t n = size_t(s.count) * TILE, all = size_t(l.height) * l.width;
    const size_t kept = ((size_t(s.sample) * all + size_t(s.y) * l.width + s.x) * (l.padded / TILE));
    int32_t *v = aligned(scratch.states.data()), *u = v + size_t(places) * TILE;
    cell *bias = (cell *)(u + size_t(places) * TILE);
    for (int i = 0; i < (l.places > 1 ? s.count : 1); i++) {
      const size_t place = l.places > 1 ? size_t(s.y) * l.width + s.x + i : 0;
      const int32_t *from = l.bias + place * l.padded + size_t(s.tile) * TILE;
      for (int k = 0; k < TILE; k++) bias[size_t(i) * TILE + k] = cell(from[k]);
    }
    // The states of a loop lie [sample][place][tile][lane], those of others only as long as the span lasts.
    auto move = [&](int32_t *state, int32_t *local, bool in) {
      for (int i = 0; i < s.count; i++) {
        int32_t *far = state + (kept + size_t(i) * (l.padded / TILE) + s.tile) * TILE;
        std::memcpy(in ? local + size_t(i) * TILE : far, in ? far : local + size_t(i) * TILE, TILE * 4);
      }
    };
    if (l.member) {
      move(l.membrane, v, true);
      if (l.current_decay) move(l.current, u, true);
    } else {
      std::fill(v, v + n, l.initial);
      std::fill(u, u + n, 0);
    }
    int16_t *narrow = (int16_t *)u;  // in 16 bits there is no synaptic current: its place is free
    if (NARROW) for (size_t k = 0; k < n; k++) narrow[k] = int16_t(v[k]);
    for (s.t0 = start_t; s.t0 < end_t; s.t0 += steps) {
      s.t1 = std::min(end_t, s.t0 + steps);
      for (int a = 0; a < l.arms; a++)
        add_arm<L, N, NARROW>(net, l, l.arm[a], lists[a], s, Start<NARROW>{a ? nullptr : bias, l.places > 1 ? TILE : 0}, cur);
      if constexpr (NARROW) fire_narrow<L, N>(net, l, s, cur, narrow);
      else fire_wide<L, N>(net, l, s, cur, v, u);
    }
    if (NARROW) for (size_t k = 0; k < n; k++) v[k] = narrow[k];
    if (l.member) {
      move(l.membrane, v, false);
      if (l.current_decay) move(l.current, u, false);
    }
  }
}

template <int L, int N> void neurons(const Network &net, const Layer &l, const std::vector<Events> &lists, Scratch &scratch, const Span &s) {
  if (l.narrow) neurons<L, N, true>(net, l, lists, scratch, s);
  else neurons<L, N, false>(net, l, lists, scratch, s);
}

void neurons(const Network &net, const Layer &l, const std::vector<Events> &lists, Scratch &scratch, const Span &s) {
  if (l.tile == 16) return neurons<16, 1>(net, l, lists, scratch, s);
  if (l.tile == 32) return neurons<WIDEST, 32 / WIDEST>(net, l, lists, scratch, s);
  neurons<WIDEST, 64 / WIDEST>(net, l, lists, scratch, s);
}

}  // namespace
