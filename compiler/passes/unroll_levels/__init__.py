"""The pass that makes spikes of level activations."""
