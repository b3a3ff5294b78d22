/* Replays the golden samples: every output of every step, and with -DTRACE every spike and every
 * membrane of every layer, by a CRC-32. Exits with 0 if all are equal, else with 1.
 *
 *     network             replay
 *     network time 100    replay so often and print the time for a sample
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "golden.h"
#include "network.h"

#ifdef TRACE
static uint32_t crc_of(uint32_t crc, uint32_t byte)
{
    crc ^= byte;
    for (int k = 0; k < 8; k++) {
        crc = (crc >> 1) ^ (((crc & 1U) != 0U) ? 0xEDB88320U : 0U);
    }
    return crc;
}

static uint32_t layer_crc(uint32_t layer)
{
    uint32_t crc = 0xFFFFFFFFU;
    for (uint32_t i = 0U; (golden_fires[layer] != 0U) && (i < golden_neurons[layer]); i++) {
        crc = crc_of(crc, network_spike(layer, i));
    }
    for (uint32_t i = 0U; i < golden_neurons[layer]; i++) {
        const uint32_t v = (uint32_t)network_membrane(layer, i);
        for (uint32_t k = 0U; k < 32U; k += 8U) {
            crc = crc_of(crc, (v >> k) & 255U);
        }
    }
    return ~crc;
}

static int trace_differs(uint32_t sample, uint32_t step)
{
    const uint32_t *expected = &golden_crc[((sample * NETWORK_STEPS) + step) * NETWORK_LAYERS];
    for (uint32_t layer = 0U; layer < NETWORK_LAYERS; layer++) {
        if (layer_crc(layer) != expected[layer]) {
            (void)printf("sample %lu, step %lu: layer %s differs\n", (unsigned long)sample,
                         (unsigned long)step, golden_names[layer]);
            return 1;
        }
    }
    return 0;
}
#endif

static int step_differs(uint32_t sample, uint32_t step)
{
    uint8_t out[NETWORK_OUT_BYTES];
    const uint32_t at = (sample * NETWORK_STEPS) + step;
    network_step(&golden_inputs[at * NETWORK_IN_BYTES], out);
    if (memcmp(out, &golden_outputs[at * NETWORK_OUT_BYTES], NETWORK_OUT_BYTES) != 0) {
        (void)printf("sample %lu, step %lu: output spikes differ\n", (unsigned long)sample,
                     (unsigned long)step);
        return 1;
    }
    const int32_t *expected = &golden_readouts[at * NETWORK_READOUTS];
    for (uint32_t i = 0U; i < golden_readout_count; i++) {
        const int32_t found = network_readout(i);
        if (found != expected[i]) {
            (void)printf("sample %lu, step %lu: readout %lu is %ld, golden %ld\n",
                         (unsigned long)sample, (unsigned long)step, (unsigned long)i, (long)found,
                         (long)expected[i]);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const long rounds = ((argc > 2) && (strcmp(argv[1], "time") == 0)) ? atol(argv[2]) : 1;
    const clock_t start = clock();
    for (long round = 0; round < rounds; round++) {
        for (uint32_t sample = 0U; sample < GOLDEN_SAMPLES; sample++) {
            network_reset();
            for (uint32_t step = 0U; step < NETWORK_STEPS; step++) {
                if (step_differs(sample, step) != 0) {
                    return 1;
                }
#ifdef TRACE
                if (trace_differs(sample, step) != 0) {
                    return 1;
                }
#endif
            }
        }
    }
    if (argc > 2) {
        const double seconds = (double)(clock() - start) / (double)CLOCKS_PER_SEC;
        const double samples = (double)rounds * (double)GOLDEN_SAMPLES;
        (void)printf("%.4f ms per sample\n", 1000.0 * seconds / samples);
    }
    (void)printf("%lu samples, %lu steps each: all %s equal, bit for bit\n",
                 (unsigned long)GOLDEN_SAMPLES, (unsigned long)NETWORK_STEPS, GOLDEN_WHAT);
    return 0;
}
