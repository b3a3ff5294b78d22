"""Neurons that papers write as a loop over the steps: what they compute, or nothing.

`CountsByHand` is written as SpikeYOLO's and Spike-driven Transformer V3's ``mem_update`` are,
`SpikesByHand` as that of MS-ResNet; docs/inputs.md says how the published files themselves did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.interpret import run
from purespike.trainer.capture.recurrence import recurrent
from purespike.trainer.capture.trace import CaptureError, capture

DECAY = 0.25


class Rounds(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, most: int) -> Tensor:
        ctx.save_for_backward(x)
        return torch.round(torch.clamp(x, min=0, max=most))


class CountsByHand(nn.Module):
    def __init__(self, most: int = 4, norm: float = 1.0) -> None:
        super().__init__()
        self.most, self.norm = most, norm

    def forward(self, x: Tensor) -> Tensor:
        spike = torch.zeros_like(x[0]).to(x.device)
        output = torch.zeros_like(x)
        mem_old: Any = 0
        for i in range(x.shape[0]):
            mem = (mem_old - spike.detach()) * DECAY + x[i] if i >= 1 else x[i]
            spike = Rounds.apply(mem, self.most)
            mem_old = mem.clone()
            output[i] = spike / self.norm if self.norm != 1 else spike
        return output


class SpikesByHand(nn.Module):
    def __init__(self, soft: bool = False) -> None:
        super().__init__()
        self.soft = soft

    def forward(self, x: Tensor) -> Tensor:
        mem: Any = 0.0
        rows = []
        for step in x:
            mem = mem * DECAY + step
            spike = mem.gt(0.5).to(x.dtype)
            mem = mem - 0.5 * spike if self.soft else mem * (1 - spike)
            rows.append(spike)
        return torch.stack(rows)


@pytest.mark.parametrize("steps", [1, 2, 6])
@pytest.mark.parametrize(
    "act",
    [CountsByHand, lambda: CountsByHand(8, 8.0), SpikesByHand, lambda: SpikesByHand(soft=True)],
)
def test_every_spike_is_the_modules(act: Callable[[], nn.Module], steps: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20), act(), nn.Linear(20, 6), act()).double()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight *= 3
    x = (np.random.default_rng(0).random((steps, 100, 12)) < 0.5).astype(np.float64)
    graph = capture(model, (12,), steps).graph
    trace = run(graph, x)
    with torch.no_grad():
        hidden = model[1](model[0](torch.from_numpy(x))).numpy()
        wanted = model(torch.from_numpy(x)).numpy()
    worth = next((n.name for n in graph.nodes if n.name == "1.worth"), "1")
    np.testing.assert_array_equal(trace.values[worth], hidden)
    np.testing.assert_array_equal(trace.values[graph.outputs[0]], wanted)
    assert 0.005 < wanted.mean()


def test_ties_fall_as_the_module_has_them() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), CountsByHand()).double()
    nn.init.constant_(model[0].weight, 0.5)
    x = np.ones((4, 1, 1))
    graph = capture(model, (1,), 4).graph
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    assert wanted[0] == 0  # half to even
    np.testing.assert_array_equal(run(graph, x).values[graph.outputs[0]], wanted)
    (levels,) = [n.op for n in graph.nodes if isinstance(n.op, ops.Levels)]
    assert levels.decay == DECAY and levels.levels == 4


class Other(nn.Module):
    """A loop that is none of these neurons, by what it does to the membrane."""

    def __init__(self, update: Callable[[Any, Any, Any, int], Any], keep: bool = False) -> None:
        super().__init__()
        self.update, self.keep, self.mem = update, keep, 0.0

    def forward(self, x: Tensor) -> Tensor:
        mem: Any = self.mem if self.keep else 0.0
        spike: Any = 0.0
        rows = []
        for t in range(x.shape[0]):
            mem = self.update(mem, spike, x[t], t)
            spike = (mem > 0.5).float()
            rows.append(spike)
        if self.keep:
            self.mem = mem
        return torch.stack(rows)


OTHER: dict[str, Callable[[Any, Any, Any, int], Any]] = {
    "a bias in the membrane": lambda m, s, x, t: m * 0.5 * (1 - s) + x + 0.1,
    "a decay of its own each step": lambda m, s, x, t: m * 0.5**t * (1 - s) + x,
    "a reset to a value": lambda m, s, x, t: m * 0.5 * (1 - s) + 0.2 * s + x,
    "half a hard reset": lambda m, s, x, t: m * 0.5 * (1 - 0.5 * s) + x,
    "no reset": lambda m, s, x, t: m * 0.5 + x,
    "the input twice": lambda m, s, x, t: m * (x if t else 1.0) + x,
    "a decay above 1": lambda m, s, x, t: m * 1.5 * (1 - s) + x,
}


@pytest.mark.parametrize("update", OTHER.values(), ids=OTHER.keys())
def test_other_loops_are_no_neurons(update: Any) -> None:
    assert recurrent(Other(update), 4) is None
    assert recurrent(Other(lambda m, s, x, t: m * 0.5 * (1 - s) + x), 4) is not None
    with pytest.raises(CaptureError):
        capture(nn.Sequential(nn.Linear(3, 3), Other(update)), (3,), 4)


def test_a_membrane_that_stays_is_none() -> None:
    """It goes on from the last batch."""
    module = Other(lambda m, s, x, t: m * 0.5 * (1 - s) + x, keep=True)
    assert recurrent(module, 4) is None
    assert module.mem == 0.0


def test_steps_that_are_left_out_are_none() -> None:
    class Short(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            output = torch.zeros_like(x)
            for t in range(x.shape[0] - 1):
                output[t] = (x[t] > 0.5).float()
            return output

    assert recurrent(Short(), 3) is None
