"""A Lava run as plain data and as a script."""
