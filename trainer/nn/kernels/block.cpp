// A residual block of spikes in one call each way: convolutions with their normalizations and neurons along the
// residual path, perhaps one such unit on the path beside it, and the gate that joins both. The sums are those of
// synapses.cpp, normed.h and dense.cpp, which are called through pointers; between them there are bits alone.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include "vectors.h"

namespace {

enum Way { FILTERED, SCATTERED };  // to the gradient by an input

// Functions of the other files, for one type of real.
template <class R> struct Calls {
    int (*forward)(const uint8_t *, const R *, const R *, R *, const Shape *, int);
    void (*gradient)(const uint8_t *, const R *, R *, const Shape *, int);
    int64_t (*join)(const uint8_t *, const uint8_t *, uint8_t *, R *, int64_t, int64_t, int, int);
    void (*ungate)(const R *, const uint8_t *, const uint8_t *, R *, R *, int64_t, int64_t, int, int);
    int64_t (*normed)(const R *, int64_t, int64_t, R *, uint8_t *, int64_t, int64_t, int64_t, const R *, const R *, double,
                      R *, R *, double, double *, double *, double, double, double, double, int, int);
    void (*unnormed)(const R *, const R *, int64_t, R *, int64_t, int64_t, int64_t, const R *, const R *, const double *,
                     const double *, R *, R *, double, double, double, double, int, int, int, double, double, int);
    void (*by_input[2])(const R *, const R *, R *, const Shape *, int);
};

// Places of what it keeps are bytes from the begin of the block's memory.
struct Unit {
    Shape shape;
    int64_t kernel, currents, moments, bits;
    int64_t last, way, to_zero, detached, surrogate, threads;  // last: the weights lie channels last
    double eps, momentum, scale, decay, threshold, amount, steepness, peak;

