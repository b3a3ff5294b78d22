"""The Neuromorphic Intermediate Representation: written, and read back under guard."""
