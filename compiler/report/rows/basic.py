"""What every part of report.json is made of: objects with exactly these keys, bounded numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Number = int | float  # as written: 0 and 0.0 are two texts
Choice = bool | Number | str
Amount = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]
Share = Annotated[int, Meta(ge=0, le=1)] | Annotated[float, Meta(ge=0, le=1)]
Whole = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
RuleId = Annotated[str, Meta(pattern="^PS[0-9]{3}$")]
Role = Literal["main", "auxiliary", "host"]
Domain = Annotated[str, Meta(description="values an edge may carry, such as spike or int[0, 2]")]


class Row(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A JSON object with exactly these keys; those with a default may be absent."""


def finite(x: float | None) -> float | None:
    """None for what JSON cannot hold."""
    return x if x is not None and abs(x) < float("inf") else None


def both(ends: tuple[float | None, float | None]) -> tuple[float, float]:
    """Two numbers; raises ValueError where one is not known."""
    low, high = ends
    if low is None or high is None:
        raise ValueError("a range has no end")
    return low, high
