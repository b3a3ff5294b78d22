// Lists of spikes.
#pragma once
#include <cstring>
#include <memory>
#include "network.h"

namespace {

// The spikes of some images as lists of (column * channels + channel), and where each pixel's begin.
struct Events {
  std::unique_ptr<uint32_t[]> list, start;  // start[image][pixel], one more at the end of each image
  size_t listed = 0, started = 0;           // their sizes
  size_t pixels = 0, room = 0;              // of an image; `room` if all of it fires
  int sample = 0, step = 0, steps = 0;      // image (b - sample) * steps + t - step
  void make(const Buffer &b, int samples, int from, int count, int first) {
    pixels = size_t(b.width + 2 * b.border) * (b.height + 2 * b.border), room = pixels * b.bytes * 8;
    sample = first, step = from, steps = count;
    const size_t images = size_t(samples) * count;
    // Not cleared: a page that no spike is written to takes no memory.
    if (listed < images * room) list.reset(new uint32_t[listed = images * room]);
    if (started < images * (pixels + 1)) start.reset(new uint32_t[started = images * (pixels + 1)]);
  }
};

inline uint64_t word_of(const uint8_t *p) {
  uint64_t m;
  std::memcpy(&m, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  m = __builtin_bswap64(m);
#endif
  return m;
}

void list_image(const Buffer &b, const Network &net, Events &events, int sample, int t) {
  const size_t image = size_t(sample - events.sample) * events.steps + t - events.step;
  const uint8_t *in = b.bits + (size_t(t) * net.samples + sample) * b.image();
  uint32_t *const list = events.list.get() + image * events.room, *start = events.start.get() + image * (events.pixels + 1);
  uint32_t *e = list;
  const int wide = b.width + 2 * b.border, high = b.height + 2 * b.border;
  for (int y = 0; y < high; y++)
    for (int x = 0; x < wide; x++, in += b.bytes) {
      *start++ = uint32_t(e - list);
      const uint32_t base = uint32_t(x * b.channels);
      for (int byte = 0; byte < b.bytes; byte += 8) {
        uint64_t m = word_of(in + byte);  // what lies behind the pixel is masked
        if (b.bytes - byte < 8) m &= (uint64_t(1) << (8 * (b.bytes - byte))) - 1;
        for (; m; m &= m - 1) *e++ = base + uint32_t(byte * 8 + __builtin_ctzll(m));
      }
    }
  *start = uint32_t(e - list);
}

}  // namespace
