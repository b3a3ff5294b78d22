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
#include <cmath>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "bits.h"
#include "lookups.h"
#include "neurons.h"
#include "team.h"

namespace {

// Of events at a time, if every input fired. Fewer stay in a second-level cache; more use weights that do not longer.
constexpr size_t LIST_WORDS = size_t(1) << 19, MORE_WORDS = size_t(1) << 22, CACHED_WEIGHTS = size_t(1) << 18;

constexpr int CACHED_ROWS = 1000;  // of weights of a tile, that a first-level cache mostly holds

// How many of the inputs of a synapse fire, of the first images.
double rate(const Network &net, const Arm &arm, int from, int samples) {
  const Buffer &b = net.buffers[arm.source];
  size_t fired = 0, seen = 0;
  for (int t = 0; t < net.steps && seen < 65536; t++)
    for (int sample = from; sample < from + samples && seen < 65536; sample++, seen += b.image()) {
      const uint8_t *in = b.bits + (size_t(t) * net.samples + sample) * b.image();
      size_t k = 0;
      for (; k + 8 <= b.image(); k += 8) {
        uint64_t m;
        std::memcpy(&m, in + k, 8);
        fired += __builtin_popcountll(m);
      }
      for (; k < b.image(); k++) fired += __builtin_popcount(in[k]);
    }
  return double(fired) / (double(std::max<size_t>(1, seen)) / b.bytes * b.channels);
}

// Cycles of a neuron and a step, as they were measured on Zen 4: of lookups, and of lists and tables.
struct Cost {
  double look, others;
};
template <class Rate> Cost cost(const Layer &l, int samples, Rate rate) {
  const double places = double(samples) * l.height * l.width, full = places / (LANES * std::ceil(places / LANES));
  const double each = places > 2 * LANES ? 1.4 : places > LANES ? 1.9 : 3.2;  // a table is fetched for so many vectors
  double look = 6 + 0.3 * l.channels, others = 0;
  for (int a = 0; a < l.arms; a++) {
    const Arm &arm = l.arm[a];
    const int taps = arm.kh * arm.kw, tiles = l.padded / l.tile;
    const double parts = 3 * (words_of(arm) - 1) + parts_of(arm, words_of(arm) - 1);
    look += taps * parts * l.channels / LANES * each / full;
    if (arm.kind == EVENTS) {
      const double heard = taps * arm.channels * rate(arm);
      others += 4.5 * arm.kh * arm.bytes + tiles * (90 + (taps * arm.channels > CACHED_ROWS ? 2.1 : 1.5) * heard);
    } else {
      others += 12 + taps * (arm.channels > 4 ? 2 * arm.bytes : 1) * tiles * l.tile / 18.0;
    }
  }
  return {look, others};
}

bool worth_lookups(const Network &net, const Layer &l, int from, int samples) {
  if (!l.lookups || net.choice != MEASURED) return l.lookups && net.choice == ALWAYS;
  const Cost silent = cost(l, samples, [](const Arm &) { return 0; });
  if (silent.look < silent.others) return true;  // nobody needs to count
  const Cost heard = cost(l, samples, [&](const Arm &arm) { return rate(net, arm, from, samples); });
  return heard.look < heard.others;
}

// Who works on a run; its memory outlives the run for those that come too late.
class Crew {
 public:
  bool enter() {
    std::lock_guard<std::mutex> lock(mutex_);
    inside_ += !closed_;
    return !closed_;
  }
  void leave() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--inside_ == 0) empty_.notify_all();
  }
  void close() {  // until everybody has left
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    empty_.wait(lock, [&] { return inside_ == 0; });
  }

 private:
  int inside_ = 0;
  bool closed_ = false;
  std::mutex mutex_;
  std::condition_variable empty_;
};

struct Worker {
  const Network &net;
  Team &team;
  std::vector<Events> &lists;  // one for each arm of the layer at work; shared
  int begin, end;              // samples
  Scratch scratch;
  Sheet sheet;
  std::vector<Events> own;     // of a loop, for one sample and step
  Rows heard;                  // of the image that is being listed
  uint64_t turn = 0;           // of the team's work

  template <class F> void share(size_t n, F f) {  // in pieces that leave some for whoever is quicker
    team.share(turn, n, std::max<size_t>(1, n / (8 * team.size())), f);
  }

