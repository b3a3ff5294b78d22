"""The one way to a file that a user names: a regular file, of a size that was stated, read once.

What is parsed from it costs memory in proportion: `tests/test_fuzz.py` states how much. A reader
that opens a user's file in another way is refused by `tests/test_readers.py`.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from purespike.compiler.errors import PurespikeError

__all__ = ["opened", "read_bytes", "read_text"]

_SAVE = "save it as a file of its own, and name that"
Error = Callable[..., PurespikeError]


@contextmanager
def opened(path: Path, most: int, error: Error, what: str) -> Iterator[IO[bytes]]:
    """A file of at most ``most`` bytes, open to be read.

    Args:
        path: The file.
        most: Bytes.
        error: Made of the message and its details, and raised.
        what: What the file is, in the words of the message: "the policy".

    Raises:
        PurespikeError: ``error``, if it is too large or no regular file: a pipe may never end.
        OSError: If it cannot be opened or read.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder is named by the system
        found = "a device" if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else "a pipe or socket"
        raise error(
            f"{what} is not a regular file",
            where=str(path),
            found=found,
            allowed="a file",
            remedy=_SAVE,
        )
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size > most:
            raise error(
                f"{what} is too large",
                where=str(path),
                found=f"{size} bytes",
                allowed=f"at most {most} bytes",
            )
        file.seek(0)
        yield file


def read_bytes(path: Path, most: int, error: Error, what: str) -> bytes:
    """The bytes of a file, as `opened`."""
    with opened(path, most, error, what) as file:
        # Not up to `most`: so many bytes would be reserved at once.
        size = file.seek(0, 2)
        file.seek(0)
        return file.read(size)


def read_text(path: Path, most: int, error: Error, what: str) -> str:
    """A text in UTF-8, as `opened`, with line feeds alone between its lines.

    Raises:
        UnicodeDecodeError: If it is no UTF-8.
    """
    text = read_bytes(path, most, error, what).decode("utf-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")
