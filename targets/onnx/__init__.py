"""The integer golden model as ONNX."""
