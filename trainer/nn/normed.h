// Batch normalization and the neurons behind it in one walk over memory each way, channels last.
//
// x has T rows of n = pixels * channels elements, or one that enters at every step (`row` 0). Only x is
// kept for the way back: what the neurons did is computed again from it.
#pragma once
#include "kernels/pack.h"
#include "kernels/unfire.h"

namespace {

constexpr int64_t OFTEN = 16;  // blocks after which sums go from R to double
constexpr int64_t PARTS = 16;  // of an array; fixed, so that threads do not change the sums

// Mean and variance (over all rows) of each channel; parts are joined as Chan et al. 1983, Eq. 2.1.
template <class X, class R>
void statistics(const X* x, int64_t rows, int64_t channels, double* mean, double* variance, int threads) {
    constexpr int64_t ROWS = 256;  // whose sums are taken before they are joined
    std::vector<double> means(size_t(PARTS * channels)), squares(size_t(PARTS * channels));
    int64_t counts[PARTS] = {};
    const auto join = [channels](double* m, double* q, int64_t have, const R* sum, const R* square, int64_t more) {
        for (int64_t c = 0; c < channels; ++c) {
            const double step = double(sum[c]) - m[c];
            m[c] += step * double(more) / double(have + more);
            q[c] += double(square[c]) + step * step * double(have) * double(more) / double(have + more);
        }
    };
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < PARTS; ++part) {
        double *m = &means[size_t(part * channels)], *q = &squares[size_t(part * channels)];
        // Several pixels side by side: a sum that waits for the one before it is slow.
        const int64_t beside = std::max<int64_t>(1, 128 / channels), wide = beside * channels;
        std::vector<R> sum(static_cast<size_t>(wide)), square(static_cast<size_t>(wide)), centre(static_cast<size_t>(wide));
        R *__restrict s = sum.data(), *__restrict d = square.data(), *__restrict middle = centre.data();
        for (int64_t at = rows * part / PARTS, end = rows * (part + 1) / PARTS; at < end; at += ROWS) {
            const int64_t size = std::min(ROWS, end - at), total = size * channels;
            const X* from = x + at * channels;
            std::fill(sum.begin(), sum.end(), R(0));
            std::fill(square.begin(), square.end(), R(0));
            for (int64_t r = 0; r < total; r += wide)
                for (int64_t j = 0, until = std::min(wide, total - r); j < until; ++j) s[j] += R(from[r + j]);
            for (int64_t k = channels; k < wide; k += channels)
                for (int64_t c = 0; c < channels; ++c) s[c] += s[k + c];
            for (int64_t k = 0; k < wide; k += channels)
                for (int64_t c = 0; c < channels; ++c) middle[k + c] = s[c] / R(size);
            for (int64_t r = 0; r < total; r += wide)
                for (int64_t j = 0, until = std::min(wide, total - r); j < until; ++j) {
                    const R off = R(from[r + j]) - middle[j];
                    d[j] += off * off;
                }
            for (int64_t k = channels; k < wide; k += channels)
                for (int64_t c = 0; c < channels; ++c) d[c] += d[k + c];
            join(m, q, counts[part], middle, d, size);
            counts[part] += size;
        }
    }
    std::fill(mean, mean + channels, 0.0);
    std::fill(variance, variance + channels, 0.0);
    int64_t have = 0;
    for (int64_t part = 0; part < PARTS; ++part) {
        const int64_t more = counts[part];
        for (int64_t c = 0; more && c < channels; ++c) {
            const double step = means[size_t(part * channels + c)] - mean[c];
            mean[c] += step * double(more) / double(have + more);
            variance[c] += squares[size_t(part * channels + c)] + step * step * double(have) * double(more) / double(have + more);
        }
        have += more;
    }
    for (int64_t c = 0; c < channels; ++c) variance[c] /= double(rows);
}

// Whole pixels, so that each place of a block is one channel; constants of channels are laid out so.
struct Blocks {
    int64_t size;
    explicit Blocks(int64_t channels) : size(channels * std::max<int64_t>(1, 128 / channels)) {}
    template <class R> std::vector<R> laid(const R* of, int64_t channels) const {
        std::vector<R> out(static_cast<size_t>(size));
        for (int64_t j = 0; j < size; j += channels) std::copy(of, of + channels, &out[size_t(j)]);
        return out;
    }
};

// One step: the distances h - threshold, and what is left in v.
template <class X, class R>
inline void charge(const X* __restrict x, const R* __restrict factor, const R* __restrict shift, R* __restrict v,
                   R* __restrict gap, int size, const Firing<R> f) {
    const R scale = f.scale, decay = f.decay, threshold = f.threshold, amount = f.amount;
    const auto all = [&](auto left) {
        for (int j = 0; j < size; ++j) {
            const R h = (R(x[j]) * factor[j] + shift[j]) * scale + v[j];
            gap[j] = h - threshold;
            v[j] = left(h) * decay;
        }
    };
    if (f.to_zero)
        all([&](R h) { return h >= threshold ? R(0) : h; });
    else
        all([&](R h) { return h >= threshold ? h - amount : h; });
}

