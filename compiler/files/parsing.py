"""Python's own parser, which other threads may disturb."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

__all__ = ["TRIES", "parsed"]

T = TypeVar("T")
TRIES = 20  # one in some hundred goes wrong at worst


def parsed(read: Callable[[], T]) -> T:
    """What ``read`` returns, which is called anew where another thread disturbed Python's parser.

    numpy reads the header of an array with `ast.literal_eval`, and `inspect` finds the source of a
    class with `ast.parse`. Python 3.11 counts how deep a tree of syntax is in one place for all
    threads, and raises where they take turns in between (python/cpython issue 106905): not for
    what stands in the file, so the next try succeeds.

    Args:
        read: May be called several times.

    Raises:
        SystemError: If it went wrong `TRIES` times.
        Exception: Whatever ``read`` raises.
    """
    for _ in range(TRIES - 1):
        try:
            return read()
        except SystemError as error:
            if "recursion depth mismatch" not in str(error):
                raise
    return read()
