// Slopes of surrogates over the distance u of the membrane potential from the threshold.
#pragma once
#include <cmath>

namespace {

// The surrogates that are cheap enough to be computed here; see SLOPES in kernel.py.
enum Surrogate { GIVEN, ARCTAN, FAST_SIGMOID, TRIANGLE, RECTANGLE };

template <class R>
void slopes(const R* __restrict u, R* __restrict out, int size, int surrogate, R steepness, R peak) {
    switch (surrogate) {
        case ARCTAN:
            for (int j = 0; j < size; ++j) {
                const R z = steepness * u[j];
                out[j] = R(1) / (z * z + R(1)) * peak;
            }
            break;
        case FAST_SIGMOID:
            for (int j = 0; j < size; ++j) {
                const R z = steepness * std::fabs(u[j]) + R(1);
                out[j] = R(1) / (z * z);
            }
            break;
        case TRIANGLE:
            for (int j = 0; j < size; ++j) {
                const R z = R(1) - steepness * std::fabs(u[j]);
                out[j] = (z < R(0) ? R(0) : z) * peak;
            }
            break;
        case RECTANGLE:
            for (int j = 0; j < size; ++j) out[j] = (std::fabs(u[j]) <= steepness ? R(1) : R(0)) * peak;
            break;
        default:
            break;
    }
}

}  // namespace
