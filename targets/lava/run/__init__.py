"""Lava runs: in child processes, in shards, on a cluster."""
