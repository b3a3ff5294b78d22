/* One time step of the network. C99, whole numbers, nothing allocated, no recursion, no library.
 *
 * No sum overflows: network.h states the range of each, proved for every input. Membranes are
 * clipped where the chip clips them. Products of a decay round towards zero, as on the chip.
 */
#include "network.h"
#include "parameters.h"

#define ROWS 64U

static uint8_t spikes[NETWORK_SPIKE_BYTES];
static int16_t narrow[NETWORK_NARROW];
static int32_t wide[NETWORK_WIDE];
static int16_t sums16[NETWORK_SUMS_16];
static int32_t sums32[NETWORK_SUMS_32];
static uint32_t rows[ROWS]; /* of weights, that wait to be added */
static uint32_t column_rows[NETWORK_COLUMN_ROWS]; /* of the columns of the line that are heard now */
static uint32_t column_count[NETWORK_COLUMNS];
static uint32_t columns[NETWORK_COLUMNS];
static uint32_t now;

#ifdef TRACE
static int32_t traced[NETWORK_NEURONS];
static uint32_t traced_at;
#endif

/* How many steps ago a line is read: a place in its ring. */
static uint32_t slot(const line_t *line, uint32_t delay)
{
    return line->first + ((now + line->steps - delay) % line->steps) * line->bytes;
}

/* The place of the lowest bit of a word that is not 0. */
static uint32_t lowest(uint32_t word)
{
#ifdef __GNUC__
    return (uint32_t)__builtin_ctz(word);
#else
    uint32_t k = 0U;
    while (((word >> k) & 1U) == 0U) {
        k++;
    }
    return k;
#endif
}

/* Eight places of a line, one byte, that are heard with delays of their own. */
static uint32_t late_byte(const arm_t *arm, const line_t *line, uint32_t at, uint32_t channel)
{
    uint32_t byte = 0U;
    for (uint32_t k = 0U; (k < 8U) && ((channel + k) < line->channels); k++) {
        const uint32_t place = ((at / line->pixel) * line->channels) + channel + k;
        const uint32_t heard = spikes[slot(line, arm->delay + network_bytes[arm->late + place]) + at];
        byte |= heard & (1U << k);
    }
    return byte;
}

/* The next 32 places, or as many as the bytes hold that are left of the pixel. */
static uint32_t word_of(const uint8_t *from, uint32_t left)
{
    if (left >= 4U) {
        return (uint32_t)from[0] | ((uint32_t)from[1] << 8U) | ((uint32_t)from[2] << 16U)
               | ((uint32_t)from[3] << 24U);
    }
    uint32_t word = 0U;
    for (uint32_t k = 0U; k < left; k++) {
        word |= (uint32_t)from[k] << (8U * k);
    }
    return word;
}

static uint32_t late_word(const arm_t *arm, const line_t *line, uint32_t at, uint32_t channel)
{
    uint32_t word = 0U;
    for (uint32_t k = 0U; (k < 4U) && ((channel + (8U * k)) < line->channels); k++) {
        word |= late_byte(arm, line, at + k, channel + (8U * k)) << (8U * k);
    }
    return word;
}

/* The rows of weights of all spikes in one column of a window, as if it were the first one. */
static uint32_t list_column(const arm_t *arm, uint32_t y, uint32_t column, uint32_t *list)
{
    const line_t *line = &network_lines[arm->line];
    const uint32_t first_byte = slot(line, arm->delay);
    const uint32_t bytes = line->pixel, row_step = arm->row_step;
    uint32_t listed = 0U;
    for (uint32_t i = 0U; i < arm->kernel_h; i++) {
        const uint32_t row = (y * arm->stride_h) + (i * arm->dilation_h);
        if ((row < arm->pad_h) || (row >= (arm->pad_h + line->height))) {
            continue;
        }
        const uint32_t at = (((row - arm->pad_h) * line->width) + column) * bytes;
        const uint32_t tap = i * arm->kernel_w * arm->tap;
        for (uint32_t b = 0U; b < bytes; b += 4U) {
            uint32_t word = (arm->late == NONE) ? word_of(&spikes[first_byte + at + b], bytes - b)
                                                : late_word(arm, line, at + b, 8U * b);
            const uint32_t first = (tap + (8U * b)) * row_step;
            while (word != 0U) {
                list[listed] = first + (lowest(word) * row_step);
                listed++;
                word &= word - 1U;
            }
        }
    }
    return listed;
}

