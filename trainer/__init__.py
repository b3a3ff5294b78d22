"""Training of full-spike networks with paths that exist only during training."""
