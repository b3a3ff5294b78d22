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
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

// L lanes of a vector: 16 everywhere, and 32 where a register holds as many.
#if defined(__AVX512BW__)
constexpr int WIDEST = 32;
#else
constexpr int WIDEST = 16;
#endif
template <int L> struct Vector {
  typedef int16_t shorts __attribute__((vector_size(2 * L)));
  typedef int32_t ints __attribute__((vector_size(4 * L)));
};
template <int L> using shorts = typename Vector<L>::shorts;
template <int L> using ints = typename Vector<L>::ints;
constexpr int BLOCK_BYTES = 16384;  // of currents at a time

struct Buffer {  // spikes of one edge
  uint8_t *bits;
  int32_t channels, height, width, bytes, border;
  size_t row() const { return size_t(width + 2 * border) * bytes; }
  size_t image() const { return row() * (height + 2 * border); }
};

enum Kind : int32_t { TABLES, EVENTS, LANEWISE };

struct Arm {  // a synapse: what it adds to a layer's currents
  int32_t kind, source, delay;
  int32_t kh, kw, sy, sx, py, px, dy, dx;
  int32_t places;  // LANEWISE: 1, or a weight for each place
  int32_t shared;  // EVENTS: all taps have the weights of one, as behind a mean over the image
  int32_t safe;    // EVENTS: how many rows may be added in 16 bits
  const void *weights;
};

enum Task : int32_t { NEURONS, LOGIC, POOL, SHIFT, FLATTEN };
enum Reset : int32_t { ZERO, SUBTRACT, NONE };

struct Layer {
  int32_t task, out, arms;
  int32_t height, width, channels, padded, tile;  // channels in whole tiles of 16, 32 or 64
  int32_t narrow, shift;   // 16 bits; the membrane counts in 2**-shift of a weight
  int32_t decay, current_decay, limit, reset, initial, places;  // decays in 4096ths
  int32_t table;           // LOGIC: bit k is the output where the inputs are the bits of k
  int32_t member;          // of a loop: runs step by step, with its states kept between
  const Arm *arm;
  const int32_t *bias, *threshold, *amount;  // [place or one][padded]
  int32_t *membrane, *current;      // states of a loop's layer: [sample][place][padded]
  int32_t *membranes, *currents;    // recordings: [t][sample][row][column][channel], or null
};

struct Network {
  const Buffer *buffers;
  const Layer *layers;
  int32_t count, steps, samples, threads;
};

template <class V> inline V load(const void *p) {
  V v;
  std::memcpy(&v, __builtin_assume_aligned(p, 32), sizeof v);
  return v;
}
template <class V> inline void store(void *p, V v) { std::memcpy(__builtin_assume_aligned(p, 32), &v, sizeof v); }
template <int L> inline ints<L> widened(shorts<L> v) { return __builtin_convertvector(v, ints<L>); }
template <int L> inline shorts<L> narrowed(ints<L> v) { return __builtin_convertvector(v, shorts<L>); }

// One bit a lane, of lanes that are 0 or -1.
template <int L> inline uint32_t bits_of(shorts<L> mask) {
#if defined(__AVX512BW__)
  if constexpr (L == 32) return _mm512_movepi16_mask((__m512i)mask);
#endif
#if defined(__AVX2__)
  if constexpr (L == 16) {
    __m256i m = (__m256i)mask;
    return uint16_t(_mm_movemask_epi8(_mm_packs_epi16(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1))));
  }
#endif
  uint32_t bits = 0;
  for (int k = 0; k < L; k++) bits |= uint32_t(mask[k] & 1) << k;
  return bits;
}

template <int L> inline ints<L> bit_of_lane() {
  ints<L> v;
  for (int k = 0; k < L; k++) v[k] = int32_t(1u << k);
  return v;
}

// x * decay / 4096 rounded towards zero, exact for |x| < 2**30.
template <class V> inline V faded(V x, int32_t decay) {
  V sign = x >> 31, m = (x ^ sign) - sign;
  V kept = (m >> 12) * decay + (((m & 4095) * decay) >> 12);
  return (kept ^ sign) - sign;
}