/* WINDOWS */

/* What a step leaves of a state: rounded towards zero. */
static int32_t faded(int32_t x, int32_t decay, uint32_t bits)
{
    const uint64_t size = (x < 0) ? (0U - (uint64_t)(int64_t)x) : (uint64_t)x;
    const int32_t left = (int32_t)((size * (uint64_t)decay) >> bits);
    return (x < 0) ? -left : left;
}

/* The neurons of one pixel take their sums: integrate, clip, compare, reset. */
static void fire(const layer_t *layer, uint32_t pixel)
{
    const uint32_t first = pixel * layer->channels;
    const int32_t whole = (int32_t)(1UL << layer->decay_bits);
    const uint32_t threshold = layer->threshold.first + (pixel * layer->threshold.pixel_step);
    const uint32_t amount = layer->amount.first + (pixel * layer->amount.pixel_step);
    const line_t *line = (layer->line != NONE) ? &network_lines[layer->line] : network_lines;
    const uint32_t out = (layer->line != NONE) ? (slot(line, 0U) + (pixel * line->pixel)) : 0U;
    uint32_t byte = 0U;
    for (uint32_t c = 0U; c < layer->channels; c++) {
        /* HLS: PIPELINE II=1 */
        const uint32_t at = first + c;
        int32_t v = 0;
        int32_t u = layer->unit * ((layer->brief != 0U) ? (int32_t)sums16[c] : sums32[c]);
        if (layer->current != NONE) {
            u += faded(wide[layer->current + at], layer->current_decay, layer->decay_bits);
            wide[layer->current + at] = u;
        }
        if (layer->state != NONE) {
            v = (layer->narrow != 0U) ? (int32_t)narrow[layer->state + at] : wide[layer->state + at];
            v = (layer->decay == whole) ? v : faded(v, layer->decay, layer->decay_bits);
        }
        v += u;
        v = (v > layer->limit) ? layer->limit : v;
        v = (v < -layer->limit) ? -layer->limit : v;
        if ((layer->reset != 0U)
            && (v >= network_numbers[threshold + (c * layer->threshold.channel_step)])) {
            v = (layer->reset == 1U)
                    ? 0
                    : (v - network_numbers[amount + (c * layer->amount.channel_step)]);
            byte |= 1U << (c % 8U);
        }
        if (layer->state == NONE) {
            /* a memoryless neuron: nothing is kept */
        } else if (layer->narrow != 0U) {
            narrow[layer->state + at] = (int16_t)v;
        } else {
            wide[layer->state + at] = v;
        }
#ifdef TRACE
        traced[traced_at + at] = v * layer->told;
#endif
        if ((layer->line != NONE) && (((c % 8U) == 7U) || ((c + 1U) == layer->channels))) {
            spikes[out + (c / 8U)] = (uint8_t)byte;
            byte = 0U;
        }
    }
}

/* The same where no membrane leaves 16 bits, nothing fades or is clipped, and one threshold holds
 * for all: without branches, so that compilers take several neurons at a time. */
