"""Networks in real numbers run fast, every spike that of the interpreter."""
