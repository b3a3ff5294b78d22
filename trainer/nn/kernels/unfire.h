// The way back through neurons and their normalization, all steps of a few neurons at a time: what they did is computed
// again and stays in registers and the first-level cache. V is R or a vector of R; orders and roundings are the same.
#pragma once
#include <type_traits>
#include "../slopes.h"
#include "vectors.h"

namespace {

template <class R> struct Firing {
    R scale, decay, threshold, amount;
    int to_zero;
};

// What one place of a block of whole pixels needs: factor and shift of the normalization, and what it subtracted and divided by.
template <class R> struct Places {
    const R *factor, *shift, *mean, *inverse;
};

template <class V, class X> inline V taken(const X *p) {
    if constexpr (std::is_arithmetic_v<V>) return V(*p);
    else {
        V v;
        if constexpr (sizeof(v[0]) == sizeof(X)) std::memcpy(&v, p, sizeof v);
        else for (size_t k = 0; k < sizeof v / sizeof v[0]; ++k) v[k] = p[k];
        return v;
    }
}
template <class V, class X> inline void put(X *p, V v) {
    if constexpr (std::is_arithmetic_v<V>) *p = X(v);
    else if constexpr (sizeof(v[0]) == sizeof(X)) std::memcpy(p, &v, sizeof v);
    else for (size_t k = 0; k < sizeof v / sizeof v[0]; ++k) p[k] = X(v[k]);
}

template <int S, class R, class V> inline V slope(V u, R steepness, R peak) {
    const V zero{}, one = zero + R(1);
    if constexpr (S == ARCTAN) {
        const V z = steepness * u;
        return one / (z * z + one) * peak;
    }
    const V far = u < zero ? -u : u;
    if constexpr (S == FAST_SIGMOID) {
        const V z = steepness * far + one;
        return one / (z * z);
    }
    if constexpr (S == TRIANGLE) {
        const V z = one - steepness * far;
        return (z < zero ? zero : z) * peak;
    }
    return (far <= zero + steepness ? one : zero) * peak;  // RECTANGLE
}

// N times V neurons from `at` on; rows of x and grad are `row` and n apart. The sums of the normalization's gradient are
// added to `first` and `second`. `gap`: room for the distances from the threshold at all steps.
template <class V, int N, int S, class X, class R>
inline void unfire(const X *grad, const X *x, int64_t row, X *out, int64_t steps, int64_t n, const Places<R> of, const Firing<R> f,
                   bool detached, R steepness, R peak, V *gap, R *first, R *second) {
    constexpr int64_t EACH = sizeof(V) / sizeof(R);
    const V zero{}, hard = zero + R(f.to_zero ? 1 : 0);  // chosen lane by lane: a template for each reset compiles for long
    V v[N] = {}, back[N] = {}, held[N] = {}, sum[N], other[N];
    for (int64_t t = 0; t < steps; ++t)
        for (int w = 0; w < N; ++w) {
            const int64_t j = w * EACH;
            const V h = (taken<V>(x + t * row + j) * taken<V>(of.factor + j) + taken<V>(of.shift + j)) * f.scale + v[w];
            gap[t * N + w] = h - f.threshold;
            const V left = hard > zero ? zero : h - f.amount;
            v[w] = (h >= zero + f.threshold ? left : h) * f.decay;
        }
    for (int w = 0; w < N; ++w) sum[w] = taken<V>(first + w * EACH), other[w] = taken<V>(second + w * EACH);
    const auto add = [&](int w, V g, const X *from) {
        const int64_t j = w * EACH;
        sum[w] += g, other[w] += g * ((taken<V>(from + j) - taken<V>(of.mean + j)) * taken<V>(of.inverse + j));
    };
    for (int64_t t = steps - 1; t >= 0; --t)
        for (int w = 0; w < N; ++w) {
            const int64_t j = w * EACH;
            const V u = gap[t * N + w], d = slope<S>(u, steepness, peak), open = hard > zero ? u : zero - R(1);
            V h = taken<V>(grad + t * n + j) * d;
            if (!detached) {
                const V through = hard > zero ? u + f.threshold : zero + f.amount;
                h -= back[w] * through * d;
            }
            h += open < zero ? back[w] : zero;
            back[w] = h * f.decay;
            const V once = h * f.scale;
            if (!row) {
                held[w] += once;
                continue;
            }
            add(w, once, x + t * row);
            put(out + t * n + j, once);
        }
    for (int w = 0; w < N; ++w) {
        if (!row) add(w, held[w], x), put(out + w * EACH, held[w]);
        put(first + w * EACH, sum[w]), put(second + w * EACH, other[w]);
    }
}

constexpr int64_t W = 4;                               // vectors side by side: one waits for its quotient, the others go on
template <class R> constexpr int64_t GAPS = W * LANES<R>;  // numbers that are needed for each step

// The same for `size` neurons.
template <class X, class R>
using Unfire = void (*)(const X *, const X *, int64_t, X *, int64_t, int64_t, int64_t, Places<R>, Firing<R>, bool, R, R, R *, R *, R *);

template <class X, class R, int S>
void unfired(const X *grad, const X *x, int64_t row, X *out, int64_t steps, int64_t n, int64_t size, Places<R> of, Firing<R> f,
             bool detached, R steepness, R peak, R *gap, R *first, R *second) {
    constexpr int64_t MANY = W * LANES<R>;
    for (int64_t j = 0; j < size;) {
        const Places<R> here{of.factor + j, of.shift + j, of.mean + j, of.inverse + j};
        const auto go = [&](auto v, auto w) {
            using V = decltype(v);
            unfire<V, decltype(w)::value, S>(grad + j, x + j, row, out + j, steps, n, here, f, detached, steepness, peak,
                                             reinterpret_cast<V *>(gap), first + j, second + j);
            j += int64_t(sizeof v / sizeof(R)) * decltype(w)::value;
        };
        if (size - j >= MANY) go(vec<R>{}, std::integral_constant<int, W>{});
        else if (size - j >= LANES<R>) go(vec<R>{}, std::integral_constant<int, 1>{});
        else go(R(0), std::integral_constant<int, 1>{});
    }
}
template <class X, class R> Unfire<X, R> unfire_of(int surrogate) {
    switch (surrogate) {
        case ARCTAN: return unfired<X, R, ARCTAN>;
        case FAST_SIGMOID: return unfired<X, R, FAST_SIGMOID>;
        case TRIANGLE: return unfired<X, R, TRIANGLE>;
        default: return unfired<X, R, RECTANGLE>;
    }
}

}  // namespace
