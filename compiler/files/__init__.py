"""What is written, where, and of which kind; whole or not at all."""