// Which of whole pixels' numbers are at least 0, as bits; returns how many.
template <class R>
inline int reached(const R* u, int size, int64_t channels, uint8_t* to) {
    int count = 0;
    if (channels % 8 == 0) {
        for (int j = 0; j < size; j += 8) count += __builtin_popcount(*to++ = reached8(u + j));
        return count;
    }
    for (const R* end = u + size; u < end; u += channels)
        for (int64_t c = 0; c < channels; c += 8) {
            if (c + 8 <= channels) {
                count += __builtin_popcount(*to++ = reached8(u + c));
                continue;
            }
            uint32_t bits = 0;
            for (int64_t k = c; k < std::min(channels, c + 8); ++k) bits |= uint32_t(u[k] >= R(0)) << (k - c);
            count += __builtin_popcount(*to++ = uint8_t(bits));
        }
    return count;
}

// What normalizes: factor and shift of each place of a block, in R, from constants in R and moments in double.
template <class R> struct Affine {
    std::vector<R> factor, shift;
    Affine(const Blocks& blocks, int64_t channels, const R* weight, const R* bias, const double* mean, const double* inverse)
        : factor(static_cast<size_t>(blocks.size)), shift(static_cast<size_t>(blocks.size)) {
        for (int64_t c = 0; c < channels; ++c) {
            const double scaled = double(weight[c]) * inverse[c];
            const R by = R(scaled), plus = R(double(bias[c]) - mean[c] * scaled);
            for (int64_t j = c; j < blocks.size; j += channels) factor[size_t(j)] = by, shift[size_t(j)] = plus;
        }
    }
};

// x: `rows` pixels. The moments go to `mean` and `inverse` (of the deviation) and into the running ones; the
// spikes to `spikes` and to `bits`, where these are asked for. Returns how many fire.
template <class X, class R>
int64_t normed(const X* x, int64_t row, int64_t rows, X* spikes, uint8_t* bits, int64_t steps, int64_t n, int64_t channels,
               const R* weight, const R* bias, double eps, R* running_mean, R* running_variance, double momentum,
               double* mean, double* inverse, Firing<R> f, int threads) {
    statistics<X, R>(x, rows, channels, mean, inverse, threads);
    for (int64_t c = 0; c < channels; ++c) {
        running_mean[c] += R(momentum) * (R(mean[c]) - running_mean[c]);
        running_variance[c] += R(momentum) * (R(inverse[c] * double(rows) / double(rows - 1)) - running_variance[c]);
        inverse[c] = 1 / std::sqrt(inverse[c] + eps);
    }
    const Blocks blocks(channels);
    const Affine<R> affine(blocks, channels, weight, bias, mean, inverse);
    int64_t fired = 0;
#pragma omp parallel num_threads(threads) reduction(+ : fired)
    {
        std::vector<R> v(static_cast<size_t>(blocks.size)), gap(static_cast<size_t>(blocks.size));
#pragma omp for schedule(static)
        for (int64_t start = 0; start < n; start += blocks.size) {
            const int size = int(std::min(blocks.size, n - start));
            std::fill(v.begin(), v.end(), R(0));
            for (int64_t t = 0; t < steps; ++t) {
                charge(x + t * row + start, affine.factor.data(), affine.shift.data(), v.data(), gap.data(), size, f);
                const R* __restrict u = gap.data();
                if (spikes) {
                    X* __restrict out = spikes + t * n + start;
                    for (int j = 0; j < size; ++j) out[j] = X(u[j] >= R(0) ? R(1) : R(0));
                }
                if (bits) {
                    fired += reached(u, size, channels, bits + (t * n + start) / channels * ((channels + 7) / 8));
                } else {
                    int count = 0;
                    for (int j = 0; j < size; ++j) count += u[j] >= R(0);
                    fired += count;
                }
            }
        }
    }
    return fired;
}

