// Vector types of GCC and clang, wider where the flags allow: one source for every processor.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

// Lanes of a vector of 16 bits, and of one of 32: what a register holds, or two where it is short.
#if defined(__AVX512BW__)
constexpr int SHORTS = 32, INTS = 16;
#else
constexpr int SHORTS = 16, INTS = 8;
#endif
template <int L> struct Vector {
  typedef int16_t shorts __attribute__((vector_size(2 * L)));
  typedef int32_t ints __attribute__((vector_size(4 * L)));
  typedef uint32_t words __attribute__((vector_size(4 * L)));
  typedef uint8_t bytes __attribute__((vector_size(L)));
  typedef uint16_t pairs __attribute__((vector_size(2 * L)));
};
template <int L> using shorts = typename Vector<L>::shorts;
template <int L> using ints = typename Vector<L>::ints;

template <class V> inline V load(const void *p) {  // from a multiple of its size, or of 32 bytes
  V v;
  std::memcpy(&v, __builtin_assume_aligned(p, sizeof v < 32 ? sizeof v : 32), sizeof v);
  return v;
}
template <class V> inline void store(void *p, V v) {
  std::memcpy(__builtin_assume_aligned(p, sizeof v < 32 ? sizeof v : 32), &v, sizeof v);
}
template <class V> inline V load_any(const void *p) {  // from anywhere
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <int L> inline ints<L> widened(shorts<L> v) {
#if defined(__AVX512BW__)
  if constexpr (L == 16) return (ints<L>)_mm512_cvtepi16_epi32((__m256i)v);
#elif defined(__AVX2__)
  if constexpr (L == 8) return (ints<L>)_mm256_cvtepi16_epi32((__m128i)v);
#endif
  return __builtin_convertvector(v, ints<L>);
}
template <int L> inline shorts<L> narrowed(ints<L> v) { return __builtin_convertvector(v, shorts<L>); }

// One bit a lane, of lanes that are 0 or -1.
template <int L> inline uint32_t gathered(shorts<L> mask) {
  uint32_t bits = 0;
  for (int k = 0; k < L; k += 8) {
    typedef int8_t eight __attribute__((vector_size(8)));
    typedef int16_t part_t __attribute__((vector_size(16)));
    part_t part;
    std::memcpy(&part, (const char *)&mask + 2 * k, sizeof part);
    const eight narrow = __builtin_convertvector(part, eight);
    uint64_t m;
    std::memcpy(&m, &narrow, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    m = __builtin_bswap64(m);
#endif
    bits |= uint32_t(((m & 0x8040201008040201u) * 0x0101010101010101u) >> 56) << k;
  }
  return bits;
}

// Which neurons reach their threshold: as bits, and what is left where they do (`of`) or do not (`rest`).
template <int L> struct Fired {
  uint32_t bits;
  shorts<L> mask;
  Fired(shorts<L> v, shorts<L> threshold) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    if constexpr (L == 32) bits = _mm512_cmpge_epi16_mask((__m512i)v, (__m512i)threshold);
    else bits = _mm256_cmpge_epi16_mask((__m256i)v, (__m256i)threshold);
#else
    mask = v >= threshold;
#if defined(__AVX2__)
    const __m256i m = (__m256i)mask;
    bits = uint16_t(_mm_movemask_epi8(_mm_packs_epi16(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1))));
#else
    bits = gathered<L>(mask);
#endif
#endif
  }
  shorts<L> rest(shorts<L> v) const { return chosen(v, ~bits, true); }
  shorts<L> of(shorts<L> v) const { return chosen(v, bits, false); }

 private:
  shorts<L> chosen(shorts<L> v, [[maybe_unused]] uint32_t who, [[maybe_unused]] bool others) const {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    if constexpr (L == 32) return (shorts<L>)_mm512_maskz_mov_epi16(who, (__m512i)v);
    else return (shorts<L>)_mm256_maskz_mov_epi16(__mmask16(who), (__m256i)v);
#else
    return others ? v & ~mask : v & mask;
#endif
  }
};
template <int L> struct FiredWide {
  uint32_t bits;
  ints<L> mask;
  FiredWide(ints<L> v, ints<L> threshold) {
#if defined(__AVX512F__) && defined(__AVX512BW__)
    bits = _mm512_cmpge_epi32_mask((__m512i)v, (__m512i)threshold);
#else
    mask = v >= threshold;
#if defined(__AVX2__)
    bits = uint8_t(_mm256_movemask_ps((__m256)mask));
#else
    bits = gathered<L>(narrowed<L>(mask));
#endif
#endif
  }
  ints<L> rest(ints<L> v) const { return chosen(v, ~bits, true); }
  ints<L> of(ints<L> v) const { return chosen(v, bits, false); }

 private:
  ints<L> chosen(ints<L> v, [[maybe_unused]] uint32_t who, [[maybe_unused]] bool others) const {
#if defined(__AVX512F__) && defined(__AVX512BW__)
    return (ints<L>)_mm512_maskz_mov_epi32(__mmask16(who), (__m512i)v);
#else
    return others ? v & ~mask : v & mask;
#endif
  }
};

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
