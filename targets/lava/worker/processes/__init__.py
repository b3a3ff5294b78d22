"""Custom Lava processes, alone: Lava executes every file beside a process class."""
