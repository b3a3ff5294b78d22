"""Spikes on their way through a network by two clocks, as one animated SVG.

Boxes are what sends spikes; a synapse is part of the edge. A box lights up when its layer fires, an
edge while spikes are on it. It moves by CSS alone, and stands still where the reader's system asks
for less motion; the rasters below the drawings say the same without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from purespike.compiler.report.page.elements import Child, Html, el
from purespike.compiler.report.page.layout import Marks
from purespike.compiler.report.page.standalone import drawn, framed
from purespike.compiler.report.rows.network import EdgeRow, Network, NodeRow

_SECONDS = 0.9  # a step
_PAUSE = 2  # steps after the last
_ROW, _NAMES, _GAP = 20.0, 130.0, 36.0  # px
_LETTERS = 18


@dataclass(frozen=True)
class Clock:
    """What each layer sent, by one clock.

    Attributes:
        title: Of the clock.
        step: What a step of it is called.
        sent: Spikes of each layer at each step, from step 0 on; of all layers equally many.
        late: Steps by which each layer is behind the input.
    """

    title: str
    step: str
    sent: Mapping[str, Sequence[int]]
    late: Mapping[str, int]

    @property
    def steps(self) -> int:
        """How many it counts."""
        return max(map(len, self.sent.values()))


def senders(network: Network, sent: Mapping[str, object]) -> Network:
    """The network of the layers that send spikes, and its outputs: what lies between is an edge."""
    own = [n for n in network.nodes if n.name in sent or n.name in network.outputs]
    kept = {n.name for n in own} | {e.name for e in network.inputs}
    reads = {n.name: n.reads for n in network.nodes}

    def sources(name: str) -> list[str]:
        found: list[str] = []
        waiting, seen = list(reads[name]), {name}
        while waiting:
            one = waiting.pop(0)
            if one in kept:
                found.append(one)
            elif one not in seen:
                seen.add(one)
                waiting += reads[one]
        return list(dict.fromkeys(found))

    nodes = tuple(_node(n, tuple(sources(n.name))) for n in own)
    return Network(network.stage, network.steps, network.inputs, network.outputs, nodes)


def animation(network: Network, clocks: Sequence[Clock], title: str) -> str:
    """The network once for each clock, side by side, all driven by one.

    Args:
        network: Of `senders`.
        clocks: Of the same layers.
        title: In a sentence.
    """
    frames = max(c.steps for c in clocks) + _PAUSE
    said = repr((network, clocks)).encode()
    key = f"p{sha256(said).hexdigest()[:8]}"  # two pictures may stand in one page
    rules: list[str] = []
    parts: list[Child] = []
    at = high = 0.0
    for k, clock in enumerate(clocks):
        own = _Panel(network, clock, f"{key}{'abcdef'[k]}", frames)
        parts.append(el("svg", own.inner, x=at, y=0, width=own.wide, height=own.high))
        rules += own.rules
        at, high = at + own.wide, max(high, own.high)
    moving = "@media(prefers-reduced-motion:no-preference){" + "".join(rules) + "}"
    return framed(parts, at, high, title=title, style=moving)


def _node(row: NodeRow, reads: tuple[str, ...]) -> NodeRow:
    return NodeRow(
        name=row.name,
        shape=row.shape,
        domain=row.domain,
        operation=row.operation,
        reads=reads,
        role=row.role,
        origin=row.origin,
        fires=row.fires,
    )


class _Panel:
    """One clock: heading, drawing and raster, and the rules that move them."""

    def __init__(self, network: Network, clock: Clock, key: str, frames: int) -> None:
        self.clock, self.key, self.frames = clock, key, frames
        self.rules: list[str] = []
        lit, ways = self._boxes(), self._ways(network)
        inner, self.wide, tall = drawn(network, Marks(lit=lit, ways=ways))
        self.wide = max(self.wide, _NAMES + _ROW * clock.steps + _GAP)
        head = el("text", clock.title, x=self.wide / 2, y=28, class_="head", text_anchor="middle")
        raster, below = self._raster(network, 40 + tall + 24)
        self.high = below + 12
        self.inner = [head, el("svg", inner, x=0, y=40, width=self.wide, height=tall), raster]

    def _boxes(self) -> dict[str, str]:
        lit = {}
        for k, (name, sent) in enumerate(self.clock.sent.items()):
            fires = {s for s, n in enumerate(sent) if n}
            if fires:
                lit[name] = f"{self.key}b{k}"
                frames = self._blink(f"{self.key}b{k}", fires, "fill:var(--lit)", "fill:var(--box)")
                self.rules.append(f".purespike .{self.key}b{k} rect{{{frames}}}")
        return lit

    def _ways(self, network: Network) -> dict[tuple[str, str], str]:
        """An edge is lit from the step in which spikes are sent to the one before they are used."""
        clock = self.clock
        ways: dict[tuple[str, str], str] = {}
        for node in network.nodes:
            for source in node.reads:
                delay = clock.late.get(node.name, 0) - clock.late.get(source, 0)
                lasts = range(max(1, delay))
                sent = clock.sent.get(source, ())
                on = {s + more for s, n in enumerate(sent) if n for more in lasts}
                if on:
                    name = ways[source, node.name] = f"{self.key}e{len(ways)}"
                    moved = self._blink(name, on, "stroke-width:8", "stroke-width:2.5")
                    self.rules.append(f".purespike .{name}{{{moved}}}")
        return ways

    def _blink(self, name: str, on: set[int], lit: str, dark: str) -> str:
        """Keyframes that switch at the beginning of a step, and the property that uses them."""
        turns = [f"0%{{{lit if 0 in on else dark}}}"]
        for s in range(1, self.frames):
            if (s in on) != (s - 1 in on):
                turns.append(f"{100 * s / self.frames:.4g}%{{{lit if s in on else dark}}}")
        self.rules.append(f"@keyframes {name}{{{''.join(turns)}}}")
        return self._runs(name)

    def _runs(self, name: str) -> str:
        return f"animation:{name} {self.frames * _SECONDS:g}s step-end infinite"

    def _raster(self, network: Network, top: float) -> tuple[Html, float]:
        """A row a layer, a column a step, the number of spikes in each cell."""
        clock, left = self.clock, (self.wide - _ROW * self.clock.steps + _NAMES) / 2
        edges: tuple[EdgeRow, ...] = (*network.inputs, *network.nodes)
        rows = [e.name for e in edges if e.name in clock.sent]
        bottom = top + _ROW * (len(rows) + 1)
        parts: list[Child] = [el("text", clock.step, x=left - _NAMES, y=top + 14, class_="small")]
        for s in range(clock.steps):
            middle = left + (s + 0.5) * _ROW
            parts.append(
                el("text", str(s), x=middle, y=top + 14, class_="small", text_anchor="middle")
            )
        for r, name in enumerate(rows):
            y = top + (r + 1) * _ROW
            short = name if len(name) <= _LETTERS else "…" + name[1 - _LETTERS :]
            parts.append(el("text", short, x=left - _NAMES, y=y + 15))
            for s, n in enumerate(clock.sent[name]):
                x, lit = left + s * _ROW, "fill:var(--lit)" if n else None
                parts.append(el("rect", x=x, y=y, width=_ROW, height=_ROW, style=lit))
                if n:
                    words = str(n) if n < 1000 else "·"
                    parts.append(el("text", words, x=x + _ROW / 2, y=y + 15, text_anchor="middle"))
        hand = f"{self.key}h"
        style = "fill:none;stroke:var(--real);stroke-width:3"
        parts.append(
            el("rect", x=left, y=top, width=_ROW, height=bottom - top, style=style, class_=hand)
        )
        turns = "".join(
            f"{100 * s / self.frames:.4g}%{{transform:translateX({_ROW * s:g}px);"
            f"visibility:{'visible' if s < clock.steps else 'hidden'}}}"
            for s in range(self.frames)
        )
        self.rules.append(f"@keyframes {hand}{{{turns}}}")
        self.rules.append(f".purespike .{hand}{{{self._runs(hand)}}}")
        return el("g", parts), bottom
