"""Draws the pictures of the docs with the compiler's own drawing.

docs/network.svg is a residual block as it is trained and as it runs on the chip, docs/drawing.svg a
report's drawing, with level activations as stacks and the facts of every box.

``python docs/picture.py`` writes both anew; a test compares them with what the compiler makes now.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

import purespike as ps
from purespike.compiler.report.page.elements import Child, el
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.layout import Marks
from purespike.compiler.report.page.network import svg
from purespike.compiler.report.page.parts import boxes
from purespike.compiler.report.page.standalone import drawn, framed, legend, still
from purespike.compiler.report.rows.network import Network
from purespike.compiler.report.tables.levels import copies
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build

FOLDER = Path(__file__).parent


def picture() -> str:
    """The file: the captured graph on the left, the integer one on the right."""
    config = ModelConfig(2, 4, 3, (6, 6), stem=4, widths=(4,), strides=(1,), shortcut=False)
    inputs = (np.random.default_rng(0).random((3, 4, 2, 6, 6)) < 0.4).astype(np.uint8)
    made = ps.compile(build(config, seed=0).eval(), ps.Samples(inputs), golden=4, lava="none")
    assert made.compiled is not None  # nothing in this network is refused
    stages = made.compiled.stages
    sides = (("while training", stages["captured"]), ("on the chip", made.compiled.graph))
    parts: list[Child] = []
    at = high = 0.0
    for title, graph in sides:
        inner, wide, tall = drawn(Network.of(graph, "drawn"))
        middle = {"x": at + wide / 2, "y": 30, "class_": "head", "text_anchor": "middle"}
        parts.append(el("text", title, **middle))
        parts.append(el("svg", inner, x=at, y=50, width=wide, height=tall))
        at, high = at + wide, max(high, tall)
    parts += legend(40, high + 80)
    words = "A residual block with an auxiliary path while training, and on the chip without"
    return framed(parts, at, high + 100, title=words) + "\n"


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
    marked = svg(boxes(report.network, copies(report)), Marks(Layers(report)))
    inner, wide, tall = still(marked)
    return framed(inner, wide, tall, title="A report's drawing, with level activations") + "\n"


PICTURES = {"network.svg": picture, "drawing.svg": drawing}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), encoding="utf-8")
