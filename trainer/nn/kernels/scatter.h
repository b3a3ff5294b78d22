// The gradient of a convolution's input, for any kernel: what each pixel gives back through one tap is a
// product of its gradients with the tap's weights; it is added to the pixel that was heard through that tap.
#pragma once
#include <algorithm>
#include <vector>
#include "products.h"

namespace {

// weight (out, channels, kh, kw) to [tap][tile][out][lane].
template <class R>
lined<R> taps_of(const R *weight, const Shape &s, int tile) {
    const int64_t tiles = up(s.channels, tile) / tile, taps = s.kh * s.kw;
    lined<R> u(size_t(taps * tiles * s.out * tile));
    for (int64_t o = 0; o < s.out; ++o)
        for (int64_t c = 0; c < s.channels; ++c)
            for (int64_t k = 0; k < taps; ++k)
                u[size_t(((k * tiles + c / tile) * s.out + o) * tile + c % tile)] = weight[(o * s.channels + c) * taps + k];
    return u;
}

// grad: (images, rows, columns, out); out: (images, height, width, channels).
template <class R, int V>
void scattered(const R *grad, const R *weight, R *out, const Shape &s, int threads) {
    constexpr int TILE = V * LANES<R>, T = std::min(HELD / V, 8);  // rows are short: more would be padding
    const lined<R> u = taps_of<R>(weight, s, TILE);
    const int64_t tiles = up(s.channels, TILE) / TILE, pixel = s.height * s.width * s.channels;
#pragma omp parallel num_threads(threads)
    {
        lined<R> row(size_t(up(s.columns, T) * s.out)), given(size_t(up(s.columns, T) * TILE));  // padded: T at a time
#pragma omp for schedule(static)
        for (int64_t n = 0; n < s.images; ++n) {
            R *image = out + n * pixel;
            std::fill(image, image + pixel, R(0));
            for (int64_t y = 0; y < s.rows; ++y) {
                const R *from = grad + (n * s.rows + y) * s.columns * s.out;
                std::copy(from, from + s.columns * s.out, row.data());
                for (int64_t ky = 0; ky < s.kh; ++ky) {
                    const int64_t line = y * s.sy - s.py + ky * s.dy;
                    if (line < 0 || line >= s.height) continue;
                    for (int64_t kx = 0; kx < s.kw; ++kx)
                        for (int64_t i = 0; i < tiles; ++i) {
                            const R *tap = &u[size_t(((ky * s.kw + kx) * tiles + i) * s.out * TILE)];
                            for (int64_t x = 0; x < s.columns; x += T)
                                multiplied<R, V, T>(&row[size_t(x * s.out)], s.out, tap, s.out, &given[size_t(x * TILE)], TILE);
                            for (int64_t x = 0; x < s.columns; ++x) {
                                const int64_t place = x * s.sx - s.px + kx * s.dx;
                                if (place < 0 || place >= s.width) continue;
                                R *to = image + (line * s.width + place) * s.channels + i * TILE;
                                for (int v = 0; v < V; ++v) {
                                    const int64_t left = s.channels - i * TILE - v * LANES<R>;
                                    if (left <= 0) break;
                                    R *lane = to + v * LANES<R>;
                                    store<R>(lane, load<R>(lane, left) + load<R>(&given[size_t(x * TILE + v * LANES<R>)]), left);
                                }
                            }
                        }
                }
            }
        }
    }
}

template <class R>
void scattered(const R *grad, const R *weight, R *out, const Shape &s, int threads) {
    const int64_t vectors = (s.channels + LANES<R> - 1) / LANES<R>;
    if (vectors == 1) return scattered<R, 1>(grad, weight, out, s, threads);
    if (vectors == 2) return scattered<R, 2>(grad, weight, out, s, threads);
    return scattered<R, 4>(grad, weight, out, s, threads);
}

}  // namespace
