"""The graph: what it says, what it means, and whether it is well formed."""
