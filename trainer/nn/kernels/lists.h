// Bits as lists of places, eight at a time and without a branch.
#pragma once
#include <cstdint>
#include <cstring>

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
    typedef uint8_t eight __attribute__((vector_size(8)));
    typedef uint32_t wide __attribute__((vector_size(32)));
    eight at;
    std::memcpy(&at, BITS.at[byte], sizeof at);
    const wide all = __builtin_convertvector(at, wide) * each + base;
    std::memcpy(to, &all, sizeof all);
    return to + __builtin_popcount(byte);
}

}  // namespace
