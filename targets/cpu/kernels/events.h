// Lists of spikes.
#pragma once
#include <cstring>
#include <memory>
#include <vector>
#include "network.h"
#include "vectors.h"

namespace {

constexpr size_t SLACK = 16;  // entries that may be written behind a list
constexpr int MOST_ROWS = 64;  // of a kernel whose rows are listed one by one

// What the neurons of some rows hear through one synapse. For each step and row of the layer: the spikes of all rows of
// the kernel as (column * kh + ky) * channels + channel, column by column, and where each column begins. So what one
// neuron hears lies in one piece, and weights lie [kx][ky][channel]. Synapses are cut so that 16 bits hold it (plan).
struct Events {
  std::unique_ptr<uint16_t[]> list;
  std::unique_ptr<uint32_t[]> start;
  size_t listed = 0, started = 0;     // their sizes
  size_t columns = 0, room = 0;       // of a row; `room` if all of it fires
  int sample = 0, step = 0, steps = 0, rows = 0, top = 0;
  static size_t room_of(const Arm &arm, const Buffer &b) {
    return size_t(b.width + 2 * b.border) * arm.kh * arm.bytes * 8 + SLACK;
  }
  size_t row(int b, int t, int y) const { return (size_t(b - sample) * steps + t - step) * rows + y - top; }
  const uint32_t *starts(size_t row) const { return start.get() + row * (columns + 1); }
  const uint16_t *spikes(size_t row) const { return list.get() + row * room; }
  // For `count` steps of the source from step `from` on, `samples` from `first` on, and `height` rows from `y` on.
  void make(const Arm &arm, const Buffer &b, int height, int samples, int from, int count, int first, int y = 0) {
    columns = size_t(b.width + 2 * b.border), room = room_of(arm, b);
    sample = first, step = from, steps = count, rows = height, top = y;
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

// The spikes of some rows of one image and step, channels by pixel: neighbouring rows of neurons hear most rows twice
// or three times, and what was listed once is copied many at a time.
struct Rows {
  static constexpr int WIDE = 16;  // entries that are copied at a time
  std::vector<uint16_t> list;
  std::vector<uint32_t> start;     // of each pixel, and the end
  std::vector<int> held;           // which row of the image
  const uint8_t *image = nullptr;
  int bytes = 0;
  void open(const uint8_t *from, int kh, int of, size_t columns) {
    if (from == image && kh == int(held.size()) && of == bytes) return;
    image = from, bytes = of;
    held.assign(size_t(kh), -1);
    list.resize(size_t(kh) * room(columns)), start.resize(size_t(kh) * (columns + 1));
  }
  size_t room(size_t columns) const { return columns * size_t(bytes) * 8 + WIDE; }
};

// One row of one step: what its neurons hear. Where all taps share their weights, only the channel counts.
void list_row(const Arm &arm, const Buffer &b, const Network &net, Events &events, Rows &rows, int sample, int t, int y) {
  const size_t row = events.row(sample, t, y), columns = events.columns;
  uint16_t *const list = events.list.get() + row * events.room, *e = list;
  uint32_t *start = events.start.get() + row * (columns + 1);
  const uint8_t *const image = b.bits + (size_t(t) * net.samples + sample) * b.image() + arm.first;
  const int top = y * arm.sy + b.border - arm.py;
  const uint16_t pixel = arm.shared ? 0 : uint16_t(arm.channels);
  uint16_t base = 0;
  if (arm.kh == 1 || arm.kh > MOST_ROWS || arm.dy != 1) {
    const uint8_t *in = image + size_t(top) * b.row();
    for (size_t x = 0; x < columns; x++, in += b.bytes) {
      *start++ = uint32_t(e - list);
      for (int ky = 0; ky < arm.kh; ky++, base += pixel) e = list_pixel(in + ky * arm.dy * b.row(), arm.bytes, base, e);
    }
    *start = uint32_t(e - list);
    return;
  }
  rows.open(image, arm.kh, arm.bytes, columns);
  const uint16_t *from[MOST_ROWS];
  const uint32_t *at[MOST_ROWS];
  for (int ky = 0; ky < arm.kh; ky++) {
    const size_t slot = size_t(top + ky) % size_t(arm.kh);  // kh rows, one below the other
    uint16_t *const own = rows.list.data() + slot * rows.room(columns);
    uint32_t *const begin = rows.start.data() + slot * (columns + 1);
    from[ky] = own, at[ky] = begin;
    if (rows.held[slot] == top + ky) continue;
    rows.held[slot] = top + ky;
    const uint8_t *in = image + size_t(top + ky) * b.row();
    uint16_t *o = own;
    for (size_t x = 0; x < columns; x++, in += b.bytes) {
      begin[x] = uint32_t(o - own);
      o = list_pixel(in, arm.bytes, 0, o);
    }
    begin[columns] = uint32_t(o - own);
  }
  typedef typename Vector<Rows::WIDE>::pairs pairs;
  for (size_t x = 0; x < columns; x++) {
    *start++ = uint32_t(e - list);
    for (int ky = 0; ky < arm.kh; ky++, base += pixel) {
      const uint16_t *in = from[ky] + at[ky][x];
      const int n = int(at[ky][x + 1] - at[ky][x]);
      int k = 0;
      do {  // seldom twice
        const pairs some = load_any<pairs>(in + k) + base;
        std::memcpy(e + k, &some, sizeof some);
      } while ((k += Rows::WIDE) < n);
      e += n;
    }
  }
  *start = uint32_t(e - list);
}

}  // namespace
