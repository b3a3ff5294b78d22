// What neurons hear: rows of weights added up, for each pixel that comes out. No multiplication.
//
// Up to 16 channels go through tables: the sums of four weights for whatever four inputs do, 16 rows
// for each tap and four channels. More channels go through lists: the weights of the spikes one by one.
#pragma once
#include <algorithm>
#include <vector>
#include "lists.h"
#include "vectors.h"

namespace {

constexpr int TABLED = 16;  // channels at most

// weight: (out, channels, kh, kw) -> [tile][kx][ky][channel][lane], zeros behind the last output.
template <class R>
lined<R> rows_of(const R *weight, const Shape &s, int tile) {
    const int64_t tiles = up(s.out, tile) / tile, taps = s.kh * s.kw;
    lined<R> w(size_t(tiles * taps * s.channels * tile));
    for (int64_t o = 0; o < s.out; ++o)
        for (int64_t c = 0; c < s.channels; ++c)
            for (int64_t y = 0; y < s.kh; ++y)
                for (int64_t x = 0; x < s.kw; ++x)
                    w[size_t((((o / tile * s.kw + x) * s.kh + y) * s.channels + c) * tile + o % tile)] =
                        weight[((o * s.channels + c) * s.kh + y) * s.kw + x];
    return w;
}

// The same as [tile][ky][kx][four][16][lane].
template <class R>
lined<R> tables_of(const R *weight, const Shape &s, int tile) {
    const lined<R> rows = rows_of(weight, s, tile);
    const int64_t fours = (s.channels + 3) / 4, tiles = up(s.out, tile) / tile;
    lined<R> w(size_t(tiles * s.kh * s.kw * fours * 16 * tile));
    R *to = w.data();
    for (int64_t i = 0; i < tiles; ++i)
        for (int64_t y = 0; y < s.kh; ++y)
            for (int64_t x = 0; x < s.kw; ++x)
                for (int64_t f = 0; f < fours; ++f)
                    for (int value = 0; value < 16; ++value, to += tile)
                        for (int k = 0; k < 4 && 4 * f + k < s.channels; ++k) {
                            if (!(value >> k & 1)) continue;
                            const R *row = rows.data() + (((i * s.kw + x) * s.kh + y) * s.channels + 4 * f + k) * tile;
                            for (int j = 0; j < tile; ++j) to[j] += row[j];
                        }
    return w;
}

// V vectors of lanes, in U independent sums where V is small: an addition takes several cycles.
template <class R, int V, int U>
struct Sums {
    vec<R> sum[U][V] = {};
    static constexpr size_t ROW = V * BYTES;
    inline void add(int u, const R *table, uint8_t sixteenths) {
        add(u, reinterpret_cast<const char *>(table) + sixteenths * (ROW / 16));
    }
    inline void add(int u, const char *at) {
        const R *row = reinterpret_cast<const R *>(at);
        for (int v = 0; v < V; ++v) sum[u][v] += load<R>(row + v * LANES<R>);
    }
    inline void give(R *__restrict out, const R *bias, int64_t count) {
        for (int u = 1; u < U; ++u)
            for (int v = 0; v < V; ++v) sum[0][v] += sum[u][v];
        if (!bias && count == V * LANES<R>) {
            for (int v = 0; v < V; ++v) store<R>(out + v * LANES<R>, sum[0][v]);
            return;
        }
        R all[V * LANES<R>];
        for (int v = 0; v < V; ++v) store<R>(all + v * LANES<R>, sum[0][v]);
        if (bias)
            for (int64_t k = 0; k < count; ++k) out[k] = all[k] + bias[k];
        else if (V == 1 && 2 * count == LANES<R>)  // half a vector is common
            std::memcpy(out, all, sizeof all / 2);
        else
            std::memcpy(out, all, size_t(count) * sizeof(R));
    }
};

// RUN: tables of a row of the kernel, where the compiler is to know them.
template <class R, int V, int RUN>
void tabled(const uint8_t *bits, const R *tables, const R *bias, R *out, const Shape &s, int threads) {
    constexpr int TILE = V * LANES<R>, U = V >= 4 ? 1 : 4 / V;
    const int64_t fours = (s.channels + 3) / 4, bytes = s.bytes(), wide = (s.width + 2 * s.px) * fours;
    const int64_t tall = s.height + 2 * s.py, tiles = up(s.out, TILE) / TILE, run = RUN ? RUN : s.kw * fours;
#pragma omp parallel num_threads(threads)
    {
        std::vector<uint8_t> spread(size_t(tall * wide) + 8);  // four spikes to a byte, times 16, with its border
#pragma omp for schedule(static)
        for (int64_t n = 0; n < s.images; ++n) {
            const uint8_t *in = bits + n * s.image();
            for (int64_t y = 0; y < s.height; ++y) {
                uint8_t *to = spread.data() + (y + s.py) * wide + s.px * fours;
                if (fours == 2 * bytes) {
                    for (int64_t k = 0; k < s.width * bytes; ++k) to[2 * k] = uint8_t(in[k] << 4), to[2 * k + 1] = in[k] & 0xf0;
                    in += s.width * bytes;
                } else {
                    for (int64_t x = 0; x < s.width; ++x, in += bytes, to += fours)
                        for (int64_t f = 0; f < fours; ++f) to[f] = f % 2 ? in[f / 2] & 0xf0 : uint8_t(in[f / 2] << 4);
                }
            }
            for (int64_t i = 0; i < tiles; ++i) {
                const int64_t count = std::min<int64_t>(TILE, s.out - i * TILE);
                const R *begin = tables + i * s.kh * run * 16 * TILE;
                R *to = out + n * s.pixels() * s.out + i * TILE;
                for (int64_t y = 0; y < s.rows; ++y)
                    for (int64_t x = 0; x < s.columns; ++x, to += s.out) {
                        Sums<R, V, U> sums;
                        const R *table = begin;
                        for (int64_t ky = 0; ky < s.kh; ++ky) {
                            const uint8_t *heard = spread.data() + (y * s.sy + ky * s.dy) * wide + x * s.sx * fours;
                            if (RUN || s.dx == 1) {
                                int64_t k = 0;
                                for (; k + U <= run; k += U, table += U * 16 * TILE)
                                    for (int u = 0; u < U; ++u) sums.add(u, table + u * 16 * TILE, heard[k + u]);
                                for (; k < run; ++k, table += 16 * TILE) sums.add(0, table, heard[k]);
                            } else {
                                for (int64_t kx = 0; kx < s.kw; ++kx)
                                    for (int64_t f = 0; f < fours; ++f, table += 16 * TILE)
                                        sums.add(0, table, heard[kx * s.dx * fours + f]);
                            }
                        }
                        sums.give(to, bias ? bias + i * TILE : nullptr, count);
                    }
            }
        }
    }
}

template <class R, int V>
void tables(const uint8_t *bits, const R *weight, const R *bias, R *out, const Shape &s, int threads) {
    const lined<R> made = tables_of(weight, s, V * LANES<R>);
    switch (s.dx == 1 ? s.kw * ((s.channels + 3) / 4) : 0) {
        case 6: return tabled<R, V, 6>(bits, made.data(), bias, out, s, threads);
        case 9: return tabled<R, V, 9>(bits, made.data(), bias, out, s, threads);
        case 12: return tabled<R, V, 12>(bits, made.data(), bias, out, s, threads);
        default: return tabled<R, V, 0>(bits, made.data(), bias, out, s, threads);
    }
}

template <class R, int V>
void summed(const uint8_t *bits, const R *weights, const R *bias, R *out, const Shape &s, int threads) {
    constexpr int TILE = V * LANES<R>, U = V >= 4 ? 1 : 4 / V;
    const int64_t bytes = s.bytes(), tiles = up(s.out, TILE) / TILE, column = s.kh * s.channels;
    const bool one = s.dx == 1;  // neighbouring columns are neighbours in the weights, too
#pragma omp parallel num_threads(threads)
    {
        // Of a row: (column * kh + ky) * channels + channel, column by column, so that what a pixel
        // hears lies in one piece; times the bytes of a row of weights.
        std::vector<uint32_t> list(size_t(s.width * s.kh * bytes * 8 + 8)), start(size_t(s.width) + 1);
        constexpr int64_t ROW = V * BYTES;
#pragma omp for schedule(static)
        for (int64_t n = 0; n < s.images; ++n)
            for (int64_t y = 0; y < s.rows; ++y) {
                const uint8_t *in = bits + n * s.image();
                uint32_t *end = list.data();
                for (int64_t x = 0; x < s.width; ++x) {
                    start[size_t(x)] = uint32_t(end - list.data());
                    for (int64_t ky = 0; ky < s.kh; ++ky) {
                        const int64_t row = y * s.sy - s.py + ky * s.dy;
                        if (row < 0 || row >= s.height) continue;
                        const uint8_t *from = in + (row * s.width + x) * bytes;
                        const uint32_t base = uint32_t(((one ? x * column : 0) + ky * s.channels) * ROW);
                        for (int64_t k = 0; k < bytes; ++k)
                            end = listed(end, from[k], base + uint32_t(8 * k * ROW), ROW);
                    }
                }
                start[size_t(s.width)] = uint32_t(end - list.data());
                for (int64_t i = 0; i < tiles; ++i) {
                    const int64_t count = std::min<int64_t>(TILE, s.out - i * TILE);
                    const char *begin = reinterpret_cast<const char *>(weights + i * s.kw * column * TILE);
                    R *to = out + (n * s.pixels() + y * s.columns) * s.out + i * TILE;
                    for (int64_t x = 0; x < s.columns; ++x, to += s.out) {
                        Sums<R, V, U> sums;
                        const int64_t first = x * s.sx - s.px, runs = one ? 1 : s.kw;
                        for (int64_t r = 0; r < runs; ++r) {
                            const int64_t at = first + r * s.dx, stop = one ? at + s.kw : at + 1;
                            const int64_t a = std::clamp<int64_t>(at, 0, s.width), b = std::clamp<int64_t>(stop, 0, s.width);
                            const uint32_t *e = list.data() + start[size_t(a)], *last = list.data() + start[size_t(b)];
                            const char *base = begin + (one ? -first : r) * column * ROW;
                            for (; last - e >= U; e += U)
                                for (int u = 0; u < U; ++u) sums.add(u, base + e[u]);
                            for (; e < last; ++e) sums.add(0, base + *e);
                        }
                        sums.give(to, bias ? bias + i * TILE : nullptr, count);
                    }
                }
            }
    }
}

// Whether every number is finite: its exponent is not all ones.
inline bool finite(const float *x, int64_t n) {
    uint32_t found = 0;
    for (int64_t k = 0; k < n; ++k) {
        uint32_t bits;
        std::memcpy(&bits, x + k, sizeof bits);
        found |= uint32_t((bits & 0x7f800000u) == 0x7f800000u);
    }
    return !found;
}
inline bool finite(const double *x, int64_t n) {
    uint64_t found = 0;
    for (int64_t k = 0; k < n; ++k) {
        uint64_t bits;
        std::memcpy(&bits, x + k, sizeof bits);
        found |= uint64_t((bits & 0x7ff0000000000000u) == 0x7ff0000000000000u);
    }
    return !found;
}

// bits: the spikes that go in; out: (images, rows, columns, out). Returns 0, and computes nothing, where a weight is
// not finite: 0 times that is not 0, so silence does not hide it from a dense layer.
template <class R>
int forward(const uint8_t *bits, const R *weight, const R *bias, R *out, const Shape &s, int threads) {
    if (!finite(weight, s.out * s.channels * s.kh * s.kw)) return 0;
    const int64_t vectors = (s.out + LANES<R> - 1) / LANES<R>;
    if (s.channels <= TABLED && vectors == 1) tables<R, 1>(bits, weight, bias, out, s, threads);
    else if (s.channels <= TABLED) tables<R, 2>(bits, weight, bias, out, s, threads);
    else if (vectors == 1) summed<R, 1>(bits, rows_of(weight, s, LANES<R>).data(), bias, out, s, threads);
    else if (vectors == 2) summed<R, 2>(bits, rows_of(weight, s, 2 * LANES<R>).data(), bias, out, s, threads);
    else summed<R, 4>(bits, rows_of(weight, s, 4 * LANES<R>).data(), bias, out, s, threads);
    return 1;
}

}  // namespace
