"""``python -m purespike``."""

from purespike.cli import main

main()