// Work is handed out in ranges; whoever comes first takes the next one. The result does not depend on it.
class Team {
 public:
  explicit Team(int size) : size_(size) {}
  int size() const { return size_; }
  template <class F> void share(size_t n, size_t grain, F f) {  // every member calls this, in the same order
    for (;;) {
      size_t from = next_.fetch_add(grain);
      if (from >= n) break;
      f(from, std::min(n, from + grain));
    }
    wait();
  }
  void wait() {
    if (size_ == 1) { next_ = 0; return; }
    std::unique_lock<std::mutex> lock(mutex_);
    const long turn = turn_;
    if (++arrived_ == size_) {
      arrived_ = 0, turn_++, next_ = 0;
      all_.notify_all();
    } else {
      all_.wait(lock, [&] { return turn_ != turn; });
    }
  }

 private:
  const int size_;
  int arrived_ = 0;
  long turn_ = 0;
  std::atomic<size_t> next_{0};
  std::mutex mutex_;
  std::condition_variable all_;
};

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

const uint8_t *row_of(const Network &net, const Arm &arm, int sample, int t, int y) {  // null before the delay is over
  const Buffer &b = net.buffers[arm.source];
  if (t < arm.delay) return nullptr;
  return b.bits + (size_t(t - arm.delay) * net.samples + sample) * b.image() + size_t(y + b.border) * b.row() +
         size_t(b.border) * b.bytes;
}

// One row of a layer that needs no currents.
void bitwise(const Network &net, const Layer &l, int sample, int t, int y) {
  const Buffer &b = net.buffers[l.out];
  uint8_t *out = b.bits + (size_t(t) * net.samples + sample) * b.image() + size_t(y + b.border) * b.row() + size_t(b.border) * b.bytes;
  const size_t n = size_t(b.width) * b.bytes;
  if (l.task == LOGIC) {  // any function of up to three spikes, as the sum of its minterms
    static const std::vector<uint8_t> nothing(1 << 20, 0);
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
    const Buffer &from = net.buffers[arm.source];
    std::memset(out, 0, n);
    for (int ky = 0; ky < arm.kh; ky++) {
      const uint8_t *in = row_of(net, arm, sample, t, y * arm.sy - arm.py + ky * arm.dy);
      for (int x = 0; in && x < b.width; x++)
        for (int kx = 0; kx < arm.kw; kx++)
          for (int j = 0; j < b.bytes; j++) out[x * b.bytes + j] |= in[(x * arm.sx - arm.px + kx * arm.dx) * from.bytes + j];
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

constexpr size_t LIST_WORDS = size_t(1) << 24;  // of events at a time, if every input fired: 64 MiB of addresses

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
    for (int a = 0; a < l.arms; a++) {
      const Buffer &b = net.buffers[l.arm[a].source];
      if (l.arm[a].kind == EVENTS) room = std::max(room, b.image() * 8 * net.steps);
    }
    const int batch = int(std::min<size_t>(net.samples, std::max<size_t>(1, LIST_WORDS / room)));
    for (int first = 0; first < net.samples; first += batch) {
      const int samples = std::min(batch, net.samples - first);
      for (int a = 0; a < l.arms; a++) {
        const Arm &arm = l.arm[a];
        const int count = net.steps - arm.delay;
        if (arm.kind != EVENTS || count <= 0) continue;
        const Buffer &b = net.buffers[arm.source];
        team.share(1, 1, [&](size_t, size_t) { lists[a].make(b, samples, 0, count, first); });
        team.share(size_t(samples) * count, 1, [&](size_t from, size_t to) {
          for (size_t i = from; i < to; i++) list_image(b, net, lists[a], first + int(i / count), int(i % count));
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
                own[a].make(b, 1, t - l->arm[a].delay, 1, sample);
                list_image(b, net, own[a], sample, t - l->arm[a].delay);
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
    auto work = [&] {
      auto worker = std::make_unique<Worker>(Worker{*net, team, lists, {}, std::vector<Events>(arms)});
      worker->run();
    };
    std::vector<std::thread> others;
    for (int k = 1; k < size; k++) others.emplace_back(work);
    work();
    for (auto &other : others) other.join();
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
