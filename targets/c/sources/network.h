/* A spiking network as a C program: whole numbers and additions only.
 *
 * For each sample: network_reset(), then network_step() for each of NETWORK_STEPS time steps.
 * Spikes are bits: place i of INPUT (channels, height, width) is bit i % 8 of byte i / 8.
 *
 * The range of every sum and of every membrane, proved for every input:
 *   RANGES
 */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

/* SIZES */

/* The layers behind the outputs of the network, in order. */
extern const uint32_t network_outputs[NETWORK_OUTPUTS];

/* Put all membranes, currents and delayed spikes to rest. */
void network_reset(void);

/* One time step: NETWORK_IN_BYTES in, NETWORK_OUT_BYTES out, each spiking output from a new byte. */
void network_step(const uint8_t spikes_in[NETWORK_IN_BYTES], uint8_t spikes_out[NETWORK_OUT_BYTES]);

/* The membranes of all outputs that do not spike, one after the other, after the last step. */
int32_t network_readout(uint32_t index);

/* Did a neuron fire in the last step? index counts channels, rows, columns. */
uint32_t network_spike(uint32_t layer, uint32_t index);

/* The membrane of a neuron after the last step, in the chip's units; with -DTRACE of every layer,
 * without it 0 for memoryless neurons. */
int32_t network_membrane(uint32_t layer, uint32_t index);

#endif
