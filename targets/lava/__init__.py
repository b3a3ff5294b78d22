"""Lava: scheduled, emitted, and run in a guarded child process."""
