"""The lines of the drawing, read back from its SVG: where they begin, end, and what they cross."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cached_property
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.network_cases import lowered, small
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from purespike.compiler.report.page.layout import Marks
from purespike.compiler.report.page.network import svg
from purespike.compiler.report.page.parts import Box, boxes
from purespike.compiler.report.rows.network import Network, NodeRow
from purespike.trainer.networks.catalogue import CATALOGUE

Points = NDArray[np.float64]


def net(reads: list[tuple[int, ...]], copies: frozenset[int] = frozenset()) -> list[Box]:
    """Boxes that read others by number; some are stacks of copies."""
    made = []
    for k, own in enumerate(reads):
        edge = NodeRow(
            name=f"l{k}", shape=(1,), domain="spike", operation="Neuron", reads=(), role="main",
            origin="", fires=k % 3 == 0,
        )  # fmt: skip
        layers = (10 * k, 10 * k + 1, 10 * k + 2) if k in copies else (10 * k,)
        made.append(Box(f"l{k}", layers, edge, own))
    return made


@dataclass
class Line:
    source: str
    target: str
    points: Points  # (n, 2), a polygon of short pieces
    upright: list[tuple[float, float, float]]  # x, upper and lower y of each vertical piece


@dataclass
class Drawn:
    boxes: dict[str, list[tuple[float, float, float, float]]]  # left, top, right, bottom
    lines: list[Line]
    size: tuple[float, float]

    @cached_property
    def outlets(self) -> dict[str, tuple[float, ...]]:
        """Where the values leave their parts that do not leave below their box."""
        return {x.source: tuple(x.points[-1]) for x in self.lines if x.target == "what follows"}


def read(text: str) -> Drawn:
    """What the unfolded drawing shows, in its own coordinates."""
    root = ElementTree.fromstring(text)
    width, height = (float(x) for x in root.attrib["viewBox"].split()[2:])
    found = Drawn({}, [], (width, height))
    for part in root.iterfind("g[@class='part']"):
        shift = np.array(re.findall(r"[-\d.]+", part.attrib["transform"]), float)
        whole = next(g for g in part.iter("g") if g.get("class") == "whole")
        for group in whole:
            title = group.findtext("title")
            if title is not None:
                own = [r.attrib for r in group.iter("rect") if r.attrib["class"].startswith("box")]
                found.boxes[re.split(r" ×|: ", title)[0]] = [
                    (
                        float(a["x"]) + shift[0], float(a["y"]) + shift[1],
                        float(a["x"]) + shift[0] + float(a["width"]),
                        float(a["y"]) + shift[1] + float(a["height"]),
                    )
                    for a in own
                ]  # fmt: skip
            for path in group.iterfind("path"):
                if words := path.findtext("title"):
                    source, target = words.split(": ")[0].split(" to ")
                    points, upright = flat(path.attrib["d"], shift)
                    found.lines.append(Line(source, target, points, upright))
    return found


def flat(d: str, shift: Points) -> tuple[Points, list[tuple[float, float, float]]]:
    """A path as short straight pieces, and its vertical pieces."""
    at = np.zeros(2)
    points: list[Points] = []
    upright = []
    for kind, text in re.findall(r"([A-Z])([^A-Z]*)", d):
        numbers = np.array(text.split(), float)
        if kind == "M":
            points.append(numbers)
        elif kind == "H":
            points.append(np.array([numbers[0], at[1]]))
        elif kind == "V":
            points.append(np.array([at[0], numbers[0]]))
            x, y = at + shift
            upright.append((x, *sorted((y, numbers[0] + shift[1]))))
        else:
            level = [at, *numbers.reshape(-1, 2)]
            assert len(level) == {"C": 4, "Q": 3, "L": 2}[kind]
            t = np.linspace(0, 1, 65)[1:, None]
            while len(level) > 1:  # de Casteljau
                level = [a + t * (b - a) for a, b in itertools.pairwise(level)]
            points.extend(level[0])
        at = points[-1]
    return np.array(points) + shift, upright


def inside(line: Line, box: tuple[float, float, float, float]) -> bool:
    """A piece of the line has a point in the box, not only on its border."""
    a, b = line.points[:-1], line.points[1:]
    low, high = np.array(box[:2]) + 0.1, np.array(box[2:]) - 0.1
    delta = b - a
    with np.errstate(divide="ignore", invalid="ignore"):
        t1, t2 = (low - a) / delta, (high - a) / delta
    first, last = np.minimum(t1, t2), np.maximum(t1, t2)
    still = delta == 0  # parallel to a side: within the strip all the way, or never
    within = (low <= a) & (a <= high)
    first = np.where(still, np.where(within, 0, 2), first)
    last = np.where(still, np.where(within, 1, -1), last)
    hit = np.maximum(first.max(axis=1), 0) <= np.minimum(last.min(axis=1), 1)
    return bool(hit.any())


def ends(line: Line, drawn: Drawn) -> tuple[bool, bool]:
    """Does the line touch the box that it comes from, and the one it goes to?"""

    def touches(point: Points, name: str) -> bool:
        left, top, right, bottom = drawn.boxes[name][-1]
        x, y = point
        beside = min(abs(x - left), abs(x - right)) < 0.1 and top <= y <= bottom
        return bool(beside or (min(abs(y - top), abs(y - bottom)) < 0.1 and left <= x <= right))

    first, last = line.points[0], line.points[-1]
    below = line.target == "what follows"
    outlet = drawn.outlets.get(line.source)
    begins = touches(first, line.source) or bool(np.allclose(first, outlet or np.nan, atol=0.1))
    return begins, below or touches(last, line.target)


def check(drawn: Drawn, edges: set[tuple[str, str]]) -> None:
    """Nothing that a reader could take for another network."""
    shown = {(x.source, x.target) for x in drawn.lines if x.target != "what follows"}
    assert shown == edges
    # The front of its own stack hides a line's end; every other box has to be left alone.
    every = [(name, k, box) for name, own in drawn.boxes.items() for k, box in enumerate(own)]
    front = {name: len(own) - 1 for name, own in drawn.boxes.items()}
    sides = np.array([box for _, _, box in every])
    for line in drawn.lines:
        assert ends(line, drawn) == (True, True), (line.source, line.target)
        assert line.points.min() >= 0 and (line.points.max(axis=0) <= drawn.size).all()
        low, high = line.points.min(axis=0), line.points.max(axis=0)
        near = ((sides[:, :2] < high) & (low < sides[:, 2:])).all(axis=1)
        for name, k, box in (every[i] for i in np.flatnonzero(near)):
            if name not in (line.source, line.target) or k == front[name]:
                assert not inside(line, box), f"{line.source} to {line.target} crosses {name}"
    x, top, low = np.array([p for q in drawn.lines for p in q.upright]).reshape(-1, 3).T
    of = np.array([(q.source, q.target) for q in drawn.lines for _ in q.upright]).reshape(-1, 2)
    beside = (abs(x - x[:, None]) < 5) & (top < low[:, None]) & (top[:, None] < low)
    shared = beside & (of[:, None] != of).all(axis=-1)
    assert not shared.any(), f"two values share a lane: {of[np.argwhere(shared)[0]].tolist()}"


def named(found: list[Box]) -> set[tuple[str, str]]:
    return {(found[i].name, box.name) for box in found for i in box.reads}


@st.composite
def networks(draw: st.DrawFn) -> list[Box]:
    """Chains with skips of any length, several from one box, several into one; loops; copies."""
    reads: list[tuple[int, ...]] = [()]
    for k in range(1, draw(st.integers(1, 24))):
        near = draw(st.lists(st.integers(1, 8), min_size=1, max_size=4))
        reads.append(tuple(dict.fromkeys(max(0, k - n) for n in near)))
    for _ in range(draw(st.integers(0, 2))):
        reader = draw(st.integers(0, len(reads) - 1))
        source = draw(st.integers(reader, len(reads) - 1))
        reads[reader] = tuple(dict.fromkeys((*reads[reader], source)))
    copies = draw(st.frozensets(st.integers(0, len(reads) - 1), max_size=3))
    return net(reads, copies)


@settings(max_examples=80, deadline=None)
@given(networks())
def test_no_line_crosses_a_box_that_it_does_not_belong_to(found: list[Box]) -> None:
    check(read(svg(found, Marks())), named(found))


QUICK = {"fsnn-18", "7b-net", "ms-resnet-18", "spike-driven-2-256", "spikformer-4-384"}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CATALOGUE]
)
def test_the_named_networks_are_drawn_clear_of_their_boxes(name: str) -> None:
    size = 128 if name.endswith("7b-net") else 32
    for graph in lowered(small(name, size, width=1 / 16)):
        found = boxes(Network.of(graph, "drawn"), {})
        check(read(svg(found, Marks())), named(found))


@pytest.mark.parametrize(
    "reads",
    [
        pytest.param([(), (0,), (1,), (2, 0), (3, 0), (4, 0)], id="one value, many readers"),
        pytest.param([(), (0,), (1,), (2,), (3, 2), (4, 1), (5, 0), (6,)], id="skips within skips"),
        pytest.param(
            [(), (0,), (0,), (0,), (0,), (2,), (5, 1), (6, 3), (7, 4), (8,)], id="from the middle"
        ),
        pytest.param([(), (0, 2), (1,), (2, 3), (3, 1)], id="loops"),
        pytest.param([(), (0,), (0, 1), (2,), (3, 2), (2, 4)], id="into one box"),
    ],
)
def test_lanes_of_known_shapes(reads: list[tuple[int, ...]]) -> None:
    found = net(reads)
    check(read(svg(found, Marks())), named(found))


def test_the_check_notices_a_line_behind_a_box() -> None:
    found = net([(), (0,), (1,), (2, 0)])
    drawn = read(svg(found, Marks()))
    skip = next(x for x in drawn.lines if (x.source, x.target) == ("l0", "l3"))
    skip.points = np.array([skip.points[0], skip.points[-1]])  # the straight way
    with pytest.raises(AssertionError, match="l0 to l3 crosses l1"):
        check(drawn, named(found))
