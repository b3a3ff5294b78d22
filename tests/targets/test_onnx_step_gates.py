"""Logic of spikes in a step of another tool: one gate, whatever operators say it, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.onnx_steps import Step, mismatch, on_grid, read, spikes
from torch import Tensor, nn

from purespike.compiler.ir.ops import Gate

WIDTH = 6
Join = Callable[[Tensor, Tensor, Tensor], Tensor]


class Three(nn.Module):
    """Three neurons that see the input, a join of their spikes, a neuron behind it."""

    def __init__(self, join: Join) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.last = nn.Linear(WIDTH, WIDTH)
        self.join = join

    def forward(
        self, x: Tensor, v0: Tensor, v1: Tensor, v2: Tensor, w: Tensor
    ) -> tuple[Tensor, ...]:
        states, spikes = [], []
        for layer, v in zip(self.layers, (v0, v1, v2), strict=True):
            u = 0.5 * v + layer(x)
            s = (u > 0.25).to(u.dtype)
            states.append(u * (1 - s))
            spikes.append(s)
        w = w + self.last(self.join(*spikes))
        s = (w > 0.5).to(w.dtype)
        return (s, *states, w - 0.5 * s)


def mixed(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """OR in the first place, AND in the others."""
    mask = torch.tensor([1.0, 0, 0, 0, 0, 0])
    return mask * (a + b - 2 * a * b) + a * b


@pytest.mark.parametrize(
    ("join", "kinds"),
    [
        (lambda a, b, c: a + b - a * b, {"or": 2}),
        (lambda a, b, c: torch.clamp(a + b + c, max=1), {"or": 3}),
        (lambda a, b, c: (a + b + c > 2.5).to(a.dtype), {"and": 3}),
        (lambda a, b, c: a * (1 - b) + b, {"or": 2}),
        (lambda a, b, c: 1 - (1 - a) * (1 - b), {"or": 2}),
        (mixed, None),
    ],
    ids=["or", "or of three", "and of three", "or of iand", "de Morgan", "another in each place"],
)
def test_gates(join: Join, kinds: dict[str, int] | None, tmp_path: Path) -> None:
    states = {f"v{k}": (WIDTH,) for k in range(3)} | {"w": (WIDTH,)}
    step = Step(on_grid(Three(join), seed=3), (WIDTH,), states)
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, 12, batch=8)
    assert mismatch(step, path, x, {}) == ""
    graph, trace = read(path, x)
    assert 0 < np.mean(trace.values[graph.outputs[0]]) < 1
    if kinds is not None:
        found = {n.op.kind: len(n.inputs) for n in graph.nodes if isinstance(n.op, Gate)}
        assert found == kinds
