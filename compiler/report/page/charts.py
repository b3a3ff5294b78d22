"""Small charts: bars and ranges, each with the words a screen reader needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from purespike.compiler.report.page.elements import Html, el, number

_BAR = 120.0  # widths and heights in px
_STEPS_HEIGHT = 22.0
_BOXES = 128  # cores of a layer that are drawn


def bar(value: float, largest: float, kind: str = "ac") -> Html:
    """A horizontal bar; the number stands beside it, so it is hidden from screen readers."""
    width = 0.0 if largest <= 0 else _BAR * value / largest
    shape = el("rect", x=0, y=2, width=max(width, 0.0), height=10, class_=kind)
    return el(
        "svg", shape, viewBox=f"0 0 {number(_BAR)} 14", width=_BAR, height=14, aria_hidden="true"
    )


def step_bars(values: Sequence[float], largest: float, write: Callable[[float], str]) -> Html:
    """One bar a time step; ``write`` puts a value into words."""
    width = max(2.0, min(14.0, 160.0 / max(1, len(values))))
    wide, high = number(width * len(values)), number(_STEPS_HEIGHT + 1)
    bars = "".join(
        f"M{number((t + 0.5) * width)} {number(_STEPS_HEIGHT)}"
        f"V{number(_STEPS_HEIGHT * (1 - value / largest))}"
        for t, value in enumerate(values)
        if largest and value
    )
    words = ", ".join(f"step {t}: {write(value)}" for t, value in enumerate(values))
    return el(
        "svg",
        el("title", words),
        el("path", d=bars, class_="bars", stroke_width=width - 1) if bars else None,
        el("path", d=f"M0 {number(_STEPS_HEIGHT)}H{wide}", class_="axis"),
        viewBox=f"0 0 {wide} {high}", role="img", width=wide, height=high,
    )  # fmt: skip


def slack(arrives: float, waits: float, longest: float) -> Html:
    """When a branch arrives (light) and how long it is held back (dark)."""
    unit = _BAR / max(1.0, longest)
    shapes = [
        el("rect", x=0, y=2, width=arrives * unit, height=10, class_="bound"),
        el("rect", x=arrives * unit, y=2, width=waits * unit, height=10, class_="ac"),
    ]
    return el(
        "svg", shapes, viewBox=f"0 0 {number(_BAR)} 14", width=_BAR, height=14, aria_hidden="true"
    )


def decades(values: Sequence[float], ends: tuple[float, float]) -> Html:
    """A range (low, high) on a logarithmic scale between ``ends``; all are positive."""
    width = 180.0
    start, stop = (float(np.log10(x)) for x in ends)

    def place(x: float) -> float:
        return 4 + (width - 8) * (float(np.log10(x)) - start) / max(stop - start, 1e-9)

    x1, x2 = (place(x) for x in values)
    shapes = [
        el("path", d=f"M0 7H{number(width)}", class_="rule"),
        el("rect", x=x1 - 1, y=2, width=max(3.0, x2 - x1 + 2), height=10, class_="ac"),
    ]
    return el(
        "svg", shapes, viewBox=f"0 0 {number(width)} 14", width=width, height=14,
        aria_hidden="true",
    )  # fmt: skip


def cells(shares: Mapping[str, float], order: Sequence[str], first: str) -> Html:
    """One cell per layer, from the input to the output: filled from below by what is equal.

    Args:
        shares: Equal values by layer, 0 to 1; a layer that was not compared has an empty cell.
        order: All layers.
        first: The layer of the first difference, which is marked.
    """
    wide = max(2.0, min(14.0, 240.0 / max(1, len(order))))
    high, gap = 18.0, 1.0 if wide > 3 else 0.0
    shapes, worst = [], []
    for k, name in enumerate(order):
        if name not in shares:
            continue
        box = {"x": k * wide, "width": wide - gap}
        missing = high * (1 - shares[name])
        if missing:
            # A difference of one spike has to be seen too.
            missing = max(2.0, missing)
            worst.append(f"{name} {100 * shares[name]:.2f} %")
            shapes.append(el("rect", y=0, height=missing, class_="mac", **box))
        shapes.append(el("rect", y=missing, height=high - missing, class_="seen", **box))
        if name == first:
            middle = number((k + 0.5) * wide)
            shapes.append(el("path", d=f"M{middle} 19l-4 6h8z", class_="mark"))
    words = f"{len(shares)} layers compared; " + (", ".join(worst[:40]) or "all of them equal")
    size = number(wide * len(order) + 4)
    return el(
        "svg", el("title", words), shapes, viewBox=f"-2 0 {size} 26", width=size, height=26,
        role="img",
    )  # fmt: skip


def span(outer: Sequence[float | None], inner: Sequence[float | None], limit: float | None) -> Html:
    """What was observed (dark) within what was proved (light), on the scale of the limit.

    The scale is that of a signed square root, so that small membranes are seen beside a
    large limit.
    """
    width = 180.0
    ends = [abs(x) for x in (*outer, *inner, limit) if x is not None]
    scale = float(np.sqrt(max([1.0, *ends])))

    def place(x: float | None, side: int) -> float:
        root = side * scale if x is None else float(np.sign(x) * np.sqrt(abs(x)))
        return width / 2 * (1 + root / scale)

    shapes = []
    for (low, high), kind, y in ((outer, "bound", 2), (inner, "seen", 5)):
        x1, x2 = place(low, -1), place(high, 1)
        height = 14 - 2 * y
        shapes.append(el("rect", x=x1, y=y, width=max(1.0, x2 - x1), height=height, class_=kind))
    zero = el("line", x1=width / 2, y1=0, x2=width / 2, y2=14, class_="axis")
    return el(
        "svg", shapes, zero, viewBox=f"0 0 {number(width)} 14", width=width, height=14,
        aria_hidden="true",
    )  # fmt: skip


def interval(rate: float, ends: Sequence[float], low: float) -> Html:
    """A rate with its confidence interval on the scale from ``low`` to 1."""
    width = 200.0

    def place(x: float) -> float:
        return 6 + (width - 12) * (x - low) / (1 - low if low < 1 else 1)

    whisker = el("line", x1=place(ends[0]), y1=8, x2=place(ends[1]), y2=8, class_="whisker")
    dot = el("circle", cx=place(rate), cy=8, r=4, class_="ac")
    return el(
        "svg", whisker, dot, viewBox=f"0 0 {number(width)} 16", width=width, height=16,
        aria_hidden="true",
    )  # fmt: skip


def boxes(cores: Sequence[Mapping[str, float]]) -> Html:
    """One box per core of a layer, filled by use: percent of each limit by its name."""
    more = f"and {len(cores) - _BOXES} more" if len(cores) > _BOXES else None
    return el("div", [_box(k, used) for k, used in enumerate(cores[:_BOXES])], more, class_="cores")


def _box(k: int, used: Mapping[str, float]) -> Html:
    percent = max(used.values(), default=0.0)
    fill = min(100.0, percent) * 0.16
    kind = "mac" if percent > 100 else "ac"
    each = ", ".join(f"{name} {p:.1f} %" for name, p in used.items())
    return el(
        "svg",
        el("title", f"core {k}: {each}"),
        el("rect", x=0, y=0, width=16, height=16, class_="bound"),
        el("rect", x=0, y=16 - fill, width=16, height=fill, class_=kind),
        width=16,
        height=16,
        role="img",
    )
