// What neurons make of their currents.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>
#include "synapses.h"

namespace {

template <int L> inline void write_bits(uint8_t *out, uint32_t bits, int channels) {  // those that are left
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  if (channels > L - 8) {
    std::memcpy(out, &bits, L / 8);
    return;
  }
#endif
  for (int j = 0; j < L / 8 && 8 * j < channels; j++) out[j] = uint8_t(bits >> (8 * j));
}

// Where the spikes and the recorded states of a place lie, step by step.
struct Target {
  uint8_t *bits;
  size_t next, record, next_record;  // of the recordings: an index
  Target(const Network &net, const Layer &l, const Span &s, int i, int channel) {
    const size_t image = size_t(s.t0) * net.samples + s.sample;
    const Buffer *out = l.out >= 0 ? net.buffers + l.out : nullptr;
    bits = out ? out->bits + image * out->image() + size_t(s.y + out->border) * out->row() + size_t(s.x + i + out->border) * out->bytes + channel / 8
               : nullptr;
    next = out ? net.samples * out->image() : 0;
    record = ((image * l.height + s.y) * l.width + s.x + i) * l.channels + channel;
    next_record = size_t(net.samples) * l.height * l.width * l.channels;
  }
};

// Membranes of 16 bits, without leak. `INTEGRATES` until a hard reset: by far the most neurons.
template <int TILE, bool INTEGRATES> void fire_short(const Network &net, const Layer &l, const Span &s, const int16_t *cur, int16_t *v) {
  constexpr int L = TILE < SHORTS ? TILE : SHORTS;
  const int left = l.channels - s.tile * TILE;
  for (int i = 0; i < s.count; i++, v += TILE, cur += size_t(s.t1 - s.t0) * TILE)
    for (int k = 0; k < TILE && k < left; k += L) {
      const size_t at = (l.places > 1 ? size_t(s.y) * l.width + s.x + i : 0) * l.padded + size_t(s.tile) * TILE + k;
      const shorts<L> threshold = narrowed<L>(load<ints<L>>(l.threshold + at)), amount = narrowed<L>(load<ints<L>>(l.amount + at));
      shorts<L> m = load<shorts<L>>(v + k);
      Target to(net, l, s, i, s.tile * TILE + k);
      for (int t = 0; t < s.t1 - s.t0; t++) {
        const shorts<L> x = load<shorts<L>>(cur + t * TILE + k);
        m = INTEGRATES || l.decay ? m + x : x;
        if (INTEGRATES || l.reset != NONE) {
          const Fired<L> fired(m, threshold);
          m = INTEGRATES || l.reset == ZERO ? fired.rest(m) : m - fired.of(amount);
          write_bits<L>(to.bits, fired.bits, left - k);
          to.bits += to.next;
        }
        if (!INTEGRATES && l.membranes) {
          for (int j = 0; j < L && j < left - k; j++) l.membranes[to.record + j] = m[j] * (1 << l.shift);
          to.record += to.next_record;
        }
      }
      store(v + k, m);
    }
}

template <int TILE, bool INTEGRATES, class C>
void fire_wide(const Network &net, const Layer &l, const Span &s, const C *cur, int32_t *v, int32_t *u) {
  constexpr int L = INTS;
  const int left = l.channels - s.tile * TILE;
  const ints<L> limit = ints<L>{} + l.limit;
  for (int i = 0; i < s.count; i++, v += TILE, u += TILE, cur += size_t(s.t1 - s.t0) * TILE)
    for (int k = 0; k < TILE && k < left; k += L) {
      const size_t at = (l.places > 1 ? size_t(s.y) * l.width + s.x + i : 0) * l.padded + size_t(s.tile) * TILE + k;
      const ints<L> threshold = load<ints<L>>(l.threshold + at), amount = load<ints<L>>(l.amount + at);
      ints<L> m = load<ints<L>>(v + k), held = load<ints<L>>(u + k);
      Target to(net, l, s, i, s.tile * TILE + k);
      for (int t = 0; t < s.t1 - s.t0; t++) {
        ints<L> x;
        if constexpr (sizeof(C) == 2) x = widened<L>(load<shorts<L>>(cur + t * TILE + k));
        else x = load<ints<L>>(cur + t * TILE + k);
        x = x << l.shift;
        if (!INTEGRATES && l.current_decay) held = x = x + faded(held, l.current_decay);
        m = INTEGRATES || l.decay == 4096 ? m + x : l.decay ? faded(m, l.decay) + x : x;
        m = m > limit ? limit : m;
        m = m < -limit ? -limit : m;
        if (INTEGRATES || l.reset != NONE) {
          const FiredWide<L> fired(m, threshold);
          m = INTEGRATES || l.reset == ZERO ? fired.rest(m) : m - fired.of(amount);
          write_bits<L>(to.bits, fired.bits, left - k);
          to.bits += to.next;
        }
        if (!INTEGRATES) {
          const size_t size = size_t(std::min(L, left - k)) * 4;
          if (l.membranes) std::memcpy(l.membranes + to.record, &m, size);
          if (l.currents) std::memcpy(l.currents + to.record, &held, size);
          to.record += to.next_record;
        }
      }
      store(v + k, m);
      store(u + k, held);
    }
}

// One row of a layer, block by block. Currents may need fewer bits than the membranes that they add up to.
template <int TILE, bool SHORT>
void neurons(const Network &net, const Layer &l, const std::vector<Events> &lists, Scratch &scratch, Span s) {
  typedef typename Cell<SHORT>::type cell;
  const int end_x = l.width, end_t = s.t1, start_t = s.t0;
  const int fits = std::max(1, BLOCK_BYTES / int(TILE * sizeof(cell)));  // cells of a block: places x steps
  const int steps = std::min(end_t - start_t, fits), places = std::max(1, std::min(end_x, fits / steps));
  const bool plain = l.decay == 4096 && l.reset == ZERO && !l.current_decay && !l.membranes;
  if (scratch.states.size() < size_t(3) * places * TILE + 64) scratch.states.resize(size_t(3) * places * TILE + 64);
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
    if (l.narrow) for (size_t k = 0; k < n; k++) narrow[k] = int16_t(v[k]);
    for (s.t0 = start_t; s.t0 < end_t; s.t0 += steps) {
      s.t1 = std::min(end_t, s.t0 + steps);
      for (int a = 0; a < l.arms; a++)
        add_arm<TILE, SHORT>(net, l, l.arm[a], lists[a], s, scratch, Start<SHORT>{a ? nullptr : bias, l.places > 1 ? TILE : 0}, cur);
      if constexpr (SHORT)
        if (l.narrow) {
          if (plain) fire_short<TILE, true>(net, l, s, cur, narrow);
          else fire_short<TILE, false>(net, l, s, cur, narrow);
          continue;
        }
      if (plain) fire_wide<TILE, true>(net, l, s, cur, v, u);
      else fire_wide<TILE, false>(net, l, s, cur, v, u);
    }
    if (l.narrow) for (size_t k = 0; k < n; k++) v[k] = narrow[k];
    if (l.member) {
      move(l.membrane, v, false);
      if (l.current_decay) move(l.current, u, false);
    }
  }
}

template <int TILE> void neurons(const Network &net, const Layer &l, const std::vector<Events> &lists, Scratch &scratch, const Span &s) {
  if (l.brief) neurons<TILE, true>(net, l, lists, scratch, s);
  else neurons<TILE, false>(net, l, lists, scratch, s);
}

void neurons(const Network &net, const Layer &l, const std::vector<Events> &lists, Scratch &scratch, const Span &s) {
  if (l.tile == 16) return neurons<16>(net, l, lists, scratch, s);
  if (l.tile == 32) return neurons<32>(net, l, lists, scratch, s);
  neurons<64>(net, l, lists, scratch, s);
}

}  // namespace