static void fire_plain(const layer_t *layer, uint32_t pixel)
{
    const uint32_t channels = layer->channels;
    const line_t *line = &network_lines[layer->line];
    const int32_t threshold = network_numbers[layer->threshold.first];
    const int32_t amount = network_numbers[layer->amount.first];
    uint8_t *to = &spikes[slot(line, 0U) + (pixel * line->pixel)];
    const int16_t reached = (int16_t)threshold;
    const int16_t kept = (int16_t)((layer->reset == 1U) ? 0 : -1);
    const int16_t taken = (int16_t)((layer->reset == 1U) ? 0 : amount);
    if (layer->state != NONE) {
        int16_t *v = &narrow[layer->state + (pixel * channels)];
        for (uint32_t c = 0U; c < channels; c++) {
            const int16_t now_v = (int16_t)(v[c] + sums16[c]);
            const int16_t fires = (int16_t)-(now_v >= reached);
            sums16[c] = fires;
            v[c] = (int16_t)((now_v & (int16_t)(~fires | kept)) - (taken & fires));
#ifdef TRACE
            traced[traced_at + (pixel * channels) + c] = v[c] * layer->told;
#endif
        }
    } else {
        for (uint32_t c = 0U; c < channels; c++) {
            const int16_t fires = (int16_t)-(sums16[c] >= reached);
#ifdef TRACE
            const int32_t v = (sums16[c] & (int16_t)(~fires | kept)) - (taken & fires);
            traced[traced_at + (pixel * channels) + c] = v * layer->told;
#endif
            sums16[c] = fires;
        }
    }
    for (uint32_t b = 0U; b < line->pixel; b++) {
        const uint32_t left = channels - (8U * b);
        uint32_t byte = 0U;
        for (uint32_t k = 0U; (k < 8U) && (k < left); k++) {
            byte |= (uint32_t)(uint16_t)sums16[(8U * b) + k] & (1U << k);
        }
        to[b] = (uint8_t)byte;
    }
}

static void begin(const layer_t *layer, uint32_t pixel)
{
    const uint32_t bias = layer->bias.first + (pixel * layer->bias.pixel_step);
    for (uint32_t c = 0U; c < layer->channels; c++) {
        /* HLS: PIPELINE II=1 */
        if (layer->brief != 0U) {
            sums16[c] = (int16_t)network_numbers[bias + (c * layer->bias.channel_step)];
        } else {
            sums32[c] = network_numbers[bias + (c * layer->bias.channel_step)];
        }
    }
}

static void run(const layer_t *of)
{
    const layer_t layer = *of; /* a copy: what is written below cannot change it */
    for (uint32_t y = 0U; y < layer.height; y++) {
        for (uint32_t x = 0U; x < layer.width; x++) {
            const uint32_t pixel = (y * layer.width) + x;
            begin(&layer, pixel);
            for (uint32_t a = 0U; a < layer.arms; a++) {
                const arm_t arm = network_arms[layer.first_arm + a];
                if ((arm.rows == 0U) && (layer.brief != 0U)) {
                    points_16(&layer, &arm, pixel);
                } else if (arm.rows == 0U) {
                    points_32(&layer, &arm, pixel);
                } else if ((arm.columns != 0U) && (layer.brief != 0U)) {
                    columns_16(&arm, y, x);
                } else if (arm.columns != 0U) {
                    columns_32(&arm, y, x);
                } else if (layer.brief != 0U) {
                    window_16(&arm, y, x, pixel);
                } else {
                    window_32(&arm, y, x, pixel);
                }
            }
            if (layer.plain != 0U) {
                fire_plain(&layer, pixel);
            } else {
                fire(&layer, pixel);
            }
        }
    }
}

void network_reset(void)
{
    for (uint32_t i = 0U; i < NETWORK_SPIKE_BYTES; i++) {
        spikes[i] = 0U;
    }
    for (uint32_t i = 0U; i < NETWORK_WIDE; i++) {
        wide[i] = 0;
    }
    for (uint32_t i = 0U; i < NETWORK_LAYERS; i++) {
        const layer_t *layer = &network_layers[i];
        const uint32_t neurons = layer->channels * layer->height * layer->width;
        for (uint32_t k = 0U; (layer->state != NONE) && (k < neurons); k++) {
            if (layer->narrow != 0U) {
                narrow[layer->state + k] = (int16_t)layer->initial;
            } else {
                wide[layer->state + k] = layer->initial;
            }
        }
    }
    now = NETWORK_RING - 1U;
}

