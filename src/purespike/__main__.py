"""``python -m purespike`` and the command ``purespike``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded ends without a traceback."""
    try:
        from purespike.cli import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
