"""From an input to a verdict and a bundle: which rooms a build passes through."""
