/* Sums of BITS bits. network.c holds these functions for each width that a layer needs. */

/* One row of weights: those of 8 bits only where fewer than sixteen are left. */
static void add_BITS(const arm_t *arm, uint32_t first, intBITS_t *sums, uint32_t n)
{
    if (arm->bits == 8U) {
        const int8_t *w = &network_int8[arm->weights + first];
        for (uint32_t o = 0U; o < n; o++) {
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

/* The rows that are listed, each so many values further on, added to the sums of n places: sixteen
 * at a time, which compilers keep in registers over all rows. */
static void add_rows_BITS(const arm_t *arm, const uint32_t *list, uint32_t listed, uint32_t further,
                          intBITS_t *restrict sums, uint32_t n)
{
    uint32_t o = 0U;
    if (arm->bits == 8U) {
        const int8_t *weights = &network_int8[arm->weights + further];
        for (; (o + 16U) <= n; o += 16U) {
            intBITS_t kept[16];
            for (uint32_t k = 0U; k < 16U; k++) {
                kept[k] = sums[o + k];
            }
            for (uint32_t i = 0U; i < listed; i++) {
                const int8_t *restrict w = &weights[list[i] + o];
                for (uint32_t k = 0U; k < 16U; k++) {
                    /* HLS: UNROLL */
                    kept[k] = (intBITS_t)(kept[k] + w[k]);
                }
            }
            for (uint32_t k = 0U; k < 16U; k++) {
                sums[o + k] = kept[k];
            }
        }
    }
    for (uint32_t i = 0U; (o < n) && (i < listed); i++) {
        add_BITS(arm, list[i] + further + o, &sums[o], n - o);
    }
}

/* The same as window_BITS below where neighbouring pixels hear the same columns of the line: what
 * fires in a column is listed once for all of them. */
static void columns_BITS(const arm_t *arm, uint32_t y, uint32_t x)
{
    const line_t *line = &network_lines[arm->line];
    const uint32_t width = line->width, pad = arm->pad_w, n = arm->row;
    const uint32_t span = ((arm->kernel_w - 1U) * arm->dilation_w) + 1U;
    const uint32_t most = arm->kernel_h * line->channels;
    const uint32_t further = arm->tap * arm->row_step;
    for (uint32_t k = 0U; (x == 0U) && (k < span); k++) {
        columns[k] = NONE; /* another row of pixels: nothing is listed yet */
    }
    for (uint32_t j = 0U; j < arm->kernel_w; j++) {
        const uint32_t column = (x * arm->stride_w) + (j * arm->dilation_w);
        if ((column < pad) || (column >= (pad + width))) {
            continue;
        }
        const uint32_t at = column % span;
        uint32_t *list = &column_rows[at * most];
        if (columns[at] != column) {
            columns[at] = column;
            column_count[at] = list_column(arm, y, column - pad, list);
        }
        add_rows_BITS(arm, list, column_count[at], j * further, sumsBITS, n);
    }
}

/* All that one pixel of a layer hears through one synapse: a row of weights for each spike. */
static void window_BITS(const arm_t *arm, uint32_t y, uint32_t x, uint32_t pixel)
{
    const line_t *line = &network_lines[arm->line];
    const uint32_t height = line->height, width = line->width, bytes = line->pixel;
    const uint32_t first_byte = slot(line, arm->delay);
    const uint32_t per_group = (arm->group == line->channels) ? 0U : arm->group;
    const uint32_t own = pixel * arm->pixel_step;
    const uint32_t row_step = arm->row_step, n = arm->row;
    uint32_t listed = 0U, group = 0U;
    for (uint32_t i = 0U; i < arm->kernel_h; i++) {
        const uint32_t row = (y * arm->stride_h) + (i * arm->dilation_h);
        if ((row < arm->pad_h) || (row >= (arm->pad_h + height))) {
            continue;
        }
        for (uint32_t j = 0U; j < arm->kernel_w; j++) {
            const uint32_t column = (x * arm->stride_w) + (j * arm->dilation_w);
            if ((column < arm->pad_w) || (column >= (arm->pad_w + width))) {
                continue;
            }
            const uint32_t place = ((row - arm->pad_h) * width) + (column - arm->pad_w);
            const uint32_t at = place * bytes;
            const uint32_t tap = ((i * arm->kernel_w) + j) * arm->tap;
            for (uint32_t b = 0U; b < bytes; b += 4U) {
                uint32_t word = (arm->late == NONE) ? word_of(&spikes[first_byte + at + b], bytes - b)
                                                    : late_word(arm, line, at + b, 8U * b);
                const uint32_t first = ((tap + (8U * b)) * row_step) + own;
                if (listed > (ROWS - 32U)) {
                    add_rows_BITS(arm, rows, listed, 0U, &sumsBITS[group * n], n);
                    listed = 0U;
                }
                while (word != 0U) {
                    const uint32_t c = lowest(word);
                    if ((per_group != 0U) && ((((8U * b) + c) / per_group) != group)) {
                        add_rows_BITS(arm, rows, listed, 0U, &sumsBITS[group * n], n);
                        listed = 0U;
                        group = ((8U * b) + c) / per_group;
                    }
                    rows[listed] = first + (c * row_step);
                    listed++;
                    word &= word - 1U;
                }
            }
        }
    }
    add_rows_BITS(arm, rows, listed, 0U, &sumsBITS[group * n], n);
}

/* One neuron hears one place. */
static void points_BITS(const layer_t *layer, const arm_t *arm, uint32_t pixel)
{
    const line_t *line = &network_lines[arm->line];
    if ((arm->source == NONE) && (arm->late == NONE) && (arm->bits == 8U)
        && (arm->pixel_step == 0U) && (arm->channel_step == 0U)) { /* all with one weight */
        const uint32_t at = slot(line, arm->delay) + (pixel * line->pixel);
        const int32_t w = network_int8[arm->weights];
        for (uint32_t c = 0U; c < layer->channels; c++) {
            const int32_t said = (int32_t)(((uint32_t)spikes[at + (c / 8U)] >> (c % 8U)) & 1U);
            sumsBITS[c] = (intBITS_t)(sumsBITS[c] + (w * said));
        }
        return;
    }
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
