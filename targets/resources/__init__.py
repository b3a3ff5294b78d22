"""Does a network fit a chip? Cores, axons and memory, before anyone has the chip: an estimate."""
