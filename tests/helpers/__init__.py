"""What tests share: cases, random networks, and second computations."""
