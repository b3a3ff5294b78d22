"""Draws docs/network.svg: a residual block as it is trained, and as it runs on the chip.

``python docs/picture.py`` writes it anew; a test compares it with what the compiler makes now.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import purespike as ps
from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.page.network import draw
from purespike.compiler.report.rows.network import Network
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build

FILE = Path(__file__).with_name("network.svg")
STYLE = """
text{font:13px system-ui,sans-serif;fill:#222}rect{fill:#fff;stroke:#8895a7}
.edge{fill:none;stroke-width:2.5}.spike{stroke:#00897b}.integer{stroke:#5c6bc0}.real{stroke:#e65100}
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


def _drawn(graph: Graph) -> tuple[str, float, float]:
    """The report's drawing without links and titles, and its size."""
    found = re.search(
        r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>',
        draw(Network.of(graph, "drawn"), {}, ()),
        re.DOTALL,
    )
    assert found is not None  # what `draw` makes is one svg
    inner = re.sub(r"<title>.*?</title>", "", found[3], flags=re.DOTALL)
    return inner, float(found[1]), float(found[2])


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
