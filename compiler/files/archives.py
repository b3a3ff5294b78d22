"""What a damaged .npz file raises when it is read."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib

# numpy, zipfile and the compressions behind it have no error in common, and a list at each reader
# lacked one or another: a byte that was flipped in compressed data is a `zlib.error`.
DAMAGED: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,  # a header with a shape that nothing can hold
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
