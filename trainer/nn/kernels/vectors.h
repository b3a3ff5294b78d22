// Vectors of reals as wide as the flags allow: GCC's and clang's vector types.
#pragma once
#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

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
