"""The lines of a drawing: through the gap between two rows, or along a lane beside them."""

from __future__ import annotations

from purespike.compiler.report.page.elements import number
from purespike.compiler.report.page.lanes import ABOVE, BELOW
from purespike.compiler.report.page.layout import WIDE
from purespike.compiler.report.page.places import Part

_TURN = 6.0  # px, the radius of a corner
_PORT = 8.0  # px above and below the middle of a side, where lines come in and go out
_BESIDE = 5.0  # px between lines that come in at one side


def line(part: Part, source: int, target: int) -> str:
    """The path from the source to the target (boxes, ABOVE or BELOW)."""
    if part.row[target] - part.row[source] == 1:
        x1, y1, x2, y2 = (
            part.middle[source],
            _low(part, source),
            part.middle[target],
            _top(part, target),
        )
        clear = y2 - part.stacks[part.row[target]]
        return f"M{_at(x1, y1)}{_curve(x1, y1, x2, clear)}{_down(clear, y2)}"
    down = part.row[target] > part.row[source]
    return _leave(part, source, down) + _enter(part, source, target, down)


def tip(part: Part, source: int, target: int) -> str | None:
    """The arrow head of a line along a lane; others go down to the next row."""
    if target == BELOW or part.row[target] - part.row[source] == 1:
        return None
    net = part.nets[source]
    if target in net.sideways:
        x, y = _side(part, target, net.side), _port(part, source, target)
        return f"M{_at(x + net.side * 7, y - 4)}L{_at(x, y)}L{_at(x + net.side * 7, y + 4)}"
    x, y = part.middle[target], _top(part, target)
    return f"M{_at(x - 4, y - 7)}L{_at(x, y)}L{_at(x + 4, y - 7)}"


def _leave(part: Part, source: int, down: bool) -> str:
    """From the box to its lane."""
    net, lane = part.nets[source], part.lane[source]
    if source in net.sideways:
        x, y = _side(part, source, net.side), part.place[source][1] + part.high / 2 + _PORT
        turn = y + (_TURN if down else -_TURN)
        return f"M{_at(x, y)}H{number(lane - net.side * _TURN)}Q{_at(lane, y)} {_at(lane, turn)}"
    x, y, after = part.middle[source], _low(part, source), part.row[source] + 1
    below = part.gaps[after] - part.stacks[after]
    if down:
        return f"M{_at(x, y)}{_curve(x, y, lane, y + below)}"
    turn = y + 0.8 * below
    return f"M{_at(x, y)}C{_at(x, turn)} {_at(lane, turn)} {_at(lane, y)}"


def _enter(part: Part, source: int, target: int, down: bool) -> str:
    """Along the lane and into the box."""
    net, lane = part.nets[source], part.lane[source]
    if target in net.sideways:
        x, y = _side(part, target, net.side), _port(part, source, target)
        turn = y + (-_TURN if down else _TURN)
        return f"V{number(turn)}Q{_at(lane, y)} {_at(lane - net.side * _TURN, y)}H{number(x)}"
    x, y, row = part.middle[target], _top(part, target), part.row[target]
    above, clear = part.gaps[row], y - part.stacks[row]
    if down:
        return f"V{number(y - above)}{_curve(lane, y - above, x, clear)}{_down(clear, y)}"
    turn = clear - 0.8 * (above - part.stacks[row])
    return f"V{number(clear)}C{_at(lane, turn)} {_at(x, turn)} {_at(x, clear)}{_down(clear, y)}"


def _port(part: Part, source: int, target: int) -> float:
    """The height at which a line comes in at a side; several lie one above the other."""
    side = part.nets[source].side
    own = [
        s
        for s, net in part.nets.items()
        if net.side == side and target in net.targets and target in net.sideways
    ]
    rank = own.index(source) % int((part.high / 2 - _PORT) / _BESIDE)
    return part.place[target][1] + part.high / 2 - _PORT - _BESIDE * rank


def _side(part: Part, b: int, side: int) -> float:
    return part.middle[b] + side * WIDE / 2


def _low(part: Part, b: int) -> float:
    return 0.0 if b == ABOVE else part.place[b][1] + part.high


def _top(part: Part, b: int) -> float:
    return part.height if b == BELOW else part.place[b][1]


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    """Down from one point to another, straight at both ends."""
    half = (y1 + y2) / 2
    return f"C{_at(x1, half)} {_at(x2, half)} {_at(x2, y2)}"


def _down(y1: float, y2: float) -> str:
    """In front of what is stacked behind a box."""
    return "" if y1 == y2 else f"V{number(y2)}"


def _at(x: float, y: float) -> str:
    return f"{number(x)} {number(y)}"
