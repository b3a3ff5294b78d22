"""Quantized networks as graphs of integers: nothing is rounded on the way."""
