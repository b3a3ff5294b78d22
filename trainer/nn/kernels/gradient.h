// The gradient of the weights: for each spike, the gradients of all pixels that heard it are added.
//
// Channel by channel: the sums of all taps stay in registers while the spikes of a band of rows pass.
#pragma once
#include <algorithm>
#include <vector>
#include "lists.h"
#include "vectors.h"

namespace {

constexpr int64_t BAND = 20480;   // bytes of gradients that stay in a first-level cache
constexpr int64_t CACHE = 28672;  // bytes of the first-level cache that gradients may take
constexpr int64_t GROUP = 16;     // channels whose lists are made at a time
constexpr int64_t SHARES = 16;    // of the images; fixed, so that threads do not change the sums

inline uint64_t transposed(uint64_t x) {  // 8 x 8 bits (Hacker's Delight, 7-3)
    uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ull;
    return x ^ t ^ (t << 28);
}

// Rows and columns of pixels that a stride tells apart: among those of one phase, each tap is a step of whole rows and
// columns of the output, and other taps hear none of them.
struct Phase {
    int64_t y, x, rows, columns;
    std::vector<int64_t> taps, down, right;  // which taps, and how far from a pixel what heard it lies
};

// The frame in which gradients lie: a border of zeros around the output.
struct Frame {
    int64_t top = 0, left = 0, height = 0, pitch = 0;
    std::vector<Phase> phases;
    explicit Frame(const Shape &s) {
        int64_t bottom = 0, end = 0;
        for (int64_t y = 0; y < std::min(s.sy, s.height); ++y)
            for (int64_t x = 0; x < std::min(s.sx, s.width); ++x) {
                Phase p{y, x, (s.height - y + s.sy - 1) / s.sy, (s.width - x + s.sx - 1) / s.sx, {}, {}, {}};
                for (int64_t tap = 0; tap < s.kh * s.kw; ++tap) {
                    const int64_t down = y + s.py - tap / s.kw * s.dy, right = x + s.px - tap % s.kw * s.dx;
                    if (down % s.sy || right % s.sx) continue;
                    p.taps.push_back(tap), p.down.push_back(down / s.sy), p.right.push_back(right / s.sx);
                    top = std::max(top, -p.down.back()), left = std::max(left, -p.right.back());
                    bottom = std::max(bottom, p.down.back() + p.rows), end = std::max(end, p.right.back() + p.columns);
                }
                if (!p.taps.empty()) phases.push_back(p);
            }
        height = top + std::max(bottom, s.rows), pitch = up(left + std::max(end, s.columns), 8);
        for (Phase &p : phases)
            for (size_t k = 0; k < p.taps.size(); ++k) p.down[k] += top, p.right[k] += left;
    }
};

// K taps; few of them have U sums each, since an addition takes several cycles.
template <class R, int V, int K>
inline void gather(const uint32_t *list, const uint32_t *end, const R *from, const int64_t *taps, R *sums) {
    constexpr int TILE = V * LANES<R>, U = K >= 8 ? 1 : 8 / K;
    vec<R> sum[U][K][V] = {};
    const auto add = [&](int u, uint32_t place) {
        const R *at = reinterpret_cast<const R *>(reinterpret_cast<const char *>(from) + place);
        for (int k = 0; k < K; ++k)
            for (int v = 0; v < V; ++v) sum[u][k][v] += load<R>(at + taps[k] + v * LANES<R>);
    };
    for (; end - list >= U; list += U)
        for (int u = 0; u < U; ++u) add(u, list[u]);
    for (; list < end; ++list) add(0, *list);
    for (int k = 0; k < K; ++k)
        for (int v = 0; v < V; ++v) {
            for (int u = 1; u < U; ++u) sum[0][k][v] += sum[u][k][v];
            R *to = sums + k * TILE + v * LANES<R>;
            store<R>(to, load<R>(to) + sum[0][k][v]);
        }
}

// The bits of one phase of an image, channel by channel: [channel][row][byte].
inline void planes_of(const uint8_t *in, const Shape &s, const Phase &p, int64_t wide, uint8_t *planes) {
    const int64_t bytes = s.bytes();
    for (int64_t y = 0; y < p.rows; ++y)
        for (int64_t x = 0; x < p.columns; x += 8) {
            const int64_t count = std::min<int64_t>(8, p.columns - x);
            const uint8_t *from = in + ((p.y + y * s.sy) * s.width + p.x + x * s.sx) * bytes;
            for (int64_t b = 0; b < bytes; ++b) {
                uint64_t square = 0;
                for (int64_t k = 0; k < count; ++k) square |= uint64_t(from[k * s.sx * bytes + b]) << (8 * k);
                square = transposed(square);
                for (int64_t k = 0; k < 8; ++k) planes[((8 * b + k) * p.rows + y) * wide + x / 8] = uint8_t(square >> (8 * k));
            }
        }
}

// sums: [tile][channel][tap, phase by phase][lane]
template <class R, int V>
void share(const uint8_t *bits, const R *grad, const Shape &s, const Frame &f, int64_t from, int64_t to, R *sums) {
    constexpr int TILE = V * LANES<R>;
    constexpr uint32_t PIXEL = TILE * sizeof(R);
    const int64_t tiles = up(s.out, TILE) / TILE, taps = s.kh * s.kw, bytes = s.bytes();
    const int64_t wide = f.pitch / 8;  // bytes of a row of a plane
    lined<R> frame(size_t(tiles * f.height * f.pitch * TILE));
    std::vector<uint8_t> planes(size_t(bytes * 8 * s.height * wide) + 8);
    std::vector<uint32_t> lists;  // of some channels in a band: bytes from the begin of the frame
    std::vector<int64_t> offset(static_cast<size_t>(taps));
    const int64_t row_bytes = f.pitch * PIXEL;
    for (int64_t n = from; n < to; ++n) {
        const R *g = grad + n * s.pixels() * s.out;
        for (int64_t i = 0; i < tiles; ++i)
            for (int64_t y = 0; y < s.rows; ++y) {
                R *lane = frame.data() + ((i * f.height + f.top + y) * f.pitch + f.left) * TILE;
                const R *of = g + y * s.columns * s.out + i * TILE;
                const int64_t count = s.out - i * TILE;
                for (int64_t x = 0; x < s.columns; ++x, lane += TILE, of += s.out)
                    for (int v = 0; v < V; ++v) {
                        const int64_t left = count - v * LANES<R>;
                        if (left >= LANES<R>) store<R>(lane + v * LANES<R>, load<R>(of + v * LANES<R>));
                        else if (left > 0) std::copy(of + v * LANES<R>, of + count, lane + v * LANES<R>);
                    }
            }
        R *phased = sums;
        for (const Phase &p : f.phases) {
            const int64_t count = int64_t(p.taps.size());
            for (size_t k = 0; k < p.taps.size(); ++k) offset[k] = (p.down[k] * f.pitch + p.right[k]) * TILE;
            std::fill(planes.begin(), planes.end(), uint8_t(0));  // rows of another phase may be longer
            planes_of(bits + n * s.image(), s, p, wide, planes.data());
            const int64_t reach = *std::max_element(p.down.begin(), p.down.end()) - *std::min_element(p.down.begin(), p.down.end());
            const int64_t band = std::clamp<int64_t>(BAND / row_bytes - reach, 2, std::max<int64_t>(p.rows, 2));
            // Several channels at a time where the bands of all tiles do not fit: that of one tile then stays in the cache.
            const int64_t group = tiles > 1 && tiles * std::min(band + reach, f.height) * row_bytes > CACHE ? GROUP : 1;
            lists.resize(std::max(lists.size(), size_t(group * std::min(band, p.rows) * wide * 8 + 8)));
            const auto hear = [&](int64_t i, int64_t c, const uint32_t *list, const uint32_t *end) {
                const R *heard = frame.data() + i * f.height * f.pitch * TILE;
                R *sum = phased + (i * s.channels + c) * taps * TILE;
                const int64_t *at = offset.data();
                int64_t k = 0;
                for (; k + 9 <= count; k += 9) gather<R, V, 9>(list, end, heard, at + k, sum + k * TILE);
                for (; k + 4 <= count; k += 4) gather<R, V, 4>(list, end, heard, at + k, sum + k * TILE);
                for (; k + 2 <= count; k += 2) gather<R, V, 2>(list, end, heard, at + k, sum + k * TILE);
                for (; k < count; ++k) gather<R, V, 1>(list, end, heard, at + k, sum + k * TILE);
            };
            for (int64_t y = 0; y < p.rows; y += band) {
                const int64_t length = std::min(band, p.rows - y) * wide;
                const auto listing = [&](int64_t c, uint32_t *end) {
                    const uint8_t *plane = planes.data() + (c * p.rows + y) * wide;
                    uint32_t place = uint32_t(y * row_bytes);
                    for (int64_t k = 0; k < length; ++k, place += 8 * PIXEL) end = listed(end, plane[k], place, PIXEL);
                    return end;
                };
                for (int64_t c = 0; group == 1 && c < s.channels; ++c) {
                    const uint32_t *end = listing(c, lists.data());
                    for (int64_t i = 0; i < tiles; ++i) hear(i, c, lists.data(), end);
                }
                for (int64_t c = 0; group > 1 && c < s.channels; c += group) {
                    const int64_t many = std::min(group, s.channels - c);
                    uint32_t *ends[GROUP + 1] = {lists.data()};
                    for (int64_t k = 0; k < many; ++k) ends[k + 1] = listing(c + k, ends[k]);
                    for (int64_t i = 0; i < tiles; ++i)
                        for (int64_t k = 0; k < many; ++k) hear(i, c + k, ends[k], ends[k + 1]);
                }
            }
            phased += count * TILE;
        }
    }
}

// grad: (images, rows, columns, out); out: (out, channels, kh, kw).
template <class R, int V>
void weights(const uint8_t *bits, const R *grad, R *out, const Shape &s, int threads) {
    constexpr int TILE = V * LANES<R>;
    const int64_t tiles = up(s.out, TILE) / TILE, taps = s.kh * s.kw, size = tiles * s.channels * taps * TILE;
    const int64_t shares = std::min(SHARES, s.images);
    const Frame frame(s);
    lined<R> sums(size_t(size * shares));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t k = 0; k < shares; ++k)
        share<R, V>(bits, grad, s, frame, s.images * k / shares, s.images * (k + 1) / shares, sums.data() + k * size);
    for (int64_t k = 1; k < shares; ++k)
        for (int64_t j = 0; j < size; ++j) sums[size_t(j)] += sums[size_t(k * size + j)];
    std::vector<int64_t> place(size_t(taps), -1);  // of taps that hear something
    int64_t next = 0;
    for (const Phase &p : frame.phases)
        for (const int64_t tap : p.taps) place[size_t(tap)] = next++;
    for (int64_t o = 0; o < s.out; ++o)
        for (int64_t c = 0; c < s.channels; ++c)
            for (int64_t k = 0; k < taps; ++k) {
                const int64_t at = (o / TILE * s.channels + c) * taps;
                out[(o * s.channels + c) * taps + k] = place[size_t(k)] < 0 ? R(0) : sums[size_t((at + place[size_t(k)]) * TILE + o % TILE)];
            }
}

template <class R>
void gradient(const uint8_t *bits, const R *grad, R *out, const Shape &s, int threads) {
#if defined(__AVX512F__)
    if (s.out > LANES<R>) return weights<R, 2>(bits, grad, out, s, threads);
#endif
    weights<R, 1>(bits, grad, out, s, threads);
}

}  // namespace
