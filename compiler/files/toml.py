"""TOML of a user's, within limits: recipes, policies and waivers."""

from __future__ import annotations

import re
import tomllib
from typing import Any

__all__ = ["parse_toml"]

PARTS = 32  # of a dotted key
_PART = re.compile(r"[\w\"'-]+")


def parse_toml(text: str) -> dict[str, Any]:
    """What a text of TOML says.

    A key of many parts costs tomllib the square of their number in time and memory (1.5 GB for a
    line of 40 kB), so it is refused before.

    Raises:
        ValueError: If it is no TOML, or a key of it has too many parts.
    """
    for number, line in enumerate(text.splitlines(), 1):
        parts = 0
        for part in line.split(".")[1:-1]:
            parts = parts + 1 if _PART.fullmatch(part.strip(" \t")) else 0
            if parts > PARTS:
                raise ValueError(f"a key has more than {PARTS} parts (line {number})")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
