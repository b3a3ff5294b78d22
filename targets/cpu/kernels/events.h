// Lists of spikes.
#pragma once
#include <cstring>
#include <memory>
#include "network.h"
#include "vectors.h"

namespace {

constexpr size_t SLACK = 16;  // entries that may be written behind a list

// What the neurons of some rows hear through one synapse. For each step and row of the layer: the spikes of all rows of
// the kernel as (column * kh + ky) * channels + channel, column by column, and where each column begins. So what one
// neuron hears lies in one piece, and weights lie [kx][ky][channel]. Synapses are cut so that 16 bits hold it (plan).
struct Events {
  std::unique_ptr<uint16_t[]> list;
  std::unique_ptr<uint32_t[]> start;
  size_t listed = 0, started = 0;     // their sizes
  size_t columns = 0, room = 0;       // of a row; `room` if all of it fires
  int sample = 0, step = 0, steps = 0, rows = 0;
  static size_t room_of(const Arm &arm, const Buffer &b) {
    return size_t(b.width + 2 * b.border) * arm.kh * arm.bytes * 8 + SLACK;
  }
  size_t row(int b, int t, int y) const { return (size_t(b - sample) * steps + t - step) * rows + y; }
  const uint32_t *starts(size_t row) const { return start.get() + row * (columns + 1); }
  const uint16_t *spikes(size_t row) const { return list.get() + row * room; }
  // For `count` steps of the source from step `from` on, and `samples` from `first` on.
  void make(const Arm &arm, const Buffer &b, int height, int samples, int from, int count, int first) {
    columns = size_t(b.width + 2 * b.border), room = room_of(arm, b);
    sample = first, step = from, steps = count, rows = height;
    const size_t n = size_t(samples) * count * height;
    // Not cleared: a page that no spike is written to takes no memory.
    if (listed < n * room) list.reset(new uint16_t[listed = n * room]);
    if (started < n * (columns + 1)) start.reset(new uint32_t[started = n * (columns + 1)]);
  }
};

// Where the bits of a byte are, eight numbers each.
struct alignas(64) Positions {
  uint16_t of[256][8];
  constexpr Positions() : of() {
    for (int v = 0; v < 256; v++)
      for (int k = 0, n = 0; k < 8; k++)
        if (v >> k & 1) of[v][n++] = uint16_t(k);
  }
};
constexpr Positions POSITIONS;

// Appends the spikes of a pixel without a branch that they decide: what is written behind the last one is overwritten.
inline uint16_t *list_pixel(const uint8_t *in, int bytes, uint16_t base, uint16_t *e) {
  for (int j = 0; j < bytes; j++, base += 8) {
    typedef typename Vector<8>::pairs pairs;
    const pairs at = load<pairs>(POSITIONS.of[in[j]]) + base;
    std::memcpy(e, &at, sizeof at);
    e += __builtin_popcount(in[j]);
  }
  return e;
}

// One row of one step: what its neurons hear. Where all taps share their weights, only the channel counts.
void list_row(const Arm &arm, const Buffer &b, const Network &net, Events &events, int sample, int t, int y) {
  const size_t row = events.row(sample, t, y);
  uint16_t *const list = events.list.get() + row * events.room, *e = list;
  uint32_t *start = events.start.get() + row * (events.columns + 1);
  const uint8_t *in = b.bits + (size_t(t) * net.samples + sample) * b.image() + size_t(y * arm.sy + b.border - arm.py) * b.row() + arm.first;
  const size_t down = arm.dy * b.row();
  const uint16_t pixel = arm.shared ? 0 : uint16_t(arm.channels);
  uint16_t base = 0;
  for (size_t x = 0; x < events.columns; x++, in += b.bytes) {
    *start++ = uint32_t(e - list);
    for (int ky = 0; ky < arm.kh; ky++, base += pixel) e = list_pixel(in + ky * down, arm.bytes, base, e);
  }
  *start = uint32_t(e - list);
}

}  // namespace
