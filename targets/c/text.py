"""Arrays and tables as C text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from purespike.targets.c.layers import Ints

_WIDTH = 96


def array(kind: str, name: str, values: Iterable[Any]) -> str:
    """The definition of a constant array; one value where there is none, as C has no empty ones."""
    held = [str(v) for v in values] or ["0"]
    lines, line = [], "   "
    for text in held:
        if len(line) + len(text) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return f"const {kind} {name}[{len(held)}] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def whole(values: NDArray[Any]) -> list[str]:
    """Whole numbers as C99 writes them: the lowest of 32 bits has no literal of its own."""
    return [str(v) if v > -(2**31) else "INT32_MIN" for v in values.ravel().tolist()]


def halves(rows: Ints) -> Ints:
    """Rows of numbers of 4 bits, two to a byte, the lower half first: (n, values) -> bytes."""
    if rows.shape[1] % 2:
        rows = np.concatenate([rows, np.zeros((len(rows), 1), np.int64)], axis=1)
    nibbles = rows & 15
    return nibbles[:, ::2] | nibbles[:, 1::2] << 4


def table(kind: str, name: str, rows: Sequence[str]) -> str:
    """The definition of a constant array of structures."""
    body = ",\n".join(f"    {{{row}}}" for row in rows)
    return f"const {kind} {name}[{len(rows)}] = {{\n{body}\n}};\n"


class Pool:
    """Constant numbers by width, one array each: what is equal is kept once."""

    KINDS: ClassVar = {
        "bytes": "uint8_t",
        "int8": "int8_t",
        "int16": "int16_t",
        "numbers": "int32_t",
        "words": "uint32_t",
    }

    def __init__(self) -> None:
        self._parts: dict[str, list[Ints]] = {kind: [] for kind in self.KINDS}
        self._sizes = dict.fromkeys(self.KINDS, 0)
        self._known: dict[tuple[str, bytes], int] = {}

    def put(self, kind: str, values: NDArray[Any]) -> int:
        """Where these numbers begin in the array of a kind."""
        held = values.ravel().astype(np.int64)
        key = (kind, held.tobytes())
        if key not in self._known:
            self._known[key] = self._sizes[kind]
            self._parts[kind].append(held)
            self._sizes[kind] += held.size
        return self._known[key]

    def texts(self) -> list[str]:
        """Their definitions."""
        empty = np.zeros(0, np.int64)
        return [
            array(of, f"network_{kind}", whole(np.concatenate([empty, *self._parts[kind]])))
            for kind, of in self.KINDS.items()
        ]
