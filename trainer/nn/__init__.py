"""What networks are built with: neurons, layers, gates, encoders. Nothing of the compiler here."""
