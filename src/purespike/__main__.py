"""``python -m purespike`` and the command ``purespike``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from purespike.compiler.errors import PurespikeError


def _refuse(error: PurespikeError) -> NoReturn:
    print("error: " + error.text("command line"), file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Run the command line; what stops it while it is being loaded is said without a traceback."""
    try:
        from purespike.compiler.memory import TooLittleMemory, ran_out, require_addresses

        require_addresses()
        from purespike.cli.app import main as run
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except TooLittleMemory as e:
        _refuse(e)
    except (ImportError, MemoryError) as e:
        from purespike.compiler.packages import missing_package

        if ran_out(e):
            _refuse(TooLittleMemory("purespike is loaded"))
        if isinstance(e, MemoryError) or (error := missing_package(e)) is None:
            raise
        _refuse(error)
    run()


if __name__ == "__main__":
    main()
