"""Where two JSON values differ, and in what."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-9  # relative, of means: sums in another order
SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Difference:
    """A statement that does not follow: its place, what is said, and what follows."""

    at: str
    found: str
    follows: str

    @property
    def words(self) -> str:
        """What is said and what follows."""
        return f"says {self.found}, and {self.follows} follows"


def differences(found: Any, follows: Any, at: str = "") -> Iterator[Difference]:
    """Every place in which two JSON values differ; means may differ by their rounding."""
    if isinstance(found, dict) and isinstance(follows, dict):
        for key in sorted(found.keys() | follows.keys()):
            place = f"{at}.{key}" if at else str(key)
            if key in found and key in follows:
                yield from differences(found[key], follows[key], place)
            else:
                yield Difference(place, *(_short(x.get(key, _NOTHING)) for x in (found, follows)))
    elif isinstance(found, list) and isinstance(follows, list) and len(found) == len(follows):
        for k, (one, other) in enumerate(zip(found, follows, strict=True)):
            yield from differences(one, other, f"{at}[{k}]")
    elif not _equal(found, follows):
        yield Difference(at, _short(found), _short(follows))


_NOTHING = object()


def _short(x: Any) -> str:
    if x is _NOTHING:
        return "missing"
    if isinstance(x, list):
        return f"a list of {len(x)}"
    text = json.dumps(x)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _equal(a: Any, b: Any) -> bool:
    if type(a) is type(b) and a == b:
        return True
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    if numbers:
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
    return False