// `out`: the gradient by x, one row where the input is held; `by_weight`, `by_bias`: those of the normalization.
template <class X, class R>
void unnormed(const X* grad, const X* x, int64_t row, X* out, int64_t steps, int64_t n, int64_t channels, const R* weight,
              const R* bias, const double* mean_, const double* inverse_, R* by_weight, R* by_bias, Firing<R> f,
              int detached, int surrogate, R steepness, R peak, int threads) {
    const Blocks blocks(channels);
    const Affine<R> affine(blocks, channels, weight, bias, mean_, inverse_);
    const std::vector<R> narrow_mean(mean_, mean_ + channels), narrow_inverse(inverse_, inverse_ + channels);
    const std::vector<R> mean = blocks.laid(narrow_mean.data(), channels), inverse = blocks.laid(narrow_inverse.data(), channels);
    const int64_t count = (n + blocks.size - 1) / blocks.size;
    const Places<R> places{affine.factor.data(), affine.shift.data(), mean.data(), inverse.data()};
    const auto back = unfire_of<X, R>(surrogate);
    std::vector<double> of(size_t(PARTS * 2 * channels));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t part = 0; part < PARTS; ++part) {
        const size_t room = size_t(blocks.size);
        lined<R> gap(size_t(steps * GAPS<R>)), first(room), second(room);
        const int64_t last = count * (part + 1) / PARTS;
        for (int64_t b = count * part / PARTS; b < last; ++b) {
            const int64_t start = b * blocks.size;
            back(grad + start, x + start, row, out + start, steps, n, std::min(blocks.size, n - start), places, f, detached, steepness, peak, gap.data(),
                 first.data(), second.data());
            if (b % OFTEN != OFTEN - 1 && b + 1 < last) continue;
            double* to = &of[size_t(part * 2 * channels)];
            for (int64_t j = 0; j < blocks.size; j += channels)
                for (int64_t c = 0; c < channels; ++c)
                    to[c] += double(first[size_t(j + c)]), to[channels + c] += double(second[size_t(j + c)]);
            std::fill(first.begin(), first.end(), R(0));
            std::fill(second.begin(), second.end(), R(0));
        }
    }
    // d x = factor (g - mean g - x^ mean(g x^)), x^ = (x - mean) inverse
    const int64_t total = row ? steps * n : n;
    const double pixels = double(total / channels);
    std::vector<R> slope(static_cast<size_t>(channels)), rest(static_cast<size_t>(channels));
    for (int64_t c = 0; c < channels; ++c) {
        double g = 0, gx = 0;
        for (int64_t part = 0; part < PARTS; ++part)
            g += of[size_t(part * 2 * channels + c)], gx += of[size_t((part * 2 + 1) * channels + c)];
        by_bias[c] = R(g), by_weight[c] = R(gx);
        const double factor = double(weight[c]) * inverse_[c], b = -factor * inverse_[c] * gx / pixels;
        slope[size_t(c)] = R(b), rest[size_t(c)] = R(-factor * g / pixels - b * mean_[c]);
    }
    const std::vector<R> a = affine.factor, b = blocks.laid(slope.data(), channels), c = blocks.laid(rest.data(), channels);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t start = 0; start < total; start += blocks.size) {
        const int64_t size = std::min(blocks.size, total - start);
        X* __restrict g = out + start;
        const X* __restrict in = x + start;
        for (int64_t j = 0; j < size; ++j) g[j] = X(R(g[j]) * a[size_t(j)] + R(in[j]) * b[size_t(j)] + c[size_t(j)]);
    }
}

}  // namespace

#define NORMED(NAME, X, R)                                                                              \
    extern "C" int64_t normed_##NAME(const X* x, int64_t row, int64_t rows, X* spikes, uint8_t* bits,   \
                                     int64_t steps, int64_t n, int64_t channels, const R* weight,       \
                                     const R* bias, double eps, R* running_mean, R* running_variance,   \
                                     double momentum, double* mean, double* inverse, double scale,      \
                                     double decay, double threshold, double amount, int to_zero,        \
                                     int threads) {                                                     \
        const Firing<R> f{R(scale), R(decay), R(threshold), R(amount), to_zero};                        \
        return normed<X, R>(x, row, rows, spikes, bits, steps, n, channels, weight, bias, eps,          \
                            running_mean, running_variance, momentum, mean, inverse, f, threads);       \
    }                                                                                                   \
    extern "C" void unnormed_##NAME(const X* grad, const X* x, int64_t row, X* out, int64_t steps,      \
                                    int64_t n, int64_t channels, const R* weight, const R* bias,        \
                                    const double* mean, const double* inverse, R* by_weight,            \
                                    R* by_bias, double scale, double decay, double threshold,           \
                                    double amount, int to_zero, int detached, int surrogate,            \
                                    double steepness, double peak, int threads) {                       \
        const Firing<R> f{R(scale), R(decay), R(threshold), R(amount), to_zero};                        \
        unnormed<X, R>(grad, x, row, out, steps, n, channels, weight, bias, mean, inverse, by_weight,   \
                       by_bias, f, detached, surrogate, R(steepness), R(peak), threads);                \
    }

NORMED(float32, float, float)
NORMED(float64, double, double)
NORMED(bfloat16, bfloat16, float)
