"""What the compiler writes for: NIR, ONNX and Lava, each in a folder of its own."""
