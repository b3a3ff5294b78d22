// Exact integer spiking layers on packed spikes: no multiplication by data, no rounding.
//
// Spikes are bits, channels last: [t][sample][row][column][byte], with a border of zeros as wide as the
// widest padding that reads them. Layer by layer over all steps: the synapses of a layer ("arms") add their
// weights into a small block of currents that stays in the first-level cache, and the neurons of the block
// run over it with their membranes beside it. What a layer's bounds prove to fit runs in 16 bits.
//
// One source for every processor: GCC's and clang's vector types, wider where the flags allow.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "bits.h"
#include "neurons.h"
#include "team.h"

namespace {

constexpr size_t LIST_WORDS = size_t(1) << 22;  // of events at a time, if every input fired

struct Worker {
  const Network &net;
  Team &team;
  std::vector<Events> &lists;  // one for each arm of the layer at work; shared
  Scratch scratch;
  std::vector<Events> own;     // of a loop, for one sample and step

  void layer(const Layer &l) {
    if (l.task != NEURONS) {
      const size_t rows = size_t(net.steps) * net.samples * l.height;
      team.share(rows, std::max<size_t>(1, rows / (8 * team.size()) + 1), [&](size_t from, size_t to) {
        for (size_t i = from; i < to; i++)
          bitwise(net, l, int(i / l.height % net.samples), int(i / l.height / net.samples), int(i % l.height));
      });
      return;
    }
    size_t room = 1;
    for (int a = 0; a < l.arms; a++)
      if (l.arm[a].kind == EVENTS)
        room = std::max(room, Events::room_of(l.arm[a], net.buffers[l.arm[a].source]) * l.height * net.steps);
    const int batch = int(std::min<size_t>(net.samples, std::max<size_t>(1, LIST_WORDS / room)));
    for (int first = 0; first < net.samples; first += batch) {
      const int samples = std::min(batch, net.samples - first);
      for (int a = 0; a < l.arms; a++) {
        const Arm &arm = l.arm[a];
        const int count = net.steps - arm.delay;
        if (arm.kind != EVENTS || count <= 0) continue;
        const Buffer &b = net.buffers[arm.source];
        team.share(1, 1, [&](size_t, size_t) { lists[a].make(arm, b, l.height, samples, 0, count, first); });
        const size_t rows = size_t(samples) * count * l.height;
        team.share(rows, std::max<size_t>(1, rows / (8 * team.size())), [&](size_t from, size_t to) {
          for (size_t i = from; i < to; i++)
            list_row(arm, b, net, lists[a], first + int(i / l.height / count), int(i / l.height % count), int(i % l.height));
        });
      }
      const int tiles = l.padded / l.tile;
      const size_t items = size_t(tiles) * samples * l.height;
      team.share(items, std::max<size_t>(1, items / (8 * team.size())), [&](size_t from, size_t to) {
        for (size_t i = from; i < to; i++)  // a tile's weights stay in the cache as long as they can
          neurons(net, l, lists, scratch,
                  Span{first + int(i / l.height % samples), int(i % l.height), 0, 0, 0, net.steps, int(i / l.height / samples)});
      });
    }
  }

  void loop(const Layer *from, const Layer *to) {  // each sample by itself, step by step
    team.share(net.samples, 1, [&](size_t b0, size_t b1) {
      for (int sample = int(b0); sample < int(b1); sample++)
        for (int t = 0; t < net.steps; t++)
          for (const Layer *l = from; l < to; l++) {
            if (l->task != NEURONS) {
              for (int y = 0; y < l->height; y++) bitwise(net, *l, sample, t, y);
              continue;
            }
            for (int a = 0; a < l->arms; a++)
              if (l->arm[a].kind == EVENTS && t >= l->arm[a].delay) {
                const Buffer &b = net.buffers[l->arm[a].source];
                own[a].make(l->arm[a], b, l->height, 1, t - l->arm[a].delay, 1, sample);
                for (int y = 0; y < l->height; y++) list_row(l->arm[a], b, net, own[a], sample, t - l->arm[a].delay, y);
              }
            for (int tile = 0; tile < l->padded / l->tile; tile++)
              for (int y = 0; y < l->height; y++) neurons(net, *l, own, scratch, Span{sample, y, 0, 0, t, t + 1, tile});
          }
    });
  }

  void run() {
    for (const Layer *l = net.layers, *end = l + net.count; l < end;) {
      if (!l->member) { layer(*l++); continue; }
      const Layer *last = l;
      while (last < end && last->member == l->member) last++;
      loop(l, last);
      l = last;
    }
  }
};

}  // namespace

extern "C" {

int32_t run(const Network *net) {
  int arms = 1;
  for (int i = 0; i < net->count; i++) arms = std::max(arms, net->layers[i].arms);
  const int size = std::max(1, net->threads);
  try {
    Team team(size);
    std::vector<Events> lists(arms);
    std::atomic<bool> failed{false};
    auto work = [&] {
      try {
        auto worker = std::make_unique<Worker>(Worker{*net, team, lists, {}, std::vector<Events>(arms)});
        worker->run();
      } catch (...) {
        failed = true;
        team.stop();
      }
    };
    std::vector<std::thread> others;
    try {
      for (int k = 1; k < size; k++) others.emplace_back(work);
    } catch (...) {  // fewer threads than wanted would wait for each other
      failed = true;
      team.stop();
    }
    if (!failed) work();
    for (auto &other : others) other.join();
    if (failed) return 1;
  } catch (...) {
    return 1;
  }
  return 0;
}

// x: [t][sample][channel][row][column], a byte each, 0 or 1 -> the bits of a buffer whose border is clear.
void pack(const Buffer *b, const uint8_t *x, int64_t images) {
  for (int64_t i = 0; i < images; i++) {
    uint8_t *image = b->bits + size_t(i) * b->image();
    for (int y = 0; y < b->height; y++) {
      uint8_t *out = image + size_t(y + b->border) * b->row() + size_t(b->border) * b->bytes;
      std::memset(out, 0, size_t(b->width) * b->bytes);
      for (int c = 0; c < b->channels; c++) {
        const uint8_t *in = x + ((size_t(i) * b->channels + c) * b->height + y) * b->width;
        for (int k = 0; k < b->width; k++) out[size_t(k) * b->bytes + c / 8] |= uint8_t(in[k] << (c % 8));
      }
    }
  }
}

}  // extern "C"
