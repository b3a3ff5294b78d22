// Bits as lists of places, eight at a time and without a branch.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

// Which bits of a byte are set, first to last.
struct Bits {
    uint8_t at[256][8] = {};
    Bits() {
        for (int b = 0; b < 256; ++b)
            for (int k = 0, n = 0; k < 8; ++k)
                if (b >> k & 1) at[b][n++] = uint8_t(k);
    }
};
inline const Bits BITS;

// The spikes of a byte behind `to`, in `each`, from `base` on; eight places are written.
inline uint32_t *listed(uint32_t *to, uint8_t byte, uint32_t base, uint32_t each) {
    typedef uint32_t wide __attribute__((vector_size(32)));
#if defined(__AVX2__)  // GCC 12 takes the bytes of a conversion one by one
    const wide at = (wide)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(BITS.at[byte])));
#else
    typedef uint8_t eight __attribute__((vector_size(8)));
    eight narrow;
    std::memcpy(&narrow, BITS.at[byte], sizeof narrow);
    const wide at = __builtin_convertvector(narrow, wide);
#endif
    const wide all = at * each + base;
    std::memcpy(to, &all, sizeof all);
    return to + __builtin_popcount(byte);
}

}  // namespace
