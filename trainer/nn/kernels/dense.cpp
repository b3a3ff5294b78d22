// Weights times reals, for gradients. Arrays are channels last. Compile with fused multiply-adds.
#include <cstdint>
#include "scatter.h"
#include "winograd.h"

#define DENSE(NAME, R)                                                                                          \
    extern "C" void filtered_##NAME(const R *grad, const R *weight, R *out, const Shape *s, int threads) {      \
        filtered<R>(grad, weight, out, *s, threads);                                                            \
    }                                                                                                           \
    extern "C" void scattered_##NAME(const R *grad, const R *weight, R *out, const Shape *s, int threads) {     \
        scattered<R>(grad, weight, out, *s, threads);                                                           \
    }

DENSE(float32, float)
DENSE(float64, double)
