"""``python -m purespike`` and the command ``purespike``."""

import sys


def main() -> None:
    """Run the command line; what stops it while it is being loaded is said without a traceback."""
    try:
        from purespike.cli.app import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ImportError as e:
        from purespike.compiler.packages import missing_package

        if (error := missing_package(e)) is None:
            raise
        print("error: " + error.text("command line"), file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
