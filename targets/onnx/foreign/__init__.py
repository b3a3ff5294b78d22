"""ONNX files that other tools wrote: one time step, understood as a network."""