    int64_t taps() const { return shape.kh * shape.kw; }
    int64_t numbers() const { return shape.images * shape.pixels() * shape.out; }
};

constexpr int64_t UNITS = 4;

struct Block {
    int64_t steps, residual, beside, gate, threads;  // residual, beside: units of each path
    Unit units[UNITS];
    const Unit *end() const { return units + residual + beside; }
};

struct Parameters { void *weight, *factor, *shift, *mean, *variance; };  // of a unit; no mean and variance for gradients

// Weights between (out, channels, kh, kw) and (out, kh, kw, channels).
template <class R> void laid(const R *from, R *to, const Unit &u, bool last) {
    const int64_t taps = u.taps(), channels = u.shape.channels, each = taps * channels;
    if (!last) {
        std::memcpy(to, from, size_t(u.shape.out * each) * sizeof(R));
        return;
    }
    for (int64_t o = 0; o < u.shape.out; ++o, from += each, to += each)
        for (int64_t k = 0; k < taps; ++k)
            for (int64_t c = 0; c < channels; ++c) to[c * taps + k] = from[k * channels + c];
}
template <class R> void laid_back(const R *from, R *to, const Unit &u) {
    const int64_t taps = u.taps(), channels = u.shape.channels, each = taps * channels;
    if (!u.last) {
        std::memcpy(to, from, size_t(u.shape.out * each) * sizeof(R));
        return;
    }
    for (int64_t o = 0; o < u.shape.out; ++o, from += each, to += each)
        for (int64_t k = 0; k < taps; ++k)
            for (int64_t c = 0; c < channels; ++c) to[k * channels + c] = from[c * taps + k];
}

template <class R> bool finite(const R *x, int64_t n) {
    bool found = true;
    for (int64_t k = 0; k < n; ++k) found &= x[k] - x[k] == R(0);
    return found;
}

// Spikes `from` in bits go through a unit; its own bits follow in `memory`. Returns how many fire.
template <class R>
int64_t fired(const Calls<R> &call, const Block &b, const Unit &u, const Parameters &p, const uint8_t *from, uint8_t *memory, R *spikes) {
    R *currents = reinterpret_cast<R *>(memory + u.currents);
    double *moments = reinterpret_cast<double *>(memory + u.moments);
    const int64_t n = u.numbers() / b.steps, channels = u.shape.out;
    call.forward(from, reinterpret_cast<R *>(memory + u.kernel), nullptr, currents, &u.shape, int(u.threads));
    return call.normed(currents, n, u.numbers() / channels, spikes, memory + u.bits, b.steps, n, channels, static_cast<R *>(p.factor),
                       static_cast<R *>(p.shift), u.eps, static_cast<R *>(p.mean), static_cast<R *>(p.variance), u.momentum, moments,
                       moments + channels, u.scale, u.decay, u.threshold, u.amount, int(u.to_zero), int(u.threads));
}

// The gradient by a unit's spikes, in `grad`, becomes that by its currents; gradients of parameters go to `by`.
template <class R>
void back(const Calls<R> &call, const Block &b, const Unit &u, const Parameters &p, const Parameters &by, const uint8_t *heard,
          const uint8_t *memory, R *grad, R *weights) {
    const double *moments = reinterpret_cast<const double *>(memory + u.moments);
    const int64_t n = u.numbers() / b.steps, channels = u.shape.out;
    call.unnormed(grad, reinterpret_cast<const R *>(memory + u.currents), n, grad, b.steps, n, channels, static_cast<R *>(p.factor),
                  static_cast<R *>(p.shift), moments, moments + channels, static_cast<R *>(by.factor), static_cast<R *>(by.shift), u.scale,
                  u.decay, u.threshold, u.amount, int(u.to_zero), int(u.detached), int(u.surrogate), u.steepness, u.peak, int(u.threads));
    call.gradient(heard, grad, weights, &u.shape, int(u.threads));
    laid_back(weights, static_cast<R *>(by.weight), u);
}

// x: the bits that go in. `joined` and `out` are what comes out, in bits and numbers, `closing` what the residual path
// says, where that is asked for. `counts`: the spikes of each unit and of the gate. Returns 0, and has computed nothing,
// where a weight is not finite: additions do not see what meets no spike.
template <class R>
int forward(const Calls<R> &call, const Block &b, const Parameters *p, const uint8_t *x, uint8_t *memory, uint8_t *joined, R *out,
            R *closing, int64_t *counts) {
    for (const Unit *u = b.units; u < b.end(); ++u) {
        R *kernel = reinterpret_cast<R *>(memory + u->kernel);
        laid(static_cast<const R *>(p[u - b.units].weight), kernel, *u, u->last);
        if (!finite(kernel, u->shape.out * u->shape.channels * u->taps())) return 0;
    }
    const uint8_t *from = x;
    for (int64_t k = 0; k < b.residual; from = memory + b.units[k++].bits)
        *counts++ = fired(call, b, b.units[k], p[k], from, memory, k + 1 < b.residual ? nullptr : closing);
    const Unit &last = b.units[b.residual - 1], &beside = b.units[b.residual];
    if (b.beside) *counts++ = fired(call, b, beside, p[b.residual], x, memory, static_cast<R *>(nullptr));
    *counts = call.join(from, b.beside ? memory + beside.bits : x, joined, out, last.numbers(), last.shape.out, int(b.gate), int(b.threads));
    return 1;
}

// grad, by_closing: the gradients by both of what came out; the second may be missing, and `by_x`, if nobody asks. `spare`:
// room for the weights of a unit; `one`, `two`: for the numbers of any.
template <class R>
void backward(const Calls<R> &call, const Block &b, const Parameters *p, const Parameters *by, const uint8_t *x, const uint8_t *memory,
              const R *grad, const R *by_closing, R *by_x, R *spare, R *one, R *two) {
    const Unit &last = b.units[b.residual - 1], &first = b.units[0], &beside = b.units[b.residual];
    const int64_t n = last.numbers(), in = first.shape.images * first.shape.height * first.shape.width * first.shape.channels;
    R *by_other = b.beside || !by_x ? two : by_x;
    call.ungate(grad, memory + last.bits, b.beside ? memory + beside.bits : x, one, by_other, n, last.shape.out, int(b.gate), int(b.threads));
    if (by_closing)
#pragma omp parallel for num_threads(int(b.threads)) schedule(static)
        for (int64_t k = 0; k < n; ++k) one[k] += by_closing[k];
    const auto kernel = [&](const Unit &u) { return reinterpret_cast<const R *>(memory + u.kernel); };
    if (b.beside) {
        back(call, b, beside, p[b.residual], by[b.residual], x, memory, two, spare);
        if (by_x) call.by_input[beside.way](two, kernel(beside), by_x, &beside.shape, int(beside.threads));
    }
    for (int64_t k = b.residual - 1; k >= 0; --k, std::swap(one, two)) {
        const Unit &u = b.units[k];
        back(call, b, u, p[k], by[k], k ? memory + b.units[k - 1].bits : x, memory, one, spare);
        if (k || by_x) call.by_input[u.way](one, kernel(u), two, &u.shape, int(u.threads));
    }
    if (by_x)
#pragma omp parallel for num_threads(int(b.threads)) schedule(static)
        for (int64_t k = 0; k < in; ++k) by_x[k] += one[k];
}

}  // namespace

#define BLOCK(NAME, R)                                                                                                      \
    extern "C" int forward_##NAME(const void *calls, const Block *b, const Parameters *p, const uint8_t *x, uint8_t *memory, \
                                  uint8_t *joined, R *out, R *closing, int64_t *counts) {                                   \
        return forward<R>(*static_cast<const Calls<R> *>(calls), *b, p, x, memory, joined, out, closing, counts);           \
    }                                                                                                                       \
    extern "C" void backward_##NAME(const void *calls, const Block *b, const Parameters *p, const Parameters *by,           \
                                    const uint8_t *x, const uint8_t *memory, const R *grad, const R *by_closing, R *by_x,   \
                                    R *spare, R *one, R *two) {                                                             \
        backward<R>(*static_cast<const Calls<R> *>(calls), *b, p, by, x, memory, grad, by_closing, by_x, spare, one, two);  \
    }

BLOCK(float32, float)
BLOCK(float64, double)
