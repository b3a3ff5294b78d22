// Gates on spikes as logic on bits, and their gradients (full-spike AAP paper, Table 1).
#pragma once
#include <algorithm>
#include <type_traits>
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

inline unsigned joined(unsigned p, unsigned q, int kind) {
    return 255u & (kind == AND ? p & q : kind == OR ? p | q : kind == IAND ? ~p & q : p ^ q);
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
        bits_a[k] = p, bits_s[k] = q;
        const mask ones = set<R>(joined(p, q, kind)) & unit;
        if (count == 8) std::memcpy(out + 8 * k, &ones, sizeof ones);
        else std::memcpy(out + 8 * k, &ones, size_t(count) * sizeof(R));
        strange += other;
    }
    return strange == 0;
}

// Each run of numbers begins a byte of bits: the channels of a pixel, or, for `run` 0, all there are, in pieces.
struct Runs {
    int64_t n, length, bytes, count;
    Runs(int64_t n, int64_t run) : n(n), length(run % 8 ? run : 4096), bytes((length + 7) / 8), count((n + length - 1) / length) {}
    // Calls each(byte, place, numbers), at most eight of them.
    template <class Each> inline void bytes_of(int64_t r, Each each) const {
        const int64_t from = r * length, size = std::min(length, n - from);
        int64_t k = 0;
        for (; k + 8 <= size; k += 8) each(r * bytes + k / 8, from + k, std::integral_constant<int64_t, 8>{});
        if (k < size) each(r * bytes + k / 8, from + k, size - k);
    }
};

// The same on bits that are known; returns how many fire.
template <class R>
int64_t join(const uint8_t *bits_a, const uint8_t *bits_s, uint8_t *bits, R *out, int64_t n, int64_t run, int kind, int threads) {
    using mask = typename Eight<R>::mask;
    int64_t fired = 0;
    const auto one = typename Eight<R>::real{} + R(1);
    const Runs runs(n, run);
    mask unit;
    std::memcpy(&unit, &one, sizeof unit);
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : fired)
    for (int64_t r = 0; r < runs.count; ++r)
        runs.bytes_of(r, [&](int64_t k, int64_t at, auto size) {
            const unsigned both = joined(bits_a[k], bits_s[k], kind);
            const mask ones = set<R>(both) & unit;
            bits[k] = uint8_t(both);
            std::memcpy(out + at, &ones, size_t(size) * sizeof(R));
            fired += __builtin_popcount(both);
        });
    return fired;
}

// What a gradient is multiplied by where the other spike is 0, and where it is 1.
template <class R>
void ungate(const R *grad, const uint8_t *bits_a, const uint8_t *bits_s, R *by_a, R *by_s, int64_t n, int64_t run, int kind, int threads) {
    using real = typename Eight<R>::real;
    const real a0 = real{} + (kind == AND || kind == IAND ? R(0) : R(1)), a1 = real{} + (kind == AND ? R(1) : kind == OR ? R(0) : R(-1));
    const real s0 = real{} + (kind == AND ? R(0) : R(1)), s1 = real{} + (kind == AND ? R(1) : kind == XOR ? R(-1) : R(0));
    const Runs runs(n, run);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t r = 0; r < runs.count; ++r)
        runs.bytes_of(r, [&](int64_t k, int64_t at, auto size) {
            const size_t bytes = size_t(size) * sizeof(R);
            real g{};
            std::memcpy(&g, grad + at, bytes);
            const real x = g * (set<R>(bits_s[k]) ? a1 : a0), y = g * (set<R>(bits_a[k]) ? s1 : s0);
            std::memcpy(by_a + at, &x, bytes);
            std::memcpy(by_s + at, &y, bytes);
        });
}

}  // namespace
