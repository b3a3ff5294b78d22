/* Reads packed inputs from a file, step by step, and writes what every layer did to another one:
 * for each layer its spikes, a byte each, if it fires, then its membranes, four bytes each, lowest
 * first. Compiled with -DTRACE. purespike compares every value with its other executors.
 *
 *     record INPUTS RECORDED
 */
#include <stdio.h>

#include "network.h"
#include "parameters.h"

static void record(FILE *to)
{
    for (uint32_t i = 0U; i < NETWORK_LAYERS; i++) {
        const layer_t *layer = &network_layers[i];
        const uint32_t neurons = layer->channels * layer->height * layer->width;
        for (uint32_t k = 0U; (layer->line != NONE) && (k < neurons); k++) {
            (void)putc((int)network_spike(i, k), to);
        }
        for (uint32_t k = 0U; k < neurons; k++) {
            const uint32_t v = (uint32_t)network_membrane(i, k);
            for (uint32_t shift = 0U; shift < 32U; shift += 8U) {
                (void)putc((int)((v >> shift) & 255U), to);
            }
        }
    }
}

int main(int argc, char **argv)
{
    static uint8_t in[NETWORK_IN_BYTES];
    static uint8_t out[NETWORK_OUT_BYTES];
    FILE *from = (argc == 3) ? fopen(argv[1], "rb") : NULL;
    FILE *to = (from != NULL) ? fopen(argv[2], "wb") : NULL;
    if (to == NULL) {
        return 2;
    }
    for (uint32_t step = 0U; fread(in, 1U, NETWORK_IN_BYTES, from) == NETWORK_IN_BYTES; step++) {
        if ((step % NETWORK_STEPS) == 0U) {
            network_reset();
        }
        network_step(in, out);
        record(to);
    }
    (void)fclose(from);
    return (fclose(to) == 0) ? 0 : 2;
}
