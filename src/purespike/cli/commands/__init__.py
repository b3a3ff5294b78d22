"""The commands, a file each or a few that belong together; `cli.py` joins them."""