/* Between the order outside, channels first, and the order of a line. */
static uint32_t bit_of(uint32_t pixels, uint32_t pixel_bytes, uint32_t index)
{
    return ((index % pixels) * pixel_bytes * 8U) + (index / pixels);
}

void network_step(const uint8_t spikes_in[NETWORK_IN_BYTES], uint8_t spikes_out[NETWORK_OUT_BYTES])
{
    /* HLS: INTERFACE mode=ap_memory port=spikes_in */
    /* HLS: INTERFACE mode=ap_memory port=spikes_out */
    /* HLS: INTERFACE mode=ap_ctrl_hs port=return */
    now = (now + 1U) % NETWORK_RING;
    const line_t *in = &network_lines[0];
    const uint32_t pixels = in->height * in->width;
    uint8_t *to = &spikes[slot(in, 0U)];
    for (uint32_t i = 0U; i < in->bytes; i++) {
        to[i] = 0U;
    }
    for (uint32_t i = 0U; i < (in->channels * pixels); i++) {
        const uint32_t bit = bit_of(pixels, in->pixel, i);
        const uint32_t said = ((uint32_t)spikes_in[i / 8U] >> (i % 8U)) & 1U;
        to[bit / 8U] = (uint8_t)(to[bit / 8U] | (said << (bit % 8U)));
    }
#ifdef TRACE
    traced_at = 0U;
#endif
    for (uint32_t i = 0U; i < NETWORK_LAYERS; i++) {
        run(&network_layers[i]);
#ifdef TRACE
        traced_at += network_layers[i].channels * network_layers[i].height * network_layers[i].width;
#endif
    }
    for (uint32_t i = 0U; i < NETWORK_OUT_BYTES; i++) {
        spikes_out[i] = 0U;
    }
    uint32_t first = 0U;
    for (uint32_t o = 0U; o < NETWORK_OUTPUTS; o++) {
        const uint32_t layer = network_outputs[o];
        if (network_layers[layer].line != NONE) {
            const layer_t *of = &network_layers[layer];
            const uint32_t neurons = of->channels * of->height * of->width;
            for (uint32_t i = 0U; i < neurons; i++) {
                const uint32_t at = first + (i / 8U);
                const uint32_t said = network_spike(layer, i) << (i % 8U);
                spikes_out[at] = (uint8_t)(spikes_out[at] | said);
            }
            first += (neurons + 7U) / 8U;
        }
    }
}

uint32_t network_spike(uint32_t layer, uint32_t index)
{
    const layer_t *of = &network_layers[layer];
    const line_t *line = &network_lines[of->line];
    const uint32_t bit = bit_of(of->height * of->width, line->pixel, index);
    return ((uint32_t)spikes[slot(line, 0U) + (bit / 8U)] >> (bit % 8U)) & 1U;
}

int32_t network_membrane(uint32_t layer, uint32_t index)
{
    const layer_t *of = &network_layers[layer];
    const uint32_t pixels = of->height * of->width;
    const uint32_t at = ((index % pixels) * of->channels) + (index / pixels);
#ifdef TRACE
    uint32_t first = 0U;
    for (uint32_t i = 0U; i < layer; i++) {
        first += network_layers[i].channels * network_layers[i].height * network_layers[i].width;
    }
    return traced[first + at];
#else
    if (of->state == NONE) {
        return 0; /* a memoryless neuron keeps nothing */
    }
    return of->told * ((of->narrow != 0U) ? (int32_t)narrow[of->state + at] : wide[of->state + at]);
#endif
}

int32_t network_readout(uint32_t index)
{
    for (uint32_t o = 0U; o < NETWORK_OUTPUTS; o++) {
        const layer_t *layer = &network_layers[network_outputs[o]];
        const uint32_t neurons = layer->channels * layer->height * layer->width;
        if (layer->line != NONE) {
            /* it spikes */
        } else if (index < neurons) {
            return network_membrane(network_outputs[o], index);
        } else {
            index -= neurons;
        }
    }
    return 0;
}
