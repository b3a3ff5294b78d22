"""What is proved about every input: domains of edges, widths of sums, witnesses against."""
