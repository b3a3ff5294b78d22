// Gates on spikes as logic on bits, and their gradients (full-spike AAP paper, Table 1).
#pragma once
#include <algorithm>
#include "pack.h"

namespace {

enum Gate { AND, OR, IAND, XOR };

// Eight lanes, -1 where a bit is set, as wide as R.
template <class R> struct Eight;
template <> struct Eight<float> {
    typedef int32_t mask __attribute__((vector_size(32)));
    typedef float real __attribute__((vector_size(32)));
};
template <> struct Eight<double> {
    typedef int64_t mask __attribute__((vector_size(64)));
    typedef double real __attribute__((vector_size(64)));
};
template <class R> inline typename Eight<R>::mask set(unsigned bits) {
    using mask = typename Eight<R>::mask;
    return (((mask{} + int(bits)) & mask{1, 2, 4, 8, 16, 32, 64, 128}) != 0);
}

// a, s: spikes of `n` neurons, packed into bits on the way. Returns whether they all were spikes.
template <class R>
int64_t gate(const R *a, const R *s, R *out, uint8_t *bits_a, uint8_t *bits_s, int64_t n, int kind, int threads) {
    using mask = typename Eight<R>::mask;
    int64_t strange = 0;
    const auto one = typename Eight<R>::real{} + R(1);
    mask unit;
    std::memcpy(&unit, &one, sizeof unit);
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : strange)
    for (int64_t k = 0; k < (n + 7) / 8; ++k) {
        const int count = int(std::min<int64_t>(8, n - 8 * k));
        bool other = false;
        const uint8_t p = count == 8 ? packed8(a + 8 * k, other) : packed(a + 8 * k, count, other);
        const uint8_t q = count == 8 ? packed8(s + 8 * k, other) : packed(s + 8 * k, count, other);
        const unsigned joined = kind == AND ? p & q : kind == OR ? p | q : kind == IAND ? ~p & q : p ^ q;
        bits_a[k] = p, bits_s[k] = q;
        const mask ones = set<R>(joined & 255u) & unit;
        if (count == 8) std::memcpy(out + 8 * k, &ones, sizeof ones);
        else std::memcpy(out + 8 * k, &ones, size_t(count) * sizeof(R));
        strange += other;
    }
    return strange == 0;
}

// The same on bits that are known; returns how many fire.
template <class R>
int64_t join(const uint8_t *bits_a, const uint8_t *bits_s, uint8_t *bits, R *out, int64_t n, int kind, int threads) {
    using mask = typename Eight<R>::mask;
    int64_t fired = 0;
    const auto one = typename Eight<R>::real{} + R(1);
    mask unit;
    std::memcpy(&unit, &one, sizeof unit);
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : fired)
    for (int64_t k = 0; k < n / 8; ++k) {
        const uint8_t p = bits_a[k], q = bits_s[k];
        const unsigned joined = 255u & (kind == AND ? p & q : kind == OR ? p | q : kind == IAND ? ~p & q : p ^ q);
        const mask ones = set<R>(joined) & unit;
        bits[k] = uint8_t(joined);
        std::memcpy(out + 8 * k, &ones, sizeof ones);
        fired += __builtin_popcount(joined);
    }
    return fired;
}

// What a gradient is multiplied by where the other spike is 0, and where it is 1.
template <class R>
void ungate(const R *grad, const uint8_t *bits_a, const uint8_t *bits_s, R *by_a, R *by_s, int64_t n, int kind, int threads) {
    using real = typename Eight<R>::real;
    const real a0 = real{} + (kind == AND || kind == IAND ? R(0) : R(1)), a1 = real{} + (kind == AND ? R(1) : kind == OR ? R(0) : R(-1));
    const real s0 = real{} + (kind == AND ? R(0) : R(1)), s1 = real{} + (kind == AND ? R(1) : kind == XOR ? R(-1) : R(0));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t k = 0; k < (n + 7) / 8; ++k) {
        const size_t size = size_t(std::min<int64_t>(8, n - 8 * k)) * sizeof(R);
        real g{};
        if (size == sizeof g) std::memcpy(&g, grad + 8 * k, sizeof g);
        else std::memcpy(&g, grad + 8 * k, size);
        const real x = g * (set<R>(bits_s[k]) ? a1 : a0), y = g * (set<R>(bits_a[k]) ? s1 : s0);
        if (size == sizeof g) std::memcpy(by_a + 8 * k, &x, sizeof x), std::memcpy(by_s + 8 * k, &y, sizeof y);
        else std::memcpy(by_a + 8 * k, &x, size), std::memcpy(by_s + 8 * k, &y, size);
    }
}

}  // namespace
