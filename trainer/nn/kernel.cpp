// Spiking neurons over all time steps, forward and backward; meaning and order of roundings as in
// neuron.py, to the bit. Compile without contraction to fused multiply-adds (-ffp-contract=off).
//
// Arrays have T rows of n elements. `gap` is the distance h - threshold of the membrane potential.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "slopes.h"

namespace {

constexpr int64_t BLOCK = 1024;  // neurons at a time: their state stays in the first-level cache

struct bfloat16 {
    uint16_t bits;
    bfloat16() = default;
    explicit bfloat16(float value) {  // round to nearest, ties to even
        uint32_t wide;
        std::memcpy(&wide, &value, sizeof wide);
        const uint32_t rounded = (wide + 0x7fffu + ((wide >> 16) & 1u)) >> 16;
        bits = (wide & 0x7fffffffu) > 0x7f800000u ? uint16_t{0x7fc0} : uint16_t(rounded);
    }
    operator float() const {
        const uint32_t wide = uint32_t{bits} << 16;
        float value;
        std::memcpy(&value, &wide, sizeof value);
        return value;
    }
};

template <class S> struct Real { using type = S; };  // what S is computed in
template <> struct Real<bfloat16> { using type = float; };

// X: input and spikes; rows of x lie `row` elements apart, 0 for the same at every step. Returns the
// number of spikes.
template <class X, class R = typename Real<X>::type>
int64_t forward(const X* x, int64_t row, X* spikes, X* gap, int64_t steps, int64_t n,
                double scale_, double decay_, double threshold_, double amount_, int to_zero,
                int threads) {
    const R scale = R(scale_), decay = R(decay_), threshold = R(threshold_), amount = R(amount_);
    int64_t fired = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : fired)
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int size = int(std::min(BLOCK, n - start));
        R v[BLOCK] = {};
        for (int64_t t = 0; t < steps; ++t) {
            const int64_t at = t * n + start;
            const X* __restrict xt = x + t * row + start;
            X* __restrict st = spikes + at;
            int count = 0;
            R h[BLOCK];
            for (int j = 0; j < size; ++j) {
                h[j] = R(xt[j]) * scale + v[j];
                const R s = h[j] >= threshold ? R(1) : R(0);
                count += h[j] >= threshold;
                st[j] = X(s);
                v[j] = (to_zero ? h[j] - h[j] * s : h[j] - amount * s) * decay;
            }
            if (gap != nullptr) {
                X* __restrict ut = gap + at;
                for (int j = 0; j < size; ++j) ut[j] = X(h[j] - threshold);
            }
            fired += count;
        }
    }
    return fired;
}

// X: gradients and distances. Where the same input entered at every step (`held`), `out` is one row,
// the sum over all steps from the last to the first.
template <class X, class R = typename Real<X>::type>
void backward(const X* grad, const X* gap, const R* slope, X* out, int64_t steps, int64_t n,
              double scale_, double decay_, double threshold_, double amount_, int to_zero,
              int detached, int held, int surrogate, double steepness, double peak, int threads) {
    const R scale = R(scale_), decay = R(decay_), threshold = R(threshold_), amount = R(amount_);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t start = 0; start < n; start += BLOCK) {
        const int size = int(std::min(BLOCK, n - start));
        R grad_v[BLOCK] = {}, u[BLOCK], computed[BLOCK], grad_h[BLOCK], sum[BLOCK] = {};
        for (int64_t t = steps - 1; t >= 0; --t) {
            const int64_t at = t * n + start;
            const X* __restrict gt = grad + at;
            for (int j = 0; j < size; ++j) u[j] = R(gap[at + j]);
            const R* __restrict d = surrogate == GIVEN ? slope + at : computed;
            slopes<R>(u, computed, size, surrogate, R(steepness), R(peak));
            if (detached) {
                for (int j = 0; j < size; ++j) {
                    const R kept = grad_v[j] * (!to_zero || u[j] < R(0) ? R(1) : R(0));
                    grad_h[j] = R(gt[j]) * d[j] + kept;
                    grad_v[j] = grad_h[j] * decay;
                }
            } else {
                for (int j = 0; j < size; ++j) {
                    const R through_spike = to_zero ? u[j] + threshold : amount;
                    const R kept = grad_v[j] * (!to_zero || u[j] < R(0) ? R(1) : R(0));
                    grad_h[j] = R(gt[j]) * d[j] - grad_v[j] * through_spike * d[j] + kept;
                    grad_v[j] = grad_h[j] * decay;
                }
            }
            if (held) {
                for (int j = 0; j < size; ++j) sum[j] += grad_h[j];
            } else {
                for (int j = 0; j < size; ++j) out[at + j] = X(grad_h[j] * scale);
            }
        }
        if (held) {
            for (int j = 0; j < size; ++j) out[start + j] = X(sum[j] * scale);
        }
    }
}

