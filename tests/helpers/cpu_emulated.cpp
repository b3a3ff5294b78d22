// Runs a program of the cpu executor on another processor: the records and the memory that they point to come as one
// image, with offsets for addresses, and go back when all has run. usage: program IMAGE
#include <cstdio>
#include <cstdlib>
#include "kernels.cpp"

namespace {

char *base;

template <class T> void place(T *&address) {  // an offset from the start of the image, 0 for none
  if (address) address = (T *)(base + (size_t)address);
}

}  // namespace

int main(int, char **args) {
  FILE *file = std::fopen(args[1], "rb");
  if (!file) return 2;
  std::fseek(file, 0, SEEK_END);
  const size_t size = std::ftell(file);
  std::rewind(file);
  base = (char *)std::aligned_alloc(64, (size + 127) / 64 * 64);
  if (std::fread(base, 1, size, file) != size) return 2;
  std::fclose(file);
  Network *net = (Network *)(base + 64);
  place(net->buffers), place(net->layers);
  for (int i = 0; i < *(int32_t *)base; i++) place(((Buffer *)net->buffers)[i].bits);
  for (int i = 0; i < net->count; i++) {
    Layer &l = ((Layer *)net->layers)[i];
    place(l.arm), place(l.lookups), place(l.bias), place(l.threshold), place(l.amount);
    place(l.membrane), place(l.current), place(l.membranes), place(l.currents);
    for (int a = 0; a < l.arms; a++) place(((Arm *)l.arm)[a].weights);
  }
  if (run(net)) return 3;
  // Addresses are of no use to anybody else: only what lies behind the records goes back.
  file = std::fopen(args[1], "wb");
  std::fwrite(base, 1, size, file);
  return std::fclose(file) ? 2 : 0;
}
