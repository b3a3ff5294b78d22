"""Where everything of one part of the drawing stands."""

from __future__ import annotations

from collections.abc import Sequence

from purespike.compiler.report.page.lanes import ABOVE, BELOW, allot, nets
from purespike.compiler.report.page.layout import GAP_X, GAP_Y, WIDE
from purespike.compiler.report.page.parts import Box

_BUNDLE = 5.0  # px more of a gap for each value that crosses it to or from a lane
DECK = (5.0, -4.0)  # px from one box of a stack to the next
_DECKS = 3  # of a stack are drawn


class Part:
    """Places of the boxes of one part and of the lanes beside them: x around 0, y from its top.

    Attributes:
        row: Of each box, by its longest way from the top; ABOVE and BELOW are outside of all rows.
        place: Left upper corner of each box.
        edges: Source and target of every line.
        nets: What goes through lanes, by source.
        lane: x of the lane of each net, by source.
        tops: y of each row, and of the way out.
        gaps: Height of the gap above each, from which stacks stand out.
        width: Of boxes and lanes, as if both sides were as wide as the wider one.
        left: How far they reach to the left.
        stacks: How far the boxes of a row stand out into the gap above it.
        height: With the way out.
        folded: Height of the box that stands for the part.
    """

    def __init__(self, drawn: Sequence[Box], run: range, high: float) -> None:
        self.drawn, self.run, self.high = drawn, run, high
        self.row: dict[int, int] = {}
        for b in run:
            before = (self.row[i] for i in drawn[b].reads if i in self.row)
            self.row[b] = 1 + max(before, default=-1)
        rows: list[list[int]] = [[] for _ in range(1 + max(self.row.values()))]
        for b, r in self.row.items():
            rows[r].append(b)
        reach = [(len(own) * (WIDE + GAP_X) - GAP_X) / 2 for own in rows]
        middle = {ABOVE: 0.0, BELOW: 0.0}
        for own, half in zip(rows, reach, strict=True):
            middle |= {b: k * (WIDE + GAP_X) + WIDE / 2 - half for k, b in enumerate(own)}
        self.row |= {ABOVE: -1, BELOW: len(rows)}
        end = run[-1]
        read = any(end in box.reads for box in drawn[run.stop :])
        aside = self.row[end] < len(rows) - 1 or middle[end] != 0
        self.edges = [(i if i in run else ABOVE, b) for b in run for i in drawn[b].reads]
        self.edges += [(end, BELOW)] * (read and aside)
        found = nets(self.edges, self.row, middle, rows)
        turns = any(len(rows) in net.gaps for net in found)  # a line goes round below all boxes
        if read and turns and not aside:
            self.edges.append((end, BELOW))
        self.nets = {net.source: net for net in found}
        self.lane = allot(found, reach)
        self.stacks = [-DECK[1] * max(decks(drawn[b]) for b in own) for own in rows] + [0.0]
        self.gaps = [
            GAP_Y + _BUNDLE * sum(net.gaps.count(r) for net in found) + stack
            for r, stack in enumerate(self.stacks)
        ]
        self.tops = [sum(self.gaps[: r + 1]) + r * high for r in range(len(rows) + 1)]
        self.height = self.tops[-1] if turns or (read and aside) else self.tops[-1] - self.gaps[-1]
        self.place = {b: (middle[b] - WIDE / 2, self.tops[self.row[b]]) for b in run}
        self.middle = middle
        self.left = max([*reach, *(-x for x in self.lane.values())])
        self.width = 2 * max([self.left, *self.lane.values()])
        self.folded = high + GAP_Y


def decks(box: Box) -> int:
    """How many boxes are drawn behind the one that stands for copies."""
    return min(_DECKS, len(box.layers)) - 1
