"""Lanes beside the boxes, for lines that do not end in the next row: skips, joins and loops.

A line between boxes of neighbouring rows stays in the gap between them. Any other one would cross
the rows between: it leaves its box into a gap, or sideways where no box is in the way, and follows
a lane outside of all rows that it passes. Lines of one value share a lane; those of two values
never do where they are side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

ABOVE, BELOW = -1, -2  # in the place of a box: where a value comes in, and where it goes out
_FIRST, _NEXT = 20.0, 11.0  # px from the boxes to a lane, and from lane to lane


@dataclass(frozen=True)
class Net:
    """All lines of one value that go through a lane.

    Attributes:
        source: The box, or ABOVE.
        targets: The boxes, or BELOW.
        side: 1 for the lane on the right, -1 on the left.
        sideways: Those of them that the lane reaches without a gap.
        rows: Which the lane passes, the first and the last one.
        gaps: Where lines cross to and from the lane, each by the row below it.
    """

    source: int
    targets: tuple[int, ...]
    side: int
    sideways: frozenset[int]
    rows: tuple[int, int]
    gaps: tuple[int, ...]


def nets(
    edges: Iterable[tuple[int, int]],
    row: Mapping[int, int],
    middle: Mapping[int, float],
    rows: Sequence[Sequence[int]],
) -> list[Net]:
    """The nets of a part.

    Args:
        edges: Source and target of each line.
        row: Of each box; -1 for ABOVE, and one behind the last for BELOW.
        middle: x of the middle of each.
        rows: The boxes of each, from left to right.
    """
    targets: dict[int, list[int]] = {}
    for source, target in edges:
        if row[target] - row[source] != 1:
            targets.setdefault(source, []).append(target)
    return [_net(source, tuple(own), row, middle, rows) for source, own in targets.items()]


def _net(
    source: int,
    targets: tuple[int, ...],
    row: Mapping[int, int],
    middle: Mapping[int, float],
    rows: Sequence[Sequence[int]],
) -> Net:
    ends = (source, *targets)
    side = -1 if sum(middle[b] for b in ends) < 0 else 1
    outer = {own[0 if side < 0 else -1] for own in rows}
    sideways = frozenset(b for b in ends if b in outer)
    passed, gaps = [], []
    for t in targets:
        down = row[t] > row[source]
        if source in sideways or not down:
            passed.append(row[source])
        else:
            passed.append(row[source] + 1)
        passed.append(row[t] if t in sideways or not down else row[t] - 1)
    if source not in sideways:
        gaps.append(row[source] + 1)
    gaps += [row[t] for t in targets if t not in sideways]
    return Net(source, targets, side, sideways, (min(passed), max(passed)), tuple(gaps))


def allot(found: Sequence[Net], reach: Sequence[float]) -> dict[int, float]:
    """Where the lane of each net runs, by its source: x of short ones next to the boxes, then long.

    Args:
        found: The nets of a part.
        reach: How far the boxes of each row reach to either side.
    """
    given: dict[int, float] = {}
    taken: list[tuple[Net, float]] = []
    for net in sorted(found, key=lambda n: (n.rows[1] - n.rows[0], n.rows, n.source)):
        first, last = net.rows
        x = max(reach[first : last + 1]) + _FIRST
        beside = [
            at
            for other, at in taken
            if other.side == net.side and other.rows[0] <= last and first <= other.rows[1]
        ]
        while any(abs(x - at) < _NEXT for at in beside):
            x += 1.0
        taken.append((net, x))
        given[net.source] = net.side * x
    return given