// Means over windows of 2 x 2 side by side; x is (rows, 2, width, 2, inner), out (rows, width, inner).
// Channels-last images have their channels in `inner`; it is 1 for others.
template <class X, class R = typename Real<X>::type>
void halve(const X* x, X* out, int64_t rows, int64_t width, int64_t inner, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const X* __restrict up = x + row * 4 * width * inner;
        const X* __restrict low = up + 2 * width * inner;
        X* __restrict to = out + row * width * inner;
        if (inner == 1) {
            for (int64_t j = 0; j < width; ++j) {
                const R sum = R(up[2 * j]) + R(up[2 * j + 1]) + R(low[2 * j]) + R(low[2 * j + 1]);
                to[j] = X(sum * R(0.25));
            }
            continue;
        }
        for (; to < out + (row + 1) * width * inner; to += inner, up += 2 * inner, low += 2 * inner) {
            const X* __restrict up_right = up + inner;
            const X* __restrict low_right = low + inner;
            for (int c = 0; c < int(inner); ++c) {
                to[c] = X((R(up[c]) + R(up_right[c]) + R(low[c]) + R(low_right[c])) * R(0.25));
            }
        }
    }
}

// The way back: a quarter of each gradient to all four of its window.
template <class X, class R = typename Real<X>::type>
void spread(const X* grad, X* out, int64_t rows, int64_t width, int64_t inner, int threads) {
    const int64_t line = 2 * width * inner;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; ++row) {
        const X* __restrict from = grad + row * width * inner;
        X* __restrict up = out + row * 2 * line;
        if (inner == 1) {
            for (int64_t j = 0; j < width; ++j) up[2 * j] = up[2 * j + 1] = X(R(from[j]) * R(0.25));
        } else {
            for (int64_t j = 0; j < width; ++j) {
                const X* __restrict source = from + j * inner;
                X* __restrict left = up + 2 * j * inner;
                for (int c = 0; c < int(inner); ++c) left[c] = X(R(source[c]) * R(0.25));
                std::memcpy(left + inner, left, size_t(inner) * sizeof(X));
            }
        }
        std::memcpy(up + line, up, size_t(line) * sizeof(X));
    }
}

}  // namespace

#include "normed.h"

#define NEURON(NAME, X, R)                                                                       \
    extern "C" int64_t forward_##NAME(const X* x, int64_t row, X* spikes, X* gap, int64_t steps, \
                                      int64_t n, double scale, double decay, double threshold,   \
                                      double amount, int to_zero, int threads) {                 \
        return forward<X>(x, row, spikes, gap, steps, n, scale, decay, threshold, amount,        \
                          to_zero, threads);                                                     \
    }                                                                                            \
    extern "C" void backward_##NAME(const X* grad, const X* gap, const R* slope, X* out,         \
                                    int64_t steps, int64_t n, double scale, double decay,        \
                                    double threshold, double amount, int to_zero, int detached,  \
                                    int held, int surrogate, double steepness, double peak,      \
                                    int threads) {                                               \
        backward<X>(grad, gap, slope, out, steps, n, scale, decay, threshold, amount, to_zero,   \
                    detached, held, surrogate, steepness, peak, threads);                    \
    }                                                                                            \
    extern "C" void halve_##NAME(const X* x, X* out, int64_t rows, int64_t width, int64_t inner, \
                                 int threads) {                                                  \
        halve<X>(x, out, rows, width, inner, threads);                                           \
    }                                                                                            \
    extern "C" void spread_##NAME(const X* grad, X* out, int64_t rows, int64_t width,            \
                                  int64_t inner, int threads) {                                  \
        spread<X>(grad, out, rows, width, inner, threads);                                       \
    }

NEURON(float32, float, float)
NEURON(float64, double, double)
NEURON(bfloat16, bfloat16, float)
