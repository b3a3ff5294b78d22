// Layers that need no currents: gates, pools, rearrangements.
#pragma once
#include <cstring>
#include <vector>
#include "network.h"

namespace {

const uint8_t *row_of(const Network &net, const Arm &arm, int sample, int t, int y) {  // null before the delay is over
  const Buffer &b = net.buffers[arm.source];
  if (t < arm.delay) return nullptr;
  return b.bits + (size_t(t - arm.delay) * net.samples + sample) * b.image() + size_t(y + b.border) * b.row() +
         size_t(b.border) * b.bytes;
}

// An OR over windows, pixels of one kind of word each.
template <class Word> void pool(const Arm &arm, const uint8_t *in, int size, int width, uint8_t *out) {
  for (int x = 0; x < width; x++)
    for (int kx = 0; kx < arm.kw; kx++)
      for (int j = 0; j < size; j += int(sizeof(Word))) {
        Word a, b;
        std::memcpy(&a, out + x * size + j, sizeof a);
        std::memcpy(&b, in + (x * arm.sx - arm.px + kx * arm.dx) * size + j, sizeof b);
        a = Word(a | b);
        std::memcpy(out + x * size + j, &a, sizeof a);
      }
}

// One row of a layer that needs no currents.
void bitwise(const Network &net, const Layer &l, int sample, int t, int y) {
  const Buffer &b = net.buffers[l.out];
  uint8_t *out = b.bits + (size_t(t) * net.samples + sample) * b.image() + size_t(y + b.border) * b.row() + size_t(b.border) * b.bytes;
  const size_t n = size_t(b.width) * b.bytes;
  if (l.task == LOGIC) {  // any function of up to three spikes, as the sum of its minterms
    static thread_local std::vector<uint8_t> nothing;
    if (nothing.size() < n) nothing.resize(n, 0);
    const uint8_t *in[3];
    for (int a = 0; a < 3; a++) {
      in[a] = a < l.arms ? row_of(net, l.arm[a], sample, t, y) : nothing.data();
      if (!in[a]) in[a] = nothing.data();
    }
    uint8_t on[8];
    for (int k = 0; k < 8; k++) on[k] = l.table >> k & 1 ? 0xff : 0;
    for (size_t i = 0; i < n; i++) {
      const uint8_t p = in[0][i], q = in[1][i], r = in[2][i];
      const uint8_t low = (on[0] & ~p & ~q) | (on[1] & p & ~q) | (on[2] & ~p & q) | (on[3] & p & q);
      const uint8_t high = (on[4] & ~p & ~q) | (on[5] & p & ~q) | (on[6] & ~p & q) | (on[7] & p & q);
      out[i] = uint8_t((low & ~r) | (high & r));
    }
  } else if (l.task == POOL) {
    const Arm &arm = l.arm[0];
    std::memset(out, 0, n);
    for (int ky = 0; ky < arm.kh; ky++) {
      const uint8_t *in = row_of(net, arm, sample, t, y * arm.sy - arm.py + ky * arm.dy);
      if (!in) continue;
      if (b.bytes % 8 == 0) pool<uint64_t>(arm, in, b.bytes, b.width, out);
      else if (b.bytes % 4 == 0) pool<uint32_t>(arm, in, b.bytes, b.width, out);
      else pool<uint8_t>(arm, in, b.bytes, b.width, out);
    }
  } else if (l.task == SHIFT) {  // a delay that differs by place: for each number of steps, who waits so long
    std::memset(out, 0, n);
    for (int a = 0; a < l.arms; a++) {
      const uint8_t *in = row_of(net, l.arm[a], sample, t, y), *who = (const uint8_t *)l.arm[a].weights + size_t(y) * n;
      for (size_t i = 0; in && i < n; i++) out[i] |= in[i] & who[i];
    }
  } else {  // FLATTEN: (C, H, W) -> (C * H * W,), channels slowest
    const Buffer &from = net.buffers[l.arm[0].source];
    std::memset(out, 0, n);
    for (int row = 0; row < from.height; row++) {
      const uint8_t *in = row_of(net, l.arm[0], sample, t, row);
      for (int x = 0; in && x < from.width; x++)
        for (int c = 0; c < from.channels; c++)
          if (in[x * from.bytes + c / 8] >> (c % 8) & 1) {
            const size_t to = (size_t(c) * from.height + row) * from.width + x;
            out[to / 8] |= uint8_t(1 << (to % 8));
          }
    }
  }
}

}  // namespace
