"""The arrays of a .npz file: what the file says of them, and their values within a limit."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from functools import partial
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.files.parsing import parsed

__all__ = ["DAMAGED", "UNPACKED", "arrays", "forms", "header"]

UNPACKED = 1 << 34  # bytes of arrays that a file may unpack to
Form = tuple[tuple[int, ...], np.dtype[Any]]

# numpy, zipfile and the compressions behind it have no error in common, and a list at each reader
# lacked one or another: a byte that was flipped in compressed data is a `zlib.error`.
DAMAGED: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # encrypted, or compressed in a way that zipfile does not know
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,  # the header of an array is Python text
    zipfile.BadZipFile,
    zlib.error,
)


def forms(file: zipfile.ZipFile, names: Iterable[str] | None = None) -> dict[str, Form]:
    """Shape and type of the arrays in a .npz file, by name; no values are read.

    Args:
        file: The archive.
        names: Of arrays; None for all.

    Raises:
        ValueError: If a member is not an array as its header says, or they unpack to more than
            `UNPACKED` bytes.
        Exception: What is damaged raises one of `DAMAGED`.
    """
    found: dict[str, Form] = {}
    total = 0
    for info in file.infolist():
        name = info.filename.removesuffix(".npy")
        if names is not None and name not in names:
            continue
        if name in found:
            raise ValueError(f"{name} is there twice")
        with file.open(info) as member:
            shape, _, dtype = header(member)
            found[name] = shape, dtype
            begins = member.tell()
        said = begins + math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and said != info.file_size:
            raise ValueError(f"{name}: {shape} {dtype} needs {said} bytes, not {info.file_size}")
        total += info.file_size
    if total > UNPACKED:
        raise ValueError(f"the arrays take {total} bytes, and at most {UNPACKED} are read")
    return found


def arrays(file: IO[bytes], names: Iterable[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file, after `forms`; Python objects are refused.

    Raises:
        As `forms`.
    """
    with zipfile.ZipFile(file) as archive:
        held = forms(archive, None if names is None else set(names))
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        return {name: np.asarray(parsed(partial(archive.__getitem__, name))) for name in held}


def header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether the first axis moves fastest, type) of an array, whose values come next.

    Raises:
        As `forms`.
    """
    version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
    read = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}", None)
    if read is None:
        raise ValueError(f"an array in version {version} of the format")
    begins = file.tell()

    def again() -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
        file.seek(begins)
        found: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
        return found

    shape, fortran, dtype = parsed(again)
    if min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape}")
    return shape, fortran, dtype
