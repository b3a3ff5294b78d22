/* What network.c needs to know of the network; parameters.c holds the numbers. */
#ifndef PARAMETERS_H
#define PARAMETERS_H

#include <stdint.h>

#define NONE UINT32_MAX

/* The spikes of one edge over the last steps: eight channels to a byte, pixel by pixel. */
typedef struct {
    uint32_t channels, height, width;
    uint32_t pixel; /* bytes of a pixel */
    uint32_t bytes; /* of a step */
    uint32_t steps; /* how many are kept */
    uint32_t first; /* where it begins among the spikes */
} line_t;

/* One synapse. Rows: every spike adds a row of weights. Points: one neuron hears one place. */
typedef struct {
    uint32_t weights;       /* where they begin in the array of their width */
    uint32_t late;          /* further steps by place of the line: in network_bytes, or NONE */
    uint32_t source;        /* points: bits of the line that the places hear: in network_words, or NONE */
    uint32_t line, delay;
    uint32_t rows, bits;    /* 1 for rows; bits of a weight: 4, 8, 16, 32 */
    uint32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
    uint32_t tap;           /* rows from one tap to the next; 0: all taps share their rows */
    uint32_t row, row_step; /* values of a row that a pixel takes; from one row to the next */
    uint32_t pixel_step;    /* values from one pixel of the layer to the next */
    uint32_t channel_step;  /* points: values from one channel to the next */
    uint32_t columns;       /* 1: neighbouring pixels share what is listed for a column */
    uint32_t group;         /* channels of the line that share their outputs */
} arm_t;

/* Numbers that are one for a layer, one for each channel, or one for each neuron. */
typedef struct {
    uint32_t first; /* in network_numbers */
    uint32_t pixel_step, channel_step;
} numbers_t;

/* One layer of neurons: v <- decay * v + u, clipped; fires at v >= threshold; reset. */
typedef struct {
    uint32_t channels, height, width;
    uint32_t first_arm, arms;
    uint32_t line;           /* takes its spikes, or NONE */
    uint32_t state, current; /* where its membranes and synaptic currents begin, or NONE */
    uint32_t narrow;         /* 1: membranes of 16 bits */
    uint32_t brief;          /* 1: sums of 16 bits */
    uint32_t plain;          /* 1: 16 bits hold all, nothing fades or is clipped, one threshold */
    uint32_t reset;          /* 0 none, 1 to zero, 2 by an amount */
    uint32_t decay_bits;
    int32_t decay, current_decay; /* in 2**-decay_bits */
    int32_t unit;            /* of a weight, in units of the membrane */
    int32_t limit, initial;
    int32_t told;            /* factor to the units in which membranes are told */
    numbers_t bias, threshold, amount;
} layer_t;

extern const uint8_t network_bytes[];  /* weights of 4 bits, two to a byte; delays */
extern const int8_t network_int8[];    /* weights of 8 bits */
extern const int16_t network_int16[];  /* of 16 */
extern const int32_t network_numbers[]; /* of 32; biases, thresholds, amounts */
extern const uint32_t network_words[]; /* places */
extern const line_t network_lines[];
extern const arm_t network_arms[];
extern const layer_t network_layers[];

#endif
