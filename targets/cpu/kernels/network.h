// What Python hands over; the fields stand in the same order in program.py.
#pragma once
#include <cstddef>
#include <cstdint>

namespace {

struct Buffer {  // spikes of one edge
  uint8_t *bits;
  int32_t channels, height, width, bytes, border;
  size_t row() const { return size_t(width + 2 * border) * bytes; }
  size_t image() const { return row() * (height + 2 * border); }
};

enum Kind : int32_t { TABLES, EVENTS, LANEWISE };

struct Arm {  // a synapse: what it adds to a layer's currents
  int32_t kind, source, delay;
  int32_t kh, kw, sy, sx, py, px, dy, dx;
  int32_t places;  // LANEWISE: 1, or a weight for each place
  int32_t shared;  // EVENTS: all taps have the weights of one, as behind a mean over the image
  int32_t packed;  // EVENTS: weights of 8 bits
  int32_t first, bytes, channels;  // of a pixel: the bytes that are read, and how many channels they hold
  int32_t safe;    // EVENTS: how many rows may be added in 16 bits
  int32_t lookup_size;  // of four channels, in words; see Layer::lookups
  const void *weights;
};

enum Task : int32_t { NEURONS, LOGIC, POOL, SHIFT, FLATTEN };
enum Reset : int32_t { ZERO, SUBTRACT, NONE };

struct Layer {
  int32_t task, out, arms;
  int32_t height, width, channels, padded, tile;  // channels in whole tiles of 16, 32 or 64
  int32_t brief, narrow;   // 16 bits hold the currents; the membranes, too
  int32_t shift;           // the membrane counts in 2**-shift of a weight
  int32_t decay, current_decay, limit, reset, initial, places;  // decays in 4096ths
  int32_t table;           // LOGIC: bit k is the output where the inputs are the bits of k
  int32_t member;          // of a loop: runs step by step, with its states kept between
  const Arm *arm;
  const int16_t *lookups;  // [four channels][arm][tap][word][part][channel][32 or 64], or null
  const int32_t *bias, *threshold, *amount;  // [place or one][padded]
  int32_t *membrane, *current;      // states of a loop's layer: [sample][place][padded]
  int32_t *membranes, *currents;    // recordings: [t][sample][row][column][channel], or null
};

enum Choice : int32_t { MEASURED, NEVER, ALWAYS };

struct Network {
  const Buffer *buffers;
  const Layer *layers;
  int32_t count, steps, samples, threads;
  int32_t choice;  // LOOKUPS where there are tables for them: by measured rate, never, always
};

}  // namespace
