"""Random small cells, written as torch programs might: every form that is read, in any mixture.

Each is exported, read, and run beside the module and ONNX Runtime; weights are small binary
fractions, so that spikes and membranes must be equal bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.onnx_steps import Step, mismatch, on_grid, read, spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

WIDTH = 4
RESETS = (
    "subtract",
    "zero",
    "where",
    "none",
    "late subtract",
    "late zero",
    "handed",
    "taken",
    "guarded",
)
FIRES = ("gt", "ge", "minus", "not less", "swapped")
JOINS = ("none", "and", "or", "xor", "iand", "max", "sum", "clip")
SYNAPSES = ("none", "new", "previous", "jump")


@dataclass(frozen=True)
class Block:
    """Layer, synapse, membrane, reset, and how its spikes join those of the block before."""

    decay: float
    form: str  # of the leak
    reset: str
    fires: str
    synapse: str
    join: str
    levels: bool  # a threshold for each neuron
    bias: bool

    @property
    def states(self) -> tuple[str, ...]:
        """The states of the block, in order."""
        handed = ("s",) if self.reset in ("handed", "taken") else ()
        return (*(("i",) if self.synapse != "none" else ()), "v", *handed)


blocks = st.builds(
    Block,
    decay=st.sampled_from((0.25, 0.5, 1.0)),
    form=st.sampled_from(("product", "euler", "mix")),
    reset=st.sampled_from(RESETS),
    fires=st.sampled_from(FIRES),
    synapse=st.sampled_from(SYNAPSES),
    join=st.sampled_from(JOINS),
    levels=st.booleans(),
    bias=st.booleans(),
)


class Cells(nn.Module):
    """The blocks one after the other, then perhaps a readout."""

    def __init__(self, plan: tuple[Block, ...], readout: bool) -> None:
        super().__init__()
        self.plan, self.readout = plan, readout
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=b.bias) for b in plan)
        self.head = nn.Linear(WIDTH, 3)
        self.levels = [torch.tensor([0.25, 0.5, 0.75, 1.0]) if b.levels else 0.5 for b in plan]

    def names(self) -> list[str]:
        """Of the states, in order."""
        names = [f"{s}{k}" for k, b in enumerate(self.plan) for s in b.states]
        return [*names, "w"] if self.readout else names

    def forward(self, x: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        held = dict(zip(self.names(), given, strict=True))
        made: dict[str, Tensor] = {}
        before = x
        for k, b in enumerate(self.plan):
            c = self.layers[k](before)
            if b.synapse != "none":
                i = held[f"i{k}"]
                made[f"i{k}"] = 0.5 * (i + c) if b.synapse == "jump" else 0.5 * i + c
                c = {"new": made[f"i{k}"], "previous": i, "jump": 0.5 * (i + c)}[b.synapse]
            s, v = self._neuron(b, self.levels[k], c, held[f"v{k}"], held.get(f"s{k}"))
            made[f"v{k}"] = v
            if b.reset in ("handed", "taken"):
                made[f"s{k}"] = s
            before = _join(b.join, s, before)
        if not self.readout:
            return (before, *(made[n] for n in self.names()))
        made["w"] = held["w"] * 0.5 + self.head(before)
        return (made["w"] + 0.0, *(made[n] for n in self.names()))

    @staticmethod
    def _neuron(
        b: Block, level: Any, c: Tensor, v: Tensor, handed: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        before = _fire(b.fires, v, level)
        if b.reset in ("late zero", "handed"):
            v = v * (1 - (before if handed is None else handed))
        if b.form == "product":
            u = b.decay * v + c
        elif b.form == "euler":
            u = v + (c - v) * (1 - b.decay)
        else:
            u = c * 2 + v * b.decay - c
        if b.reset in ("late subtract", "taken"):
            u = u - (before if handed is None else handed) * level
        if b.reset == "guarded":
            u = u * (1 - before)
        s = _fire(b.fires, u, level)
        if b.reset == "subtract":
            u = u - s * level
        elif b.reset == "zero":
            u = (1 - s) * u
        elif b.reset == "where":
            u = torch.where(s > 0, torch.zeros_like(u), u)
        elif b.reset == "guarded":
            u = u - (s - before) * u
        return s, u


def _fire(how: str, u: Tensor, level: Any) -> Tensor:
    if how == "minus":
        return ((u - level) > 0).to(u.dtype)
    if how == "not less":
        return (~(u < level)).float()
    if how == "swapped":
        return torch.where(level + 0 * u < u, 1.0, 0.0)
    return (u > level if how == "gt" else u >= level).float()


def _join(how: str, a: Tensor, b: Tensor) -> Tensor:
    if how == "none":
        return a
    logic = {"and": torch.logical_and, "or": torch.logical_or, "xor": torch.logical_xor}
    if how in ("and", "or"):
        return logic[how](a > 0, b > 0).float()
    if how == "xor":
        return a + b - 2 * a * b
    if how == "iand":
        return b * (1 - a)
    if how == "max":
        return torch.maximum(a, b)
    return a + b - a * b if how == "sum" else torch.clamp(a + b, 0, 1)


def expressible(plan: tuple[Block, ...]) -> bool:
    """Mixtures that no graph is equal to, each refused elsewhere, are left out."""
    first = plan[0].join == "none"  # the input is not known to be spikes while a file is read
    euler = all(b.form != "euler" or b.decay < 1 for b in plan)  # 1 takes no current at all
    return first and euler


def step_of(plan: tuple[Block, ...], readout: bool, seed: int) -> Step:
    net = on_grid(Cells(plan, readout), seed, unit=1 / 8)
    assert isinstance(net, Cells)
    return Step(net, (WIDTH,), {n: (3,) if n == "w" else (WIDTH,) for n in net.names()}, ("out",))


def check(plan: tuple[Block, ...], readout: bool, seed: int, folder: Path) -> float:
    step = step_of(plan, readout, seed)
    path = step.export(folder / "m.onnx")
    x = spikes(step, 4, seed=seed, rate=0.7)
    late = {
        f"v{k}"
        for k, b in enumerate(plan)
        if b.reset.startswith("late") or b.reset in ("handed", "taken")
    }
    names = {f"v{k}": f"v{k}" for k in range(len(plan))} | ({"w": "w"} if readout else {})
    graph, trace = read(path, x)
    names = {state: n for state, n in names.items() if graph.producer(n) is not None}
    assert mismatch(step, path, x, names, late) == "", plan
    return float(np.mean([trace.values[n].mean() for n in names if n != "w"]))


CELLS: dict[str, Any] = {
    "plan": st.lists(blocks, min_size=1, max_size=3).map(tuple).filter(expressible),
    "readout": st.booleans(),
    "seed": st.integers(0, 2**16),
}
MANY: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=12, **MANY)
@given(**CELLS)
def test_random_cells_are_read_bit_for_bit(
    plan: tuple[Block, ...], readout: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(plan, readout, seed, tmp_path_factory.mktemp("cells"))


@pytest.mark.slow
@settings(max_examples=500, **MANY)
@given(**CELLS)
def test_many_random_cells_are_read_bit_for_bit(
    plan: tuple[Block, ...], readout: bool, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check(plan, readout, seed, tmp_path_factory.mktemp("cells"))
