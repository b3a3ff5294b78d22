"""Draws the pictures of the docs with the compiler's own drawing.

docs/network.svg is a residual block as it is trained and as it runs on the chip, docs/drawing.svg a
report's drawing, with level activations as stacks and the facts of every box.

``python docs/picture.py`` writes both anew; a test compares them with what the compiler makes now.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import nn

import purespike as ps
from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.layout import Marks
from purespike.compiler.report.page.network import svg
from purespike.compiler.report.page.parts import boxes
from purespike.compiler.report.rows.network import Network
from purespike.compiler.report.tables.levels import copies
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build

FOLDER = Path(__file__).parent
STYLE = """
text{font:13px system-ui,sans-serif;fill:#222}rect{fill:#fff;stroke:#8895a7}
.edge{fill:none;stroke-width:2.5}.edge.many{stroke-width:6}.small{font-size:11px;fill:#555}.spike{stroke:#00897b}.integer{stroke:#5c6bc0}.real{stroke:#e65100}
.auxiliary rect,rect.auxiliary{stroke-dasharray:5 4}.head{font-size:20px;font-weight:600}
"""
LEGEND = (("spike", "spikes"), ("integer", "integers"), ("real", "real numbers"))


def picture() -> str:
    """The file: the captured graph on the left, the integer one on the right."""
    config = ModelConfig(2, 4, 3, (6, 6), stem=4, widths=(4,), strides=(1,), shortcut=False)
    inputs = (np.random.default_rng(0).random((3, 4, 2, 6, 6)) < 0.4).astype(np.uint8)
    made = ps.compile(build(config, seed=0).eval(), ps.Samples(inputs), golden=4, lava="none")
    assert made.compiled is not None  # nothing in this network is refused
    stages = made.compiled.stages
    sides = (("while training", stages["captured"]), ("on the chip", made.compiled.graph))
    parts, at, high = [], 0.0, 0.0
    for title, graph in sides:
        inner, wide, tall = _drawn(graph)
        parts.append(f'<text x="{at + wide / 2:g}" y="30" class="head" text-anchor="middle">')
        parts.append(f"{title}</text>")
        parts.append(f'<svg x="{at:g}" y="50" width="{wide:g}" height="{tall:g}">{inner}</svg>')
        at, high = at + wide, max(high, tall)
    for k, (kind, words) in enumerate(LEGEND):
        x, y = 40 + 200 * k, high + 80
        parts.append(f'<path class="edge {kind}" d="M{x} {y:g}h40"/>')
        parts.append(f'<text x="{x + 50}" y="{y + 5:g}">{words}</text>')
    box = f'viewBox="0 0 {at:g} {high + 100:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}><style>{STYLE}</style>'
    page = f'<rect width="{at:g}" height="{high + 100:g}" style="stroke:none"/>'
    return f"{head}{page}{''.join(parts)}</svg>\n"


def drawing() -> str:
    """The other file: what a report shows of a network with activations of three and two levels."""
    model = nn.Sequential(
        ps.nn.Conv2d(2, 4, 3, padding=1, bias=False),
        ps.nn.LevelActivation(3, step=8.0),
        ps.nn.Flatten(),
        nn.Linear(4 * 6 * 6, 12, bias=False),
        ps.nn.LevelActivation(2, step=32.0),
        nn.Linear(12, 3, bias=False),
        ps.nn.TimeMean(),
    )
    rng = np.random.default_rng(0)
    for p in model.parameters():
        p.data = torch.from_numpy(rng.integers(-3, 5, tuple(p.shape)).astype(np.float32))
    inputs = (rng.random((1, 4, 2, 6, 6)) < 0.4).astype(np.uint8)
    report = ps.compile(model.eval(), ps.Samples(inputs), golden=4, lava="none").report
    assert report.network is not None  # it was captured
    drawn = boxes(report.network, copies(report))
    inner, wide, tall = _inner(svg(drawn, Marks(Layers(report))))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {tall:g}">'
    page = f'<rect width="{wide:g}" height="{tall:g}" style="stroke:none"/>'
    return f"{head}<style>{STYLE}</style>{page}{inner}</svg>\n"


def _drawn(graph: Graph) -> tuple[str, float, float]:
    return _inner(svg(boxes(Network.of(graph, "drawn"), {}), Marks()))


def _inner(drawn: str) -> tuple[str, float, float]:
    """The report's drawing without links, titles and what scripts fold, and its size."""
    found = re.search(
        r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>',
        drawn,
        re.DOTALL,
    )
    assert found is not None  # what `draw` makes is one svg
    left_out = r'<title>.*?</title>| (data-\w+|id|href|tabindex|role|aria-\w+)="[^"]*"'
    inner = re.sub(left_out, "", found[3], flags=re.DOTALL)
    inner = re.sub(r'<g class="(handle|folded)">.*?</g>', "", inner, flags=re.DOTALL)
    inner = re.sub(r"<(/?)a\b", r"<\1g", inner)
    return inner, float(found[1]), float(found[2])


PICTURES = {"network.svg": picture, "drawing.svg": drawing}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")
