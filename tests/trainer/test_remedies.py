"""What a refusal advises is done here, and what was refused is captured exactly."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.interpret import run
from purespike.targets.onnx.foreign.step import read_step
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.precision import InFloat64
from purespike.trainer.capture.trace import capture

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    snn = pytest.importorskip("snntorch")
sj = pytest.importorskip("spikingjelly.activation_based")
from spikingjelly.activation_based import functional, layer, neuron  # noqa: E402

STEPS, WIDE = 6, 8


def spikes(*shape: int) -> Any:
    return (np.random.default_rng(0).random((STEPS, 3, *shape)) < 0.5).astype(np.float64)


def exact(model: nn.Module, *shape: int, takes: Any = None) -> None:
    """Captured, and equal to what the module computes."""
    torch.manual_seed(0)
    for p in model.parameters():
        if p.ndim > 1:
            nn.init.normal_(p, 0.3, 0.5)
    net, x = Imported(model.double().eval(), takes), spikes(*shape)
    x = np.repeat(x[:1], STEPS, 0) if takes == "frame" else x
    graph = capture(net, shape, STEPS).graph
    with torch.no_grad(), InFloat64():
        wanted = net(torch.from_numpy(x)).numpy()
    found = run(graph, x).values[graph.outputs[0]]
    found = found if found.size == wanted.size else found[-1]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=0, atol=1e-12)
    assert wanted.std() > 0


def refused(model: nn.Module, *shape: int, takes: Any = None) -> PurespikeError:
    with pytest.raises(PurespikeError) as e:
        capture(Imported(model, takes), shape, STEPS)
    return e.value


def leaky(beta: Any, **more: Any) -> nn.Module:
    return snn.Leaky(beta=beta, init_hidden=True, **more)


class Split(nn.Module):
    """A layer with two decays as two layers, side by side."""

    def __init__(self, betas: tuple[float, float]) -> None:
        super().__init__()
        self.fc = nn.ModuleList([nn.Linear(WIDE, WIDE // 2) for _ in betas])
        self.lif = nn.ModuleList([leaky(b) for b in betas])
        self.out = nn.Linear(WIDE, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = [lif(fc(x)) for fc, lif in zip(self.fc, self.lif, strict=True)]
        return self.out(torch.cat(parts, 1))


def test_a_decay_for_each_neuron_becomes_one_or_is_split() -> None:
    """One number, learned or not, or a layer for each value."""
    betas = torch.tensor([0.5, 0.9]).repeat_interleave(WIDE // 2)
    said = refused(nn.Sequential(nn.Linear(WIDE, WIDE), leaky(betas, learn_beta=True)), WIDE)
    assert "one du and one dv" in said.allowed and "split the layer" in said.remedy
    exact(nn.Sequential(nn.Linear(WIDE, WIDE), leaky(0.8, learn_beta=True)), WIDE)
    exact(Split((0.5, 0.9)), WIDE)


class Loop(nn.Module):
    """A loop over the steps in forward that shows one frame, and a membrane as the answer."""

    def __init__(self, *, once: bool = False, end: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(WIDE, WIDE), neuron.LIFNode(v_threshold=0.3))
        self.out, self.end, self.once = nn.Linear(WIDE, 4), end, once

    def forward(self, x: Tensor) -> Tensor:
        if self.once:
            return self.end(torch.stack([self.out(self.body(x)) for _ in range(STEPS)]))
        return torch.stack([self.end(self.out(self.body(x))) for _ in range(STEPS)])


def test_a_step_mode_is_set_as_the_loop_calls() -> None:
    model = Loop(end=neuron.LIFNode(step_mode="m"))
    said = refused(model, WIDE, takes="frame")
    assert said.where == "model.end" and "functional.set_step_mode(model, 's')" in said.remedy
    functional.set_step_mode(model, "s")
    exact(model, WIDE, takes="frame")


def test_a_membrane_is_read_from_the_whole_sequence() -> None:
    """NonSpikingLIFNode takes no single steps."""
    end = neuron.NonSpikingLIFNode(decode="last_mem")
    said = refused(Loop(end=end), WIDE, takes="frame")
    assert said.where == "model.end" and "call it once, with the sequence" in said.remedy
    exact(Loop(once=True, end=end), WIDE, takes="frame")


def test_a_sequence_that_a_module_takes_for_steps_is_set_to_m() -> None:
    model = nn.Sequential(nn.Linear(WIDE, WIDE), neuron.IFNode(step_mode="m"), layer.Flatten())
    said = refused(model, WIDE, takes="sequence")
    assert "functional.set_step_mode(model, 'm')" in said.remedy
    functional.set_step_mode(model, "m")
    exact(model, WIDE, takes="sequence")


class Own(neuron.LIFNode):
    """A neuron with another way to charge."""

    def neuronal_charge(self, x: Tensor) -> None:
        """Half of the membrane stays."""
        self.v = 0.5 * self.v + x

    def single_step_forward(self, x: Tensor) -> Tensor:
        """One step."""
        self.neuronal_charge(x)
        fired = (self.v >= self.v_threshold).to(x)
        self.v = self.v * (1 - fired)
        return fired


class OwnStep(nn.Module):
    """The same step with its state handed in and out, for ONNX."""

    def __init__(self, fc: nn.Linear) -> None:
        super().__init__()
        self.fc = fc

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        v = 0.5 * v + self.fc(x)
        fired = (v >= 1.0).to(x)
        return fired, v * (1 - fired)


def test_a_neuron_of_ones_own_is_exported_as_a_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fc = nn.Linear(WIDE, WIDE)
    nn.init.normal_(fc.weight, 0.3, 0.5)
    model = nn.Sequential(fc, Own())
    said = refused(model, WIDE)
    assert "one time step with its states to ONNX" in said.remedy
    names = {"input_names": ["x", "v"], "output_names": ["s", "v_out"]}
    example = (torch.zeros(1, WIDE), torch.zeros(1, WIDE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(OwnStep(fc), example, str(tmp_path / "s.onnx"), dynamo=False, **names)
    graph = read_step(tmp_path / "s.onnx", steps=STEPS, domain=SPIKE)
    x = spikes(WIDE)
    with torch.no_grad():
        wanted = Imported(model.double())(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(run(graph, x).values[graph.outputs[0]], wanted)
    assert 0 < wanted.mean() < 1


class Vote(nn.Module):
    """The mean of each class's voters, by an axis that comes and goes, or by VotingLayer."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.fc, self.lif, self.own = nn.Linear(WIDE, WIDE), neuron.IFNode(), own
        self.vote: nn.Module = nn.AvgPool1d(2, 2) if own else layer.VotingLayer(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif(self.fc(x))
        return self.vote(x.unsqueeze(1)).squeeze(1) if self.own else self.vote(x)


def test_a_vote_is_a_voting_layer() -> None:
    said = refused(Vote(True), WIDE)
    assert "VotingLayer" in said.remedy
    exact(Vote(False), WIDE)
