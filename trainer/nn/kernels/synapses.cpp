// Synapses that hear spikes, forward and backward, by additions alone. Arrays are channels last.
#include <algorithm>
#include <cstdint>
#include "pack.h"
#include "forward.h"
#include "gradient.h"
#include "gates.h"

#define SYNAPSES(NAME, R)                                                                              \
    extern "C" int64_t pack_##NAME(const R *x, uint8_t *bits, int64_t pixels, int64_t channels, int threads) { \
        return pack<R>(x, bits, pixels, channels, threads);                                            \
    }                                                                                                  \
    extern "C" int forward_##NAME(const uint8_t *bits, const R *weight, const R *bias, R *out, const Shape *s, int threads) { \
        return forward<R>(bits, weight, bias, out, *s, threads);                                       \
    }                                                                                                  \
    extern "C" void gradient_##NAME(const uint8_t *bits, const R *grad, R *out, const Shape *s, int threads) { \
        gradient<R>(bits, grad, out, *s, threads);                                                     \
    }                                                                                                  \
    extern "C" int64_t gate_##NAME(const R *a, const R *s, R *out, uint8_t *bits_a, uint8_t *bits_s, int64_t n, int kind, int threads) { \
        return gate<R>(a, s, out, bits_a, bits_s, n, kind, threads);                                   \
    }                                                                                                  \
    extern "C" int64_t join_##NAME(const uint8_t *bits_a, const uint8_t *bits_s, uint8_t *bits, R *out, int64_t n, int64_t run, int kind, int threads) { \
        return join<R>(bits_a, bits_s, bits, out, n, run, kind, threads);                                   \
    }                                                                                                  \
    extern "C" void ungate_##NAME(const R *grad, const uint8_t *bits_a, const uint8_t *bits_s, R *by_a, R *by_s, int64_t n, int64_t run, int kind, int threads) { \
        ungate<R>(grad, bits_a, bits_s, by_a, by_s, n, run, kind, threads);                                 \
    }

SYNAPSES(float32, float)
SYNAPSES(float64, double)
