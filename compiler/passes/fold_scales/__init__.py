"""Averages, factors and delays taken into weights, thresholds and neurons."""
