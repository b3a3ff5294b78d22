// Vectors of reals as wide as the flags allow: GCC's and clang's vector types.
#pragma once
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX2__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif
template <class R> struct Lanes;
template <> struct Lanes<float> { typedef float type __attribute__((vector_size(BYTES))); };
template <> struct Lanes<double> { typedef double type __attribute__((vector_size(BYTES))); };
template <class R> using vec = typename Lanes<R>::type;
template <class R> constexpr int LANES = BYTES / int(sizeof(R));

template <class R> inline vec<R> load(const R *p) {
    vec<R> v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <class R> inline void store(R *p, vec<R> v) { std::memcpy(p, &v, sizeof v); }

// The first `count` lanes; a copy of a size that the compiler does not know is a call. Half of them is common and goes
// without a mask: memory that was stored with one is slow to load again, more than twice the time of scatter.h.
template <class R> inline vec<R> load(const R *p, int64_t count) {
    vec<R> v{};
    if (count >= LANES<R>) return load<R>(p);
#if defined(__AVX512F__)
    if (2 * count == LANES<R>) {
        if constexpr (sizeof(R) == 4) return (vec<R>)_mm512_zextps256_ps512(_mm256_loadu_ps(p));
        else return (vec<R>)_mm512_zextpd256_pd512(_mm256_loadu_pd(p));
    }
    if constexpr (sizeof(R) == 4) return (vec<R>)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1u), p);
    else return (vec<R>)_mm512_maskz_loadu_pd(__mmask8((1u << count) - 1u), p);
#endif
    for (int64_t k = 0; k < count; ++k) v[k] = p[k];
    return v;
}
template <class R> inline void store(R *p, vec<R> v, int64_t count) {
    if (count >= LANES<R>) return store<R>(p, v);
#if defined(__AVX512F__)
    if (2 * count == LANES<R>) {
        if constexpr (sizeof(R) == 4) return _mm256_storeu_ps(p, _mm512_castps512_ps256((__m512)v));
        else return _mm256_storeu_pd(p, _mm512_castpd512_pd256((__m512d)v));
    }
    if constexpr (sizeof(R) == 4) return _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1u), (__m512)v);
    else return _mm512_mask_storeu_pd(p, __mmask8((1u << count) - 1u), (__m512d)v);
#endif
    for (int64_t k = 0; k < count; ++k) p[k] = v[k];
}

inline int64_t up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// Rows that begin where a line of the cache does.
template <class R> struct Lined {
    using value_type = R;
    Lined() = default;
    template <class S> Lined(const Lined<S> &) {}
    R *allocate(size_t n) { return static_cast<R *>(::operator new(n * sizeof(R), std::align_val_t{64})); }
    void deallocate(R *p, size_t) { ::operator delete(p, std::align_val_t{64}); }
    template <class S> bool operator==(const Lined<S> &) const { return true; }
    template <class S> bool operator!=(const Lined<S> &) const { return false; }
};
template <class R> using lined = std::vector<R, Lined<R>>;

// The shape of a convolution on images with channels last; a linear layer has images of one pixel.
struct Shape {
    int64_t images, height, width, channels;  // that go in
    int64_t rows, columns, out;               // that come out
    int64_t kh, kw, sy, sx, py, px, dy, dx;
    int64_t bytes() const { return (channels + 7) / 8; }     // of a pixel's spikes
    int64_t image() const { return height * width * bytes(); }
    int64_t pixels() const { return rows * columns; }
};

}  // namespace
