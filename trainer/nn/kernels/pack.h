// Spikes as bits: [pixel][byte], channels last, the lowest bit first.
#pragma once
#include <algorithm>
#include "vectors.h"

namespace {

// Eight numbers to a byte. `other` gathers what is neither 0 nor 1 (nor -0).
template <class R> inline uint8_t packed(const R *x, int count, bool &other) {
    uint32_t bits = 0;
    bool strange = false;
    for (int k = 0; k < count; ++k) {
        strange |= x[k] != R(0) && x[k] != R(1);
        bits |= uint32_t(x[k] != R(0)) << k;
    }
    other |= strange;
    return uint8_t(bits);
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
inline uint8_t packed8(const float *x, bool &other) {
    const __m256 v = _mm256_loadu_ps(x);
    const __mmask8 fires = _mm256_cmp_ps_mask(v, _mm256_setzero_ps(), _CMP_NEQ_UQ);
    other |= _mm256_cmp_ps_mask(v, _mm256_set1_ps(1), _CMP_NEQ_UQ) & fires;
    return uint8_t(fires);
}
#elif defined(__AVX2__)
inline uint8_t packed8(const float *x, bool &other) {
    const __m256 v = _mm256_loadu_ps(x);
    const int fires = _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_NEQ_UQ));
    other |= _mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(1), _CMP_NEQ_UQ)) & fires;
    return uint8_t(fires);
}
#else
inline uint8_t packed8(const float *x, bool &other) { return packed<float>(x, 8, other); }
#endif
inline uint8_t packed8(const double *x, bool &other) { return packed<double>(x, 8, other); }

// Which of eight numbers are at least 0.
template <class R> inline uint8_t reached8(const R *x) {
    uint32_t bits = 0;
    for (int k = 0; k < 8; ++k) bits |= uint32_t(x[k] >= R(0)) << k;
    return uint8_t(bits);
}
#if defined(__AVX2__)
template <> inline uint8_t reached8<float>(const float *x) {
    return uint8_t(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_setzero_ps(), _CMP_GE_OQ)));
}
#endif

// x: (pixels, channels). Returns how many fire, or -1 where a number is no spike.
template <class R>
int64_t pack(const R *x, uint8_t *bits, int64_t pixels, int64_t channels, int threads) {
    const int64_t whole = channels / 8, bytes = (channels + 7) / 8;
    const int rest = int(channels - 8 * whole);
    int64_t fired = 0, strange = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : fired, strange)
    for (int64_t p = 0; p < pixels; ++p) {
        const R *in = x + p * channels;
        uint8_t *out = bits + p * bytes;
        bool other = false;
        int count = 0;
        for (int64_t k = 0; k < whole; ++k) {
            out[k] = packed8(in + 8 * k, other);
            count += __builtin_popcount(out[k]);
        }
        if (rest) {
            out[whole] = packed(in + 8 * whole, rest, other);
            count += __builtin_popcount(out[whole]);
        }
        fired += count;
        strange += other;
    }
    return strange ? -1 : fired;
}

}  // namespace
