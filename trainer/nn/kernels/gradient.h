// The gradient of the weights: for each spike, the gradients of all pixels that heard it are added.
//
// Channel by channel: the sums of all taps stay in registers while the spikes of a band of rows pass.
#pragma once
#include <algorithm>
#include <vector>
#include "vectors.h"

namespace {

constexpr int64_t BAND = 20480;  // bytes of gradients that stay in a first-level cache
constexpr int64_t SHARES = 16;   // of the images; fixed, so that threads do not change the sums

inline uint64_t transposed(uint64_t x) {  // 8 x 8 bits (Hacker's Delight, 7-3)
    uint64_t t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0ull;
    return x ^ t ^ (t << 28);
}

// The frame in which gradients lie: that of the input, with a border, and zeros where a stride skips.
struct Frame {
    int64_t pitch, height, top, left;
    explicit Frame(const Shape &s) {
        top = (s.kh - 1) * s.dy - s.py, left = (s.kw - 1) * s.dx - s.px;
        pitch = up(s.width + (s.kw - 1) * s.dx, 8);
        height = s.height + (s.kh - 1) * s.dy;
    }
};

template <class R, int V, int K>
inline void gather(const int32_t *list, const int32_t *end, const R *from, const int64_t *taps, R *sums) {
    constexpr int TILE = V * LANES<R>;
    vec<R> sum[K][V];
    for (int k = 0; k < K; ++k)
        for (int v = 0; v < V; ++v) sum[k][v] = vec<R>{};
    for (; list < end; ++list) {
        const R *at = from + int64_t(*list) * TILE;
        for (int k = 0; k < K; ++k)
            for (int v = 0; v < V; ++v) sum[k][v] += load<R>(at + taps[k] + v * LANES<R>);
    }
    for (int k = 0; k < K; ++k)
        for (int v = 0; v < V; ++v) {
            R *to = sums + k * TILE + v * LANES<R>;
            store<R>(to, load<R>(to) + sum[k][v]);
        }
}

// sums: [tile][channel][tap][lane]
template <class R, int V>
void share(const uint8_t *bits, const R *grad, const Shape &s, int64_t from, int64_t to, R *sums) {
    constexpr int TILE = V * LANES<R>;
    const Frame f(s);
    const int64_t tiles = up(s.out, TILE) / TILE, taps = s.kh * s.kw, bytes = s.bytes();
    const int64_t wide = f.pitch / 8;  // bytes of a row of a plane
    lined<R> frame(size_t(tiles * f.height * f.pitch * TILE));
    std::vector<uint8_t> planes(size_t(bytes * 8 * s.height * wide) + 8);
    std::vector<int32_t> list(size_t(s.height * f.pitch));
    std::vector<int64_t> offset(static_cast<size_t>(taps));
    for (int64_t y = 0; y < s.kh; ++y)  // the pixel that hears through tap (0, 0) is the last one
        for (int64_t x = 0; x < s.kw; ++x)
            offset[size_t(y * s.kw + x)] = (((s.kh - 1 - y) * s.dy) * f.pitch + (s.kw - 1 - x) * s.dx) * TILE;
    const int64_t row_bytes = f.pitch * TILE * int64_t(sizeof(R));
    const int64_t band = std::clamp<int64_t>(BAND / row_bytes - (s.kh - 1) * s.dy, 2, s.height < 2 ? 2 : s.height);
    for (int64_t n = from; n < to; ++n) {
        const R *g = grad + n * s.pixels() * s.out;
        for (int64_t y = 0; y < s.rows; ++y) {
            const int64_t line = f.top + y * s.sy;
            if (line < 0 || line >= f.height) continue;
            for (int64_t x = 0; x < s.columns; ++x) {
                const int64_t place = f.left + x * s.sx;
                if (place < 0 || place >= f.pitch) continue;
                for (int64_t i = 0; i < tiles; ++i) {
                    R *lane = frame.data() + ((i * f.height + line) * f.pitch + place) * TILE;
                    const R *of = g + (y * s.columns + x) * s.out + i * TILE;
                    if (s.out - i * TILE >= TILE)
                        for (int v = 0; v < V; ++v) store<R>(lane + v * LANES<R>, load<R>(of + v * LANES<R>));
                    else
                        std::copy(of, of + (s.out - i * TILE), lane);
                }
            }
        }
        const uint8_t *in = bits + n * s.image();
        for (int64_t y = 0; y < s.height; ++y)
            for (int64_t x = 0; x < s.width; x += 8) {
                const int64_t count = std::min<int64_t>(8, s.width - x);
                for (int64_t b = 0; b < bytes; ++b) {
                    uint64_t square = 0;
                    for (int64_t k = 0; k < count; ++k) square |= uint64_t(in[(y * s.width + x + k) * bytes + b]) << (8 * k);
                    square = transposed(square);
                    for (int64_t k = 0; k < 8; ++k) planes[size_t(((8 * b + k) * s.height + y) * wide + x / 8)] = uint8_t(square >> (8 * k));
                }
            }
        for (int64_t y = 0; y < s.height; y += band) {
            const int64_t rows = std::min(band, s.height - y), length = rows * wide;
            for (int64_t c = 0; c < s.channels; ++c) {
                const uint8_t *plane = planes.data() + (c * s.height + y) * wide;
                int32_t *end = list.data();
                const int32_t base = int32_t(y * f.pitch);
                for (int64_t k = 0; k < length; k += 8) {
                    uint64_t word = 0;
                    std::memcpy(&word, plane + k, size_t(std::min<int64_t>(8, length - k)));
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
                    word = __builtin_bswap64(word);
#endif
                    for (; word; word &= word - 1) *end++ = base + int32_t(8 * k) + __builtin_ctzll(word);
                }
                for (int64_t i = 0; i < tiles; ++i) {
                    const R *heard = frame.data() + i * f.height * f.pitch * TILE;
                    R *sum = sums + (i * s.channels + c) * taps * TILE;
                    int64_t k = 0;
                    for (; k + 9 <= taps; k += 9) gather<R, V, 9>(list.data(), end, heard, &offset[size_t(k)], sum + k * TILE);
                    for (; k + 5 <= taps; k += 5) gather<R, V, 5>(list.data(), end, heard, &offset[size_t(k)], sum + k * TILE);
                    for (; k < taps; ++k) gather<R, V, 1>(list.data(), end, heard, &offset[size_t(k)], sum + k * TILE);
                }
            }
        }
    }
}

// grad: (images, rows, columns, out); out: (out, channels, kh, kw).
template <class R, int V>
void weights(const uint8_t *bits, const R *grad, R *out, const Shape &s, int threads) {
    constexpr int TILE = V * LANES<R>;
    const int64_t tiles = up(s.out, TILE) / TILE, taps = s.kh * s.kw, size = tiles * s.channels * taps * TILE;
    const int64_t shares = std::min(SHARES, s.images);
    lined<R> sums(size_t(size * shares));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t k = 0; k < shares; ++k)
        share<R, V>(bits, grad, s, s.images * k / shares, s.images * (k + 1) / shares, sums.data() + k * size);
    for (int64_t k = 1; k < shares; ++k)
        for (int64_t j = 0; j < size; ++j) sums[size_t(j)] += sums[size_t(k * size + j)];
    for (int64_t o = 0; o < s.out; ++o)
        for (int64_t c = 0; c < s.channels; ++c)
            for (int64_t k = 0; k < taps; ++k)
                out[(o * s.channels + c) * taps + k] = sums[size_t(((o / TILE * s.channels + c) * taps + k) * TILE + o % TILE)];
}

template <class R>
void gradient(const uint8_t *bits, const R *grad, R *out, const Shape &s, int threads) {
#if defined(__AVX512F__)
    if (s.out > LANES<R>) return weights<R, 2>(bits, grad, out, s, threads);
#endif
    weights<R, 1>(bits, grad, out, s, threads);
}

}  // namespace
