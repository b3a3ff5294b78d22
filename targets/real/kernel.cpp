// One layer of neurons over all steps, in double: rows of weights are added for the spikes that came.
//
// Sums are taken in another order than the interpreter takes them, so currents may differ in their
// last bits. `delta` bounds by how much in one step; the bound is carried along with the membrane,
// and a decision that lies within it of the threshold is counted as uncertain.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {
struct Arm {
    int32_t diagonal, channels, height, width, kh, kw, sy, sx, py, px, dy, dx, groups, run;
    const uint8_t* spikes;  // (T, B, channels, height, width)
    const double* weights;  // (channels / run, kh, kw, outputs / groups), or one for each neuron
};
struct Layer {
    int32_t arms, steps, samples, channels, height, width, reset, exact;
    double decay, initial;
    const Arm* arm;
    const double *bias, *threshold, *amount, *delta;  // one for each neuron, channels last
    uint8_t* out;                                     // (T, B, channels, height, width)
};
enum { ZERO = 0, SUBTRACT = 1 };
const double UNIT = 1.0 / 9007199254740992.0;  // half a unit in the last place of 1

// Along one axis: which (tap, output) read each position.
struct Reads {
    std::vector<int> first, tap, output;
    Reads(int size, int outputs, int kernel, int stride, int padding, int dilation) {
        for (int i = 0; i < size; i++) {
            first.push_back(int(tap.size()));
            for (int k = 0; k < kernel; k++) {
                int at = i + padding - k * dilation;
                if (at >= 0 && at % stride == 0 && at / stride < outputs) {
                    tap.push_back(k);
                    output.push_back(at / stride);
                }
            }
        }
        first.push_back(int(tap.size()));
    }
};

void add_diagonal(const Arm& a, const uint8_t* x, double* sums, int channels, int places) {
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < places; p++)
            if (x[c * places + p]) sums[p * channels + c] += a.weights[p * channels + c];
}

void add_rows(const Arm& a, const Reads& ys, const Reads& xs, const uint8_t* x, double* sums,
              const Layer& l) {
    const int size = a.height * a.width, own = l.channels / a.groups;
    const int each = a.channels / a.groups;
    const int64_t total = int64_t(a.channels) * size;
    for (int64_t i = 0; i < total; i++) {
        if (i + 8 <= total) {  // most are silent: eight at a time
            uint64_t eight;
            std::memcpy(&eight, x + i, 8);
            if (!eight) {
                i += 7;
                continue;
            }
        }
        if (!x[i]) continue;
        const int c = int(i / size), at = int(i % size), y = at / a.width, col = at % a.width;
        const int to = c / each * own;
        const double* rows = a.weights + int64_t(c / a.run) * a.kh * a.kw * own;
        for (int j = ys.first[y]; j < ys.first[y + 1]; j++)
            for (int k = xs.first[col]; k < xs.first[col + 1]; k++) {
                const double* w = rows + (ys.tap[j] * a.kw + xs.tap[k]) * own;
                double* s = sums + int64_t(ys.output[j] * l.width + xs.output[k]) * l.channels + to;
                for (int o = 0; o < own; o++) s[o] += w[o];
            }
    }
}
}  // namespace

// How many decisions are uncertain.
extern "C" int64_t run_layer(const Layer* layer) {
    const Layer& l = *layer;
    const int places = l.height * l.width;
    const int64_t n = int64_t(l.channels) * places;
    std::vector<double> sums(n), v(n), e(n);
    std::vector<uint8_t> fired(n);
    std::vector<Reads> ys, xs;
    for (int k = 0; k < l.arms; k++) {
        const Arm& a = l.arm[k];
        ys.emplace_back(a.height, l.height, a.kh, a.sy, a.py, a.dy);
        xs.emplace_back(a.width, l.width, a.kw, a.sx, a.px, a.dx);
    }
    int64_t uncertain = 0;
    const double slack = l.exact ? 0 : 4 * UNIT;
    for (int b = 0; b < l.samples; b++) {
        std::fill(v.begin(), v.end(), l.initial);
        std::fill(e.begin(), e.end(), 0.0);
        for (int t = 0; t < l.steps; t++) {
            std::memcpy(sums.data(), l.bias, n * sizeof(double));
            const int64_t image = int64_t(t) * l.samples + b;
            for (int k = 0; k < l.arms; k++) {
                const Arm& a = l.arm[k];
                const uint8_t* x = a.spikes + image * a.channels * a.height * a.width;
                if (a.diagonal)
                    add_diagonal(a, x, sums.data(), l.channels, places);
                else
                    add_rows(a, ys[k], xs[k], x, sums.data(), l);
            }
            int64_t close = 0;
            for (int64_t i = 0; i < n; i++) {
                const double old = l.decay * v[i], now = old + sums[i];
                const double off =
                    l.decay * e[i] + l.delta[i] + slack * (std::fabs(old) + std::fabs(now));
                const bool fires = now >= l.threshold[i];
                close += !l.exact && std::fabs(now - l.threshold[i]) <= 1.001 * off;
                const double left = l.reset == ZERO ? 0.0 : now - l.amount[i];
                const double more = l.reset == ZERO ? 0.0 : off + slack * std::fabs(left);
                v[i] = fires ? left : now;
                e[i] = fires ? more : off;
                fired[i] = fires;
            }
            uncertain += close;
            uint8_t* out = l.out + image * n;
            for (int c = 0; c < l.channels; c++)
                for (int p = 0; p < places; p++) out[c * places + p] = fired[p * l.channels + c];
        }
        if (uncertain) return uncertain;  // the interpreter runs the layer instead
    }
    return 0;
}

// What a layer of neurons does with the current it is given, one neuron after the other: the same
// operations on doubles as the interpreter's, so the same bits. Arrays are (T, B, channels, places).
struct Fire {
    int32_t steps, samples, channels, places, reset, fixed;
    double decay, start, unit, limit;
    const double *current, *shift, *threshold, *amount;  // shift by channel, the last two by neuron
    uint8_t* out;
};

extern "C" void fire(const Fire* given) {
    const Fire& f = *given;
    const int64_t n = int64_t(f.channels) * f.places, all = f.samples * n;
    std::vector<double> v(f.places);
    for (int64_t row = 0; row < int64_t(f.samples) * f.channels; row++) {
        const int64_t channel = row % f.channels;
        const double shift = f.shift[channel];
        const double *theta = f.threshold + channel * f.places, *amount = f.amount + channel * f.places;
        std::fill(v.begin(), v.end(), f.start);
        for (int t = 0; t < f.steps; t++) {
            const double* x = f.current + t * all + row * f.places;
            uint8_t* y = f.out + t * all + row * f.places;
            for (int i = 0; i < f.places; i++) {
                double old = v[i];
                old = f.fixed ? std::copysign(std::floor(std::fabs(old) * f.decay), old)
                              : f.decay * old;
                double now = old + (x[i] + shift) * f.unit;
                if (f.fixed) now = now < -f.limit ? -f.limit : now > f.limit ? f.limit : now;
                const bool fires = now >= theta[i];
                const double left = f.reset == ZERO ? 0.0 : now - amount[i];
                v[i] = fires ? left : now;
                y[i] = fires;
            }
        }
    }
}
