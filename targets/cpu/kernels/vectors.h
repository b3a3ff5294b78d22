// Vector types of GCC and clang, wider where the flags allow: one source for every processor.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

// L lanes of a vector: 16 everywhere, and 32 where a register holds as many.
#if defined(__AVX512BW__)
constexpr int WIDEST = 32;
#else
constexpr int WIDEST = 16;
#endif
template <int L> struct Vector {
  typedef int16_t shorts __attribute__((vector_size(2 * L)));
  typedef int32_t ints __attribute__((vector_size(4 * L)));
};
template <int L> using shorts = typename Vector<L>::shorts;
template <int L> using ints = typename Vector<L>::ints;

template <class V> inline V load(const void *p) {
  V v;
  std::memcpy(&v, __builtin_assume_aligned(p, 32), sizeof v);
  return v;
}
template <class V> inline void store(void *p, V v) { std::memcpy(__builtin_assume_aligned(p, 32), &v, sizeof v); }
template <int L> inline ints<L> widened(shorts<L> v) { return __builtin_convertvector(v, ints<L>); }
template <int L> inline shorts<L> narrowed(ints<L> v) { return __builtin_convertvector(v, shorts<L>); }

// One bit a lane, of lanes that are 0 or -1.
template <int L> inline uint32_t bits_of(shorts<L> mask) {
#if defined(__AVX512BW__)
  if constexpr (L == 32) return _mm512_movepi16_mask((__m512i)mask);
#endif
#if defined(__AVX2__)
  if constexpr (L == 16) {
    __m256i m = (__m256i)mask;
    return uint16_t(_mm_movemask_epi8(_mm_packs_epi16(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1))));
  }
#endif
  uint32_t bits = 0;
  for (int k = 0; k < L; k++) bits |= uint32_t(mask[k] & 1) << k;
  return bits;
}

template <int L> inline ints<L> bit_of_lane() {
  ints<L> v;
  for (int k = 0; k < L; k++) v[k] = int32_t(1u << k);
  return v;
}

// x * decay / 4096 rounded towards zero, exact for |x| < 2**30.
template <class V> inline V faded(V x, int32_t decay) {
  V sign = x >> 31, m = (x ^ sign) - sign;
  V kept = (m >> 12) * decay + (((m & 4095) * decay) >> 12);
  return (kept ^ sign) - sign;
}

}  // namespace
