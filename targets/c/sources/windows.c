/* Sums of BITS bits. network.c holds these functions for each width that a layer needs. */

static void add_BITS(const arm_t *arm, uint32_t first, intBITS_t *sums, uint32_t n)
{
    if (arm->bits == 8U) {
        const int8_t *w = &network_int8[arm->weights + first];
        for (uint32_t o = 0U; o < n; o++) {
            /* HLS: PIPELINE II=1 */
            sums[o] = (intBITS_t)(sums[o] + w[o]);
        }
    } else if (arm->bits == 4U) { /* two to a byte, the lower half first */
        const uint8_t *w = &network_bytes[arm->weights + (first / 2U)];
        for (uint32_t o = 0U; o < n; o++) {
            const int32_t half = (int32_t)((w[o / 2U] >> ((o % 2U) * 4U)) & 15U);
            sums[o] = (intBITS_t)(sums[o] + ((half ^ 8) - 8));
        }
    } else if (arm->bits == 16U) {
        const int16_t *w = &network_int16[arm->weights + first];
        for (uint32_t o = 0U; o < n; o++) {
            /* HLS: PIPELINE II=1 */
            sums[o] = (intBITS_t)(sums[o] + w[o]);
        }
    } else {
        const int32_t *w = &network_numbers[arm->weights + first];
        for (uint32_t o = 0U; o < n; o++) {
            /* HLS: PIPELINE II=1 */
            sums[o] = (intBITS_t)(sums[o] + w[o]);
        }
    }
}

/* All that one pixel of a layer hears through one synapse: a row of weights for each spike. */
static void window_BITS(const arm_t *arm, uint32_t y, uint32_t x, uint32_t pixel)
{
    const line_t held = network_lines[arm->line];
    const line_t *line = &held;
    const uint32_t first_byte = slot(line, arm->delay);
    for (uint32_t i = 0U; i < arm->kernel_h; i++) {
        const uint32_t row = (y * arm->stride_h) + (i * arm->dilation_h);
        if ((row < arm->pad_h) || (row >= (arm->pad_h + line->height))) {
            continue;
        }
        for (uint32_t j = 0U; j < arm->kernel_w; j++) {
            const uint32_t column = (x * arm->stride_w) + (j * arm->dilation_w);
            if ((column < arm->pad_w) || (column >= (arm->pad_w + line->width))) {
                continue;
            }
            const uint32_t place = ((row - arm->pad_h) * line->width) + (column - arm->pad_w);
            const uint32_t at = place * line->pixel;
            const uint32_t tap = ((i * arm->kernel_w) + j) * arm->tap;
            for (uint32_t b = 0U; b < line->pixel; b++) {
                uint32_t byte = (arm->late == NONE) ? (uint32_t)spikes[first_byte + at + b]
                                                    : late_byte(arm, line, at + b, 8U * b);
                while (byte != 0U) {
                    const uint32_t c = (8U * b) + lowest(byte);
                    const uint32_t group = (arm->group == line->channels) ? 0U : (c / arm->group);
                    const uint32_t first = ((tap + c) * arm->row_step) + (pixel * arm->pixel_step);
                    add_BITS(arm, first, &sumsBITS[group * arm->row], arm->row);
                    byte &= byte - 1U;
                }
            }
        }
    }
}

/* One neuron hears one place. */
static void points_BITS(const layer_t *layer, const arm_t *arm, uint32_t pixel)
{
    const line_t *line = &network_lines[arm->line];
    for (uint32_t c = 0U; c < layer->channels; c++) {
        const uint32_t own = (pixel * line->pixel * 8U) + c;
        const uint32_t bit = (arm->source == NONE)
                                 ? own
                                 : network_words[arm->source + (pixel * layer->channels) + c];
        uint32_t delay = arm->delay;
        if (arm->late != NONE) {
            const uint32_t width = line->pixel * 8U;
            delay += network_bytes[arm->late + ((bit / width) * line->channels) + (bit % width)];
        }
        if ((((uint32_t)spikes[slot(line, delay) + (bit / 8U)] >> (bit % 8U)) & 1U) != 0U) {
            add_BITS(arm, (pixel * arm->pixel_step) + (c * arm->channel_step), &sumsBITS[c], 1U);
        }
    }
}
