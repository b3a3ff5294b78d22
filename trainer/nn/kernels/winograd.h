// The gradient of a convolution's input, where the kernel is 3 x 3 and nothing is skipped: a convolution
// of the gradient with the kernel turned round, as Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and
// Gray 2016, Eq. 8): a square of 4 x 4 pixels takes 36 products for each pair of channels, not 144.
#pragma once
#include <algorithm>
#include <vector>
#include "products.h"

namespace {

constexpr int M = 4, A = 6;      // sides of what comes out of a square, and of what goes in
constexpr int64_t SQUARES = 24;  // at a time: their products stay in the caches

// One side of each transformation; a square takes it along its rows, then along its columns. The points
// 0, +-3/4, +-3/2 and infinity round half as much as Lavin and Gray's 0, +-1, +-2 (errors as in Barabasz et al. 2020).
template <class R> struct Side {
    static constexpr R A = R(0.75), B = R(1.5), A2 = A * A, B2 = B * B;
    template <class T> static void enter(const T *d, T *t) {
        const T a = d[4] - d[2] * B2, b = (d[3] - d[1] * B2) * A, c = d[4] - d[2] * A2, e = (d[3] - d[1] * A2) * B;
        t[0] = d[4] - d[2] * (A2 + B2) + d[0] * (A2 * B2), t[5] = d[5] - d[3] * (A2 + B2) + d[1] * (A2 * B2);
        t[1] = a + b, t[2] = a - b, t[3] = c + e, t[4] = c - e;
    }
    template <class T> static void leave(const T *m, T *o) {
        const T a = m[1] + m[2], b = (m[1] - m[2]) * A, c = m[3] + m[4], e = (m[3] - m[4]) * B;
        o[0] = m[0] + a + c, o[1] = b + e, o[2] = a * A2 + c * B2, o[3] = m[5] + b * A2 + e * B2;
    }
    static void kernel(const R *g, R *u) {
        const R a = (g[0] + g[2] * A2) / (2 * A2 * (A2 - B2)), b = g[1] * A / (2 * A2 * (A2 - B2));
        const R c = (g[0] + g[2] * B2) / (2 * B2 * (B2 - A2)), e = g[1] * B / (2 * B2 * (B2 - A2));
        u[0] = g[0] / (A2 * B2), u[1] = a + b, u[2] = a - b, u[3] = c + e, u[4] = c - e, u[5] = g[2];
    }
};

// weight (out, channels, 3, 3), turned round, to [place][tile][out][lane].
template <class R>
lined<R> kernels_of(const R *weight, const Shape &s, int tile) {
    const int64_t tiles = up(s.channels, tile) / tile;
    lined<R> u(size_t(A * A * tiles * s.out * tile));
    for (int64_t o = 0; o < s.out; ++o)
        for (int64_t c = 0; c < s.channels; ++c) {
            const R *w = weight + (o * s.channels + c) * 9;
            R half[3][A], all[A];
            for (int x = 0; x < 3; ++x) {
                const R column[3] = {w[8 - x], w[5 - x], w[2 - x]};
                Side<R>::kernel(column, half[x]);
            }
            for (int y = 0; y < A; ++y) {
                const R row[3] = {half[0][y], half[1][y], half[2][y]};
                Side<R>::kernel(row, all);
                for (int x = 0; x < A; ++x) u[size_t((((y * A + x) * tiles + c / tile) * s.out + o) * tile + c % tile)] = all[x];
            }
        }
    return u;
}

// grad: (images, rows, columns, out); out: (images, height, width, channels).
template <class R, int V>
void filtered(const R *grad, const R *weight, R *out, const Shape &s, int threads) {
    constexpr int LANE = LANES<R>, TILE = V * LANE, T = HELD / V;
    const lined<R> u = kernels_of<R>(weight, s, TILE);
    const int64_t deep = up(s.out, LANE), wide = up(s.channels, TILE), tiles = wide / TILE;
    const int64_t down = up(s.height, M) / M, across = up(s.width, M) / M, each = down * across, all = s.images * each;
#pragma omp parallel num_threads(threads)
    {
        lined<R> in(size_t(A * A * SQUARES * deep)), products(size_t(A * A * SQUARES * wide)), none(static_cast<size_t>(deep));
#pragma omp for schedule(static)
        for (int64_t first = 0; first < all; first += SQUARES) {
            const int64_t count = std::min(SQUARES, all - first);
            for (int64_t q = 0; q < count; ++q) {
                const int64_t n = (first + q) / each, place = (first + q) % each;
                const int64_t y = place / across * M - 2 + s.py, x = place % across * M - 2 + s.px;
                const R *at[A][A];
                for (int i = 0; i < A; ++i)
                    for (int j = 0; j < A; ++j) {
                        const bool inside = y + i >= 0 && y + i < s.rows && x + j >= 0 && x + j < s.columns;
                        at[i][j] = inside ? grad + ((n * s.rows + y + i) * s.columns + x + j) * s.out : none.data();
                    }
                for (int64_t c = 0; c < deep; c += LANE) {
                    vec<R> half[A][A];  // [column][row]
                    for (int j = 0; j < A; ++j) {
                        vec<R> d[A];
                        for (int i = 0; i < A; ++i) d[i] = load<R>(at[i][j] + c, s.out - c);
                        Side<R>::enter(d, half[j]);
                    }
                    for (int i = 0; i < A; ++i) {
                        vec<R> d[A], t[A];
                        for (int j = 0; j < A; ++j) d[j] = half[j][i];
                        Side<R>::enter(d, t);
                        for (int j = 0; j < A; ++j) store<R>(&in[size_t(((i * A + j) * SQUARES + q) * deep + c)], t[j]);
                    }
                }
            }
            for (int64_t p = 0; p < A * A; ++p)
                for (int64_t i = 0; i < tiles; ++i)
                    for (int64_t q = 0; q < count; q += T)
                        multiplied<R, V, T>(&in[size_t((p * SQUARES + q) * deep)], deep, &u[size_t((p * tiles + i) * s.out * TILE)],
                                            s.out, &products[size_t((p * SQUARES + q) * wide + i * TILE)], wide);
            for (int64_t q = 0; q < count; ++q) {
                const int64_t n = (first + q) / each, place = (first + q) % each;
                const int64_t y = place / across * M, x = place % across * M;
                R *to = out + ((n * s.height + y) * s.width + x) * s.channels;
                const int rows = int(std::min<int64_t>(M, s.height - y)), columns = int(std::min<int64_t>(M, s.width - x));
                for (int64_t c = 0; c < s.channels; c += LANE) {
                    vec<R> half[A][M];  // [column][row]
                    for (int j = 0; j < A; ++j) {
                        vec<R> m[A];
                        for (int i = 0; i < A; ++i) m[i] = load<R>(&products[size_t(((i * A + j) * SQUARES + q) * wide + c)]);
                        Side<R>::leave(m, half[j]);
                    }
                    for (int i = 0; i < rows; ++i) {
                        vec<R> m[A], o[M];
                        for (int j = 0; j < A; ++j) m[j] = half[j][i];
                        Side<R>::leave(m, o);
                        for (int j = 0; j < columns; ++j) store<R>(to + (i * s.width + j) * s.channels + c, o[j], s.channels - c);
                    }
                }
            }
        }
    }
}

template <class R>
void filtered(const R *grad, const R *weight, R *out, const Shape &s, int threads) {
    const int64_t vectors = (s.channels + LANES<R> - 1) / LANES<R>;
    if (vectors == 1) return filtered<R, 1>(grad, weight, out, s, threads);
    if (vectors == 2) return filtered<R, 2>(grad, weight, out, s, threads);
    return filtered<R, 4>(grad, weight, out, s, threads);
}

}  // namespace
