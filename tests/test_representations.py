"""What notebooks show of graphs, runs and time: drawings that say what was computed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.flow_cases import FAST, Plain, resnet, subject
from helpers.graph_cases import graph_of
from helpers.page_cases import CHROMIUM, browser, rendered
from helpers.strategies import FIXED
from numpy.typing import NDArray
from torch import nn

import purespike as ps
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.ops import Add, Delay, Linear, Neuron
from purespike.compiler.report.page.standalone import MOST
from purespike.flow.build import Build, build
from purespike.flow.timeline import Timeline, timeline

SVG = "{http://www.w3.org/2000/svg}"
FIRE = Neuron(2.0, fixed=FIXED)
READ = Neuron(np.inf, reset="none", fixed=FIXED)


@pytest.fixture(scope="module")
def built() -> Build:
    return build(subject(resnet("or"), samples=4), FAST)


@pytest.fixture(scope="module")
def seen(built: Build) -> Timeline:
    return built.timeline(subject(resnet("or"), samples=4).spikes, sample=1)


def words(picture: str) -> list[str]:
    """The texts of a picture; it has to be whole XML that loads nothing."""
    root = ElementTree.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    assert re.findall(r"(?:https?:|url\(|<script|\son\w+=)", picture) == ["http:"]  # its own name
    return [e.text or "" for e in root.iter(f"{SVG}text")]


def test_a_graph_is_drawn_with_every_node(built: Build) -> None:
    graph = built.graph
    assert graph is not None
    picture = graph._repr_svg_()
    assert picture is not None
    found = words(picture)
    for edge in graph.edges():
        assert edge.name in found
    kinds = re.findall(r'class="edge (\w+)"', picture)
    assert kinds.count("real") == 1  # that of the legend: nothing on the chip is
    assert {"spike", "integer"} <= set(kinds)
    for selector in re.findall(r"([^{}]+)\{[^{}]*\}", picture.split("<style>")[1].split("</st")[0]):
        assert selector.strip().startswith(".purespike")  # nothing else of the page is touched


def test_names_are_escaped_and_what_is_too_large_is_left_to_the_report() -> None:
    one = Linear(np.ones((1, 1)))
    x = Edge("x", (1,), SPIKE)
    graph = graph_of([('<b>&"', one, ("x",)), ("n", FIRE, ('<b>&"',))], x=x)
    picture = graph._repr_svg_()
    assert picture is not None and '<b>&"' in words(picture)
    chain: list[tuple[str, Any, tuple[str, ...]]] = [("c0", one, ("x",)), ("n0", FIRE, ("c0",))]
    for k in range(1, MOST // 2 + 1):
        chain += [(f"c{k}", one, (f"n{k - 1}",)), (f"n{k}", FIRE, (f"c{k}",))]
    assert graph_of(chain, x=x)._repr_svg_() is None


def first(a: NDArray[np.uint8]) -> int:
    return int(np.flatnonzero(a.reshape(len(a), -1).any(axis=1))[0])


def test_lava_sends_the_same_spikes_later_by_the_synapses_on_the_way(seen: Timeline) -> None:
    """A stem, then two blocks of two layers, joined behind the later branch: counted by hand."""
    assert seen.equal and "equal" in repr(seen)
    blocks = ("neuron1", "neuron2", "gate")
    assert seen.late == {
        "x": 0, "stem.2": 1,
        **{f"blocks.0.{name}": 2 + k for k, name in enumerate(blocks)},
        **{f"blocks.1.{name}": 5 + k for k, name in enumerate(blocks)},
        "blocks.1.identity.2": 5,  # fires as soon as it can, and waits on its way to the gate
    }  # fmt: skip
    fired = [name for name, sent in seen.logical.items() if sent.any()]
    assert len(fired) > 5
    for name in fired:
        assert first(seen.lava[name]) - first(seen.logical[name]) == seen.late[name]


def test_logical_time_is_what_the_cpu_executor_says(built: Build, seen: Timeline) -> None:
    ran = built.simulate(subject(resnet("or"), samples=4).spikes)
    assert set(ran.spikes) == set(seen.logical) - {"x"}
    for name, spikes in ran.spikes.items():
        np.testing.assert_array_equal(spikes[:, 1], seen.logical[name])


def test_of_delays_the_silent_sample_in_front_is_left_out() -> None:
    """Two layers; the second hears the first three steps late: one for the synapse, two added."""
    r = np.random.default_rng(3)
    x = Edge("x", (5,), SPIKE)
    graph: Graph = graph_of(
        [
            ("a.c", Linear(r.integers(-1, 4, (4, 5)).astype(float)), ("x",)),
            ("a", FIRE, ("a.c",)),
            ("late", Delay(2), ("a",)),
            ("b.c", Linear(r.integers(-1, 4, (3, 4)).astype(float)), ("late",)),
            ("b.d", Linear(r.integers(-1, 4, (3, 4)).astype(float)), ("a",)),
            ("b.sum", Add(), ("b.c", "b.d")),
            ("b", FIRE, ("b.sum",)),
            ("out.c", Linear(np.ones((2, 3))), ("b",)),
            ("out", READ, ("out.c",)),
        ],
        x=x,
        steps=6,
    )
    spikes = (r.random((6, 3, 5)) < 0.6).astype(np.uint8)
    found = timeline(graph, spikes, sample=2)
    assert found.equal and found.late == {"x": 0, "a": 1, "b": 2}
    np.testing.assert_array_equal(found.lava["x"][:6], spikes[:, 2])
    shifted = Timeline(graph, found.logical, found.lava, {**found.late, "b": 3})
    assert not shifted.equal and "NOT EQUAL" in repr(shifted)


def cells(picture: str) -> list[list[int]]:
    """Numbers in the rasters, row by row, read off the places of the cells."""
    root = ElementTree.fromstring(picture)
    found: dict[tuple[int, float], list[int]] = {}
    for k, panel in enumerate(root.findall(f"{SVG}svg")):
        [raster] = panel.findall(f"{SVG}g")
        texts = {(float(t.get("x", 0)), float(t.get("y", 0))): t.text for t in raster}
        for cell in raster.findall(f"{SVG}rect"):
            if cell.get("class"):
                continue  # the hand
            x, y = float(cell.get("x", 0)), float(cell.get("y", 0))
            number = texts.get((x + 10, y + 15))
            assert (number is not None) == bool(cell.get("style"))
            found.setdefault((k, y), []).append(int(number or 0))
    return list(found.values())


def test_the_animation_shows_what_was_recorded(seen: Timeline, tmp_path: Path) -> None:
    picture = seen._repr_svg_()
    counts = [
        a.reshape(len(a), -1).sum(axis=1).tolist()
        for sent in (seen.logical, seen.lava)
        for a in sent.values()
    ]
    assert cells(picture) == counts
    assert {*seen.late} <= set(words(picture)) and "Lava's time" in words(picture)
    assert "prefers-reduced-motion:no-preference" in picture
    seen.save(tmp_path / "spikes.svg")
    assert (tmp_path / "spikes.svg").read_text() == picture
    with pytest.raises(ps.UsageError, match=r"written as SVG"):
        seen.save(tmp_path / "spikes.gif")


@browser
def test_boxes_light_up_in_the_step_of_their_spikes(seen: Timeline, tmp_path: Path) -> None:
    """In a browser, the animation stopped in the middle of each step."""
    assert CHROMIUM is not None
    steps = len(seen.lava["x"])
    probe = f"""
      const found = [];
      const inner = [...document.querySelectorAll('svg svg')];
      const panels = inner.filter(s => s.querySelector('.head'));
      for (let s = 0; s < {steps}; s += 1) {{
        document.getAnimations().forEach(a => {{ a.pause(); a.currentTime = (s + 0.5) * 900; }});
        found.push(panels.map(p => [...p.querySelectorAll('.whole > g')].filter(
          g => g.querySelector('rect') && getComputedStyle(g.querySelector('rect')).fill
            === getComputedStyle(document.getElementById('lit')).color
        ).map(g => g.querySelector('text').textContent)));
      }}
      return found;
    """
    body = f'<p id="lit" class="purespike" style="color:var(--lit)">lit</p>{seen._repr_svg_()}'
    page = f"<!doctype html><html><body>{body}</body></html>"
    for s, (logical, lava) in enumerate(rendered(page, tmp_path, probe)):
        for found, sent in ((logical, seen.logical), (lava, seen.lava)):
            assert set(found) == {n for n, a in sent.items() if s < len(a) and a[s].any()}, s


@pytest.mark.parametrize("sample", [4, -1, True, 1.0])
def test_a_sample_that_is_not_there(built: Build, sample: Any) -> None:
    with pytest.raises(ps.UsageError, match="no such sample"):
        built.timeline(subject(resnet("or"), samples=4).spikes, sample=sample)


def test_what_was_refused_or_does_not_fit_has_no_timeline(built: Build) -> None:
    refused = build(subject(Plain(nn.ReLU()), samples=2), FAST)
    with pytest.raises(ps.UsageError, match="not compiled"):
        refused.timeline(np.zeros((3, 1, 2, 6, 6)))
    with pytest.raises(ps.UsageError):
        built.timeline(np.zeros((2, 1, 2, 6, 6)))


def test_a_run_shows_the_rate_of_every_layer(built: Build) -> None:
    case = subject(resnet("or"), samples=4)
    ran = built.simulate(ps.Samples(case.spikes, case.labels))
    shown = ran._repr_html_()
    assert ran.accuracy is not None and f"{100 * ran.accuracy:.2f} % right" in shown
    for name, spikes in ran.spikes.items():
        row = shown.split(f">{name}<")[1].split("</tr>")[0]
        assert f"{int(spikes.sum()):,}" in row and f"{100 * spikes.mean():.2f} %" in row