  void layer(const Layer &l) {
    const int total = end - begin;
    if (l.task != NEURONS) {
      const size_t rows = size_t(net.steps) * total * l.height;
      share(rows, [&](size_t from, size_t to) {
        for (size_t i = from; i < to; i++)
          bitwise(net, l, begin + int(i / l.height % total), int(i / l.height / total), int(i % l.height));
      });
      return;
    }
    if (worth_lookups(net, l, begin, total)) {
      const size_t places = size_t(total) * l.height * l.width, blocks = (places + PLACES - 1) / PLACES;
      const size_t words = size_t(l.channels + 15) / 16;  // of channels; shared where there are few places
      const size_t parts = team.size() == 1 ? 1 : std::min(words, std::max<size_t>(1, 2 * team.size() / blocks));
      team.share(turn, blocks * parts, 1, [&](size_t from, size_t to) {
        for (size_t i = from; i < to; i++) {
          const size_t place = i / parts * PLACES, part = i % parts;
          look(net, l, sheet, begin, Part{place, int(std::min<size_t>(PLACES, places - place)),
                                          int(part * words / parts * 16), int((part + 1) * words / parts * 16)});
        }
      });
      return;
    }
    size_t room = 1, weights = 0;
    for (int a = 0; a < l.arms; a++) {
      const Arm &arm = l.arm[a];
      if (arm.kind != EVENTS) continue;
      room = std::max(room, Events::room_of(arm, net.buffers[arm.source]) * l.height * net.steps);
      weights += size_t(arm.kh) * arm.kw * arm.channels * l.padded;
    }
    const size_t words = weights > CACHED_WEIGHTS ? MORE_WORDS : LIST_WORDS;
    const int batch = int(std::min<size_t>(total, std::max<size_t>(1, words / room)));
    const int tall = int(std::min<size_t>(l.height, std::max<size_t>(1, l.height * words / room)));
    for (int first = begin; first < end; first += batch)
      for (int y = 0; y < l.height; y += tall) rows(l, first, std::min(batch, end - first), y, std::min(tall, l.height - y), room > 1);
  }

  // Lists of what some rows of some samples hear, and their neurons.
  void rows(const Layer &l, int first, int samples, int top, int height, bool listed) {
    if (listed) team.share(turn, 1, 1, [&](size_t, size_t) {
      for (int a = 0; a < l.arms; a++)
        if (l.arm[a].kind == EVENTS && l.arm[a].delay < net.steps)
          lists[a].make(l.arm[a], net.buffers[l.arm[a].source], height, samples, 0, net.steps - l.arm[a].delay, first, top);
    });
    for (int a = 0; a < l.arms; a++) {
      const Arm &arm = l.arm[a];
      const int count = net.steps - arm.delay;
      if (arm.kind != EVENTS || count <= 0) continue;
      share(size_t(samples) * count * height, [&](size_t from, size_t to) {
        for (size_t i = from; i < to; i++)
          list_row(arm, net.buffers[arm.source], net, lists[a], heard, first + int(i / height / count), int(i / height % count), top + int(i % height));
      });
    }
    share(size_t(l.padded / l.tile) * samples * height, [&](size_t from, size_t to) {
      for (size_t i = from; i < to; i++)  // a tile's weights stay in the cache as long as they can
        neurons(net, l, lists, scratch,
                Span{first + int(i / height % samples), top + int(i % height), 0, 0, 0, net.steps, int(i / height / samples)});
    });
  }

  void loop(const Layer *from, const Layer *to) {  // each sample by itself, step by step
    team.share(turn, end - begin, 1, [&](size_t b0, size_t b1) {
      for (int sample = begin + int(b0); sample < begin + int(b1); sample++)
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
                for (int y = 0; y < l->height; y++) list_row(l->arm[a], b, net, own[a], heard, sample, t - l->arm[a].delay, y);
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

int32_t lookups() { return LOOKUPS; }

// How many cycles a run will take by the model, where a tenth of all inputs fire.
double work(const Network *net) {
  double cycles = 0;
  for (int i = 0; i < net->count; i++) {
    const Layer &l = net->layers[i];
    if (l.task != NEURONS) continue;
    const Cost c = cost(l, net->samples, [](const Arm &) { return 0.1; });
    const double each = l.lookups && net->choice != NEVER ? std::min(c.look, c.others) : c.others;
    cycles += each * net->steps * net->samples * l.height * l.width;
  }
  return cycles;
}

int32_t run(const Network *net) {
  int arms = 1;
  for (int i = 0; i < net->count; i++) arms = std::max(arms, net->layers[i].arms);
  // Samples are shared where there are some for everybody; else members of a team share each layer.
  const int size = std::max(1, net->threads);
  // Each share fetches all weights: not too small, and yet some for each thread, for another program may hold one up.
  const int chunk = std::max(std::min(8, (net->samples + size - 1) / size), net->samples / (4 * size));
  const bool alone = size == 1 || net->samples >= 2 * size;
  std::atomic<int> next{0};
  try {
    Team team(size);
    std::vector<Events> lists(arms);
    std::atomic<bool> failed{false};
    auto work = [&] {
      try {
        if (!alone) {
          auto worker = std::make_unique<Worker>(Worker{*net, team, lists, 0, net->samples, {}, {}, std::vector<Events>(arms)});
          worker->run();
          return;
        }
        Team none(1);
        std::vector<Events> mine(arms);
        auto worker = std::make_unique<Worker>(Worker{*net, none, mine, 0, 0, {}, {}, std::vector<Events>(arms)});
        const int each = size == 1 ? net->samples : chunk;
        for (int from; !failed && (from = next.fetch_add(each)) < net->samples;) {
          worker->begin = from, worker->end = std::min(net->samples, from + each);
          worker->run();
        }
      } catch (...) {
        failed = true;
        team.stop();
      }
    };
    // A thread that no processor was free to start before all was done is not waited for.
    auto crew = std::make_shared<Crew>();
    try {
      for (int k = 1; k < size; k++) std::thread([crew, &work] { if (crew->enter()) work(), crew->leave(); }).detach();
    } catch (...) {  // fewer threads do the same
    }
    work();
    crew->close();
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
