// Products of a few rows with a matrix: the sums stay in registers.
#pragma once
#include "vectors.h"

namespace {

#if defined(__AVX512F__)
constexpr int HELD = 24;  // sums in registers
#else
constexpr int HELD = 12;
#endif
#define UNROLLED _Pragma("GCC unroll 32")  // what is left as a loop has its sums in memory

// sums[t] = from[t] * u, for T rows and V vectors.
template <class R, int V, int T>
inline void multiplied(const R *from, int64_t pitch, const R *u, int64_t k, R *to, int64_t wide) {
    vec<R> sum[T][V];
    UNROLLED for (int t = 0; t < T; ++t)
        for (int v = 0; v < V; ++v) sum[t][v] = vec<R>{};
    for (int64_t o = 0; o < k; ++o, u += V * LANES<R>) {
        vec<R> row[V];
        for (int v = 0; v < V; ++v) row[v] = load<R>(u + v * LANES<R>);
        UNROLLED for (int t = 0; t < T; ++t)
            for (int v = 0; v < V; ++v) sum[t][v] += from[t * pitch + o] * row[v];
    }
    UNROLLED for (int t = 0; t < T; ++t)
        for (int v = 0; v < V; ++v) store<R>(to + t * wide + v * LANES<R>, sum[t][v]);
}

}  // namespace
