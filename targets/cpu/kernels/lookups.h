// Convolutions as lookups in registers, where a processor shuffles 16-bit lanes.
//
// Here the lanes are 32 neurons of one channel, not 32 channels of one neuron: five or six inputs of each are an index,
// and one instruction finds the 32 sums of their weights in a table that is a register or two. The cost does not depend
// on how many inputs fire. Membranes stay in the same lanes; spikes are gathered into words of 16 channels.
#pragma once
#include <cstring>
#include <vector>
#include "synapses.h"

namespace {

#if defined(__AVX512BW__) && defined(__AVX512F__)
constexpr bool LOOKUPS = true;
#else
constexpr bool LOOKUPS = false;
#endif
constexpr int LANES = 32, OUTS = 4, BLOCKS = 4;  // neurons of a vector; channels, and vectors, at a time
constexpr int PLACES = LANES * BLOCKS, STEPS = 16;
constexpr size_t HEARD_WORDS = 8192;  // that stay in a first-level cache beside a table

inline int words_of(const Arm &arm) { return (arm.channels + 15) / 16; }
inline int parts_of(const Arm &arm, int word) {  // of a word: five, five and six inputs
  const int left = arm.channels - 16 * word;
  return left > 10 ? 3 : left > 5 ? 2 : 1;
}
inline size_t table_of(int part) { return part == 2 ? 64 : 32; }

struct Part {  // of a layer: neurons from number `place` on, which may go on into the next samples; whole words of channels
  size_t place;
  int count, from, to;
};

struct Sheet {  // of one worker: what some neurons hear in a step, and their states
  std::vector<uint16_t> heard;      // [step][arm][tap][word][block][lane]
  std::vector<int32_t> membranes;   // [channel][block][lane], of 16 or 32 bits
  std::vector<uint32_t> from;       // [arm][block][lane]: bytes from the start of an image
  uint32_t to[PLACES];
  alignas(64) uint16_t spikes[STEPS * PLACES];  // [step][block][lane], of 16 channels
};

#if defined(__AVX512BW__) && defined(__AVX512F__)

template <class V> inline V *aligned(std::vector<V> &v, size_t n) {
  if (v.size() < n + 64) v.resize(n + 64);
  return (V *)((uintptr_t(v.data()) + 63) & ~uintptr_t(63));
}

// Pixels of so many words, side by side, to words of one number side by side: [lane][word] -> [word][lane].
template <int WORDS> inline void untangle(const uint16_t *pixels, int lanes, uint16_t *to) {
  for (int k = 0; k < lanes; k += LANES, pixels += LANES * WORDS) {
    if constexpr (WORDS == 2) {
      alignas(64) static constexpr struct Even {
        uint16_t at[LANES];
        constexpr Even() : at() { for (int n = 0; n < LANES; n++) at[n] = uint16_t(2 * n); }
      } even;
      const __m512i first = _mm512_load_si512(even.at), one = _mm512_set1_epi16(1);
      const __m512i p = _mm512_loadu_si512(pixels), q = _mm512_loadu_si512(pixels + LANES);
      _mm512_store_si512(to + k, _mm512_permutex2var_epi16(p, first, q));
      _mm512_store_si512(to + lanes + k, _mm512_permutex2var_epi16(p, _mm512_add_epi16(first, one), q));
    } else {
      for (int n = 0; n < LANES; n += 8) {
        const __m512i p = _mm512_loadu_si512(pixels + n * WORDS);
        for (int j = 0; j < WORDS; j++)
          _mm_store_si128((__m128i *)(to + j * lanes + k + n), _mm512_cvtepi64_epi16(_mm512_srli_epi64(p, unsigned(16 * j))));
      }
    }
  }
}

// The words that each neuron hears through a synapse in a step.
template <int NB> void hear(const Network &net, const Layer &l, const Arm &arm, const uint32_t *from, int first, size_t place, int t, uint16_t *to) {
  constexpr int WIDE = NB * LANES;
  const Buffer &b = net.buffers[arm.source];
  const uint8_t *const image = b.bits + (size_t(t - arm.delay) * net.samples + first) * b.image() + arm.first;
  const int words = words_of(arm), size = b.bytes;
  const bool whole = size == 2 * words && (words == 1 || words == 2 || words == 4), byte = size == 1;
  alignas(64) uint16_t pixels[WIDE * 4 + LANES];
  for (int ky = 0; ky < arm.kh; ky++)
    for (int kx = 0; kx < arm.kw; kx++, to += words * WIDE) {
      const uint8_t *const tap = image + ky * arm.dy * b.row() + size_t(kx) * arm.dx * size;
      uint8_t *const raw = whole && words == 1 ? (uint8_t *)to : (uint8_t *)pixels;
      if (!whole && !byte) {
        for (int j = 0; j < words; j++)
          for (int lane = 0; lane < WIDE; lane++) std::memcpy(to + j * WIDE + lane, tap + from[lane] + 2 * j, 2);
        continue;
      }
      if (arm.sx == 1) {  // neighbours lie side by side
        for (int lane = 0, x = int(place % l.width); lane < WIDE; lane += l.width - x, x = 0)
          for (int k = lane * size, end = std::min(WIDE, lane + l.width - x) * size; k < end; k += 64)
            std::memcpy(raw + k, tap + from[lane] + (k - lane * size), 64);
      } else if (size == 1) {
        for (int lane = 0; lane < WIDE; lane++) raw[lane] = tap[from[lane]];
      } else if (size == 2) {
        for (int lane = 0; lane < WIDE; lane++) std::memcpy(raw + 2 * lane, tap + from[lane], 2);
      } else if (size == 4) {
        for (int lane = 0; lane < WIDE; lane++) std::memcpy(raw + 4 * lane, tap + from[lane], 4);
      } else {
        for (int lane = 0; lane < WIDE; lane++) std::memcpy(raw + 8 * lane, tap + from[lane], 8);
      }
      if (byte) for (int lane = 0; lane < WIDE; lane++) to[lane] = raw[lane];
      else if (words == 2) untangle<2>(pixels, WIDE, to);
      else if (words == 4) untangle<4>(pixels, WIDE, to);
    }
}

// The sums of four channels: all words of all synapses.
template <int NB> inline void look_up(const Layer &l, const uint16_t *heard, const int16_t *table, int t, __m512i (&sum)[OUTS][NB]) {
  for (auto &row : sum) for (auto &v : row) v = _mm512_setzero_si512();
  for (int a = 0; a < l.arms; a++) {
    const Arm &arm = l.arm[a];
    const int words = words_of(arm), taps = arm.kh * arm.kw;
    if (t < arm.delay) {
      heard += size_t(taps) * words * NB * LANES, table += arm.lookup_size;
      continue;
    }
    for (int tap = 0; tap < taps; tap++)
      for (int j = 0; j < words; j++, heard += NB * LANES) {
        __m512i x[NB];
        for (int b = 0; b < NB; b++) x[b] = _mm512_load_si512(heard + b * LANES);
        const int parts = parts_of(arm, j);
        for (int o = 0; o < OUTS; o++, table += 32) {
          const __m512i low = _mm512_load_si512(table);
          for (int b = 0; b < NB; b++) sum[o][b] = _mm512_add_epi16(sum[o][b], _mm512_permutexvar_epi16(x[b], low));
        }
        if (parts == 1) continue;
        for (int b = 0; b < NB; b++) x[b] = _mm512_srli_epi16(x[b], 5);
        for (int o = 0; o < OUTS; o++, table += 32) {
          const __m512i low = _mm512_load_si512(table);
          for (int b = 0; b < NB; b++) sum[o][b] = _mm512_add_epi16(sum[o][b], _mm512_permutexvar_epi16(x[b], low));
        }
        if (parts == 2) continue;
        for (int b = 0; b < NB; b++) x[b] = _mm512_srli_epi16(x[b], 5);
        for (int o = 0; o < OUTS; o++, table += 64) {
          const __m512i low = _mm512_load_si512(table), high = _mm512_load_si512(table + 32);
          for (int b = 0; b < NB; b++) sum[o][b] = _mm512_add_epi16(sum[o][b], _mm512_permutex2var_epi16(low, x[b], high));
        }
      }
  }
}

// 32 membranes, of 16 bits or 32: which of them fire.
inline uint32_t step(const Layer &l, int channel, __m512i x, int16_t *v) {
  __m512i m = _mm512_add_epi16(x, _mm512_set1_epi16(int16_t(l.bias[channel])));
  if (l.decay) m = _mm512_add_epi16(m, _mm512_load_si512(v));
  const uint32_t fired = _mm512_cmpge_epi16_mask(m, _mm512_set1_epi16(int16_t(l.threshold[channel])));
  m = l.reset == ZERO ? _mm512_maskz_mov_epi16(~fired, m) : _mm512_mask_sub_epi16(m, fired, m, _mm512_set1_epi16(int16_t(l.amount[channel])));
  _mm512_store_si512(v, m);
  return fired;
}
inline uint32_t step(const Layer &l, int channel, __m512i x, int32_t *v) {
  uint32_t bits = 0;
  for (int half = 0; half < 2; half++) {
    __m512i m = _mm512_cvtepi16_epi32(half ? _mm512_extracti64x4_epi64(x, 1) : _mm512_castsi512_si256(x));
    m = _mm512_slli_epi32(_mm512_add_epi32(m, _mm512_set1_epi32(l.bias[channel])), unsigned(l.shift));
    if (l.decay) m = _mm512_add_epi32(m, _mm512_load_si512(v + 16 * half));
    m = _mm512_max_epi32(_mm512_min_epi32(m, _mm512_set1_epi32(l.limit)), _mm512_set1_epi32(-l.limit));
    const __mmask16 fired = _mm512_cmpge_epi32_mask(m, _mm512_set1_epi32(l.threshold[channel]));
    m = l.reset == ZERO ? _mm512_maskz_mov_epi32(__mmask16(~fired), m) : _mm512_mask_sub_epi32(m, fired, m, _mm512_set1_epi32(l.amount[channel]));
    _mm512_store_si512(v + 16 * half, m);
    bits |= uint32_t(fired) << (16 * half);
  }
  return bits;
}

// Where what belongs to each neuron begins; lanes without a neuron repeat the first one.
inline void offsets(const Layer &l, const Buffer &b, size_t place, int count, int wide, size_t down, size_t right, size_t start, uint32_t *to) {
  const size_t area = size_t(l.height) * l.width;
  size_t image = place / area * b.image(), y = place % area / l.width, x = place % l.width;
  for (int k = 0; k < wide; k++) {
    to[k] = k < count ? uint32_t(start + image + y * down + x * right) : to[0];
    if (++x < size_t(l.width)) continue;
    x = 0;
    if (++y == size_t(l.height)) y = 0, image += b.image();
  }
}

// All steps of a part, places counted from sample `first` on.
template <int NB, class M> void look(const Network &net, const Layer &l, Sheet &sheet, int first, const Part &part) {
  const auto [place, count, begin, end] = part;
  const int wide = NB * LANES;
  const Buffer &out = net.buffers[l.out];
  size_t size = 0, tables = 0;
  sheet.from.resize(size_t(l.arms) * wide);
  for (int a = 0; a < l.arms; a++) {
    const Arm &arm = l.arm[a];
    const Buffer &b = net.buffers[arm.source];
    size += size_t(arm.kh) * arm.kw * words_of(arm) * wide, tables += arm.lookup_size;
    offsets(l, b, place, count, wide, arm.sy * b.row(), size_t(arm.sx) * b.bytes, (b.border - arm.py) * b.row() + size_t(b.border - arm.px) * b.bytes, &sheet.from[size_t(a) * wide]);
  }
  offsets(l, out, place, count, wide, out.row(), out.bytes, out.border * out.row() + size_t(out.border) * out.bytes, sheet.to);
  const int steps = int(std::clamp<size_t>(HEARD_WORDS / size, 1, size_t(std::min(net.steps, STEPS))));
  uint16_t *const heard = aligned(sheet.heard, size * steps);
  M *const v = (M *)aligned(sheet.membranes, size_t(end - begin) * wide);
  std::fill(v, v + size_t(end - begin) * wide, M(l.initial));
  for (int t0 = 0; t0 < net.steps; t0 += steps) {
    const int t1 = std::min(net.steps, t0 + steps);
    uint16_t *to = heard;
    for (int t = t0; t < t1; t++)
      for (int a = 0; a < l.arms; a++) {
        const Arm &arm = l.arm[a];
        if (t >= arm.delay) hear<NB>(net, l, arm, &sheet.from[size_t(a) * wide], first, place, t, to);
        to += size_t(arm.kh) * arm.kw * words_of(arm) * wide;
      }
    const int16_t *table = l.lookups + size_t(begin / OUTS) * tables;
    for (int j = begin; j < end; j += 16) {
      for (int c = j; c < j + 16 && c < l.channels; c += OUTS, table += tables)
        for (int t = t0; t < t1; t++) {
          __m512i sum[OUTS][NB];
          look_up<NB>(l, heard + size_t(t - t0) * size, table, t, sum);
          uint16_t *const words = sheet.spikes + size_t(t - t0) * wide;
          for (int b = 0; b < NB; b++) {
            __m512i spikes = c == j ? _mm512_setzero_si512() : _mm512_load_si512(words + b * LANES);
            for (int o = 0; o < OUTS; o++) {
              const uint32_t fired = step(l, c + o, sum[o][b], v + (size_t(c + o - begin) * NB + b) * LANES);
              spikes = _mm512_or_si512(spikes, _mm512_maskz_set1_epi16(fired, int16_t(1 << (c + o - j))));
            }
            _mm512_store_si512(words + b * LANES, spikes);
          }
        }
      for (int t = t0; t < t1; t++) {
        uint8_t *const image = out.bits + (size_t(t) * net.samples + first) * out.image() + j / 8;
        const uint16_t *const words = sheet.spikes + size_t(t - t0) * wide;
        if (out.bytes - j / 8 > 1) for (int k = 0; k < count; k++) std::memcpy(image + sheet.to[k], words + k, 2);
        else for (int k = 0; k < count; k++) image[sheet.to[k]] = uint8_t(words[k]);
      }
    }
  }
}

template <class M> void look(const Network &net, const Layer &l, Sheet &sheet, int first, const Part &part) {
  if (part.count > 2 * LANES) look<4, M>(net, l, sheet, first, part);
  else if (part.count > LANES) look<2, M>(net, l, sheet, first, part);
  else look<1, M>(net, l, sheet, first, part);
}

void look(const Network &net, const Layer &l, Sheet &sheet, int first, const Part &part) {
  if (l.narrow) look<int16_t>(net, l, sheet, first, part);
  else look<int32_t>(net, l, sheet, first, part);
}

#else

void look(const Network &, const Layer &, Sheet &, int, const Part &) {}

#endif

}  // namespace
