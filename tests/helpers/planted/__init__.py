"""Faults planted on purpose: see `helpers.mutants` for the list."""
