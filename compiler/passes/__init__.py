"""Passes: named functions from a graph to a graph, one file each."""
