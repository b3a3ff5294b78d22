"""QONNX files: networks that Brevitas and others quantized, as graphs of whole numbers."""
