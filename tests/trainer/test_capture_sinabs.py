"""sinabs' neurons, which count by default: every count against sinabs, and what bounds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import ANALOG
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.interop.sinabs import FLAT
from purespike.trainer.capture.trace import CaptureError, capture

layers = pytest.importorskip("sinabs.layers")
from sinabs.activation import MaxSpike, MembraneReset, MembraneSubtract, SingleSpike  # noqa: E402

STEPS, SAMPLES, FEATURES = 10, 30, 6
Neuron = Callable[[], nn.Module]


def dense(neuron: Neuron) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, 10), neuron(), nn.Linear(10, 4), neuron())


def compared(net: nn.Module, shape: tuple[int, ...]) -> tuple[Graph, float]:
    """The graph, whose every count is sinabs'; and the highest."""
    model = Imported(net.double().eval())
    x = (np.random.default_rng(1).random((STEPS, SAMPLES, *shape)) < 0.4).astype(np.float64)
    graph = capture(model, shape, STEPS).graph
    seen: dict[str, Any] = {}
    neurons = [p for p, m in model.named_modules() if hasattr(m, "spike_fn")]
    for path in neurons:
        module = model.get_submodule(path)
        module.register_forward_hook(lambda m, i, o, path=path: seen.__setitem__(path, o))
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
        again = model(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(wanted, again)  # each sequence begins at rest
    trace = run(graph, x)
    for path in neurons:
        made = seen[path].numpy()
        flat = type(model.get_submodule(path)).__name__ in FLAT
        made = made.reshape(SAMPLES, STEPS, *made.shape[1 if flat else 2 :]).swapaxes(0, 1)
        np.testing.assert_array_equal(trace.values[path], made, err_msg=path)
    np.testing.assert_array_equal(trace.values[graph.outputs[0]], wanted)
    assert 0.01 < wanted.mean()
    return graph, max(float(s.max()) for s in seen.values())


@pytest.mark.parametrize(
    "neuron",
    [
        lambda: layers.IAF(spike_threshold=0.1),
        lambda: layers.IAF(spike_threshold=0.3),
        lambda: layers.LIF(tau_mem=3.0, spike_threshold=0.03),
        lambda: layers.LIF(tau_mem=3.0, spike_threshold=0.2, norm_input=False),
        lambda: layers.LIF(tau_mem=3.0, spike_threshold=0.2, norm_input=False, train_alphas=True),
        lambda: layers.IAF(spike_threshold=0.1, spike_fn=MaxSpike(3)),
        lambda: layers.IAF(spike_threshold=0.1, spike_fn=SingleSpike),
        lambda: layers.IAF(0.2, spike_fn=SingleSpike, reset_fn=MembraneReset()),
        lambda: layers.IAF(0.2, spike_fn=SingleSpike, reset_fn=MembraneSubtract(0.1)),
        lambda: layers.LIF(3.0, 2.0, spike_threshold=0.1, spike_fn=SingleSpike),
    ],
)
def test_every_count_is_sinabs(neuron: Neuron) -> None:
    torch.manual_seed(3)
    compared(dense(neuron), (FEATURES,))


def test_squeezed_neurons_behind_convolutions() -> None:
    """Their batch size is that of whoever made them; here it is that of the data."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        layers.IAFSqueeze(batch_size=1, spike_threshold=0.2),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 6, 2),
        layers.IAFSqueeze(num_timesteps=7, spike_threshold=0.3),
        nn.Flatten(),
        nn.Linear(24, 3),
        layers.LIFSqueeze(tau_mem=4.0, batch_size=1, spike_threshold=0.2, norm_input=False),
    )
    graph, most = compared(net, (2, 8, 8))
    assert most > 1 and sum(isinstance(n.op, ops.Levels) for n in graph.nodes) == 3


def test_the_levels_are_as_many_as_the_input_allows() -> None:
    """One threshold is left at most, and weights of 2.5 and 1.2 arrive: 4 spikes of 1."""
    net = nn.Sequential(nn.Linear(2, 1, bias=False), layers.IAF())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[2.5, 1.2]]))
    graph, most = compared(net, (2,))
    (op,) = [n.op for n in graph.nodes if isinstance(n.op, ops.Levels)]
    assert op.levels == 4 and most <= 4
    capped = nn.Sequential(nn.Linear(2, 1, bias=False), layers.IAF(spike_fn=MaxSpike(9)))
    with torch.no_grad():
        capped[0].weight.copy_(torch.tensor([[2.5, 1.2]]))
    (op,) = [n.op for n in compared(capped, (2,))[0].nodes if isinstance(n.op, ops.Levels)]
    assert op.levels == 4


@pytest.mark.parametrize("weight", [0.25, 0.75, 1.5])
def test_ties_fall_as_those_of_sinabs(weight: float) -> None:
    """In numbers that float32 holds: sinabs takes float32 amounts off in any network."""
    net = nn.Sequential(nn.Linear(1, 1, bias=False), layers.IAF(spike_threshold=0.25))
    nn.init.constant_(net[0].weight, weight)
    compared(net, (1,))


@pytest.mark.parametrize(
    ("neuron", "said"),
    [
        (lambda: layers.ALIF(10.0, 10.0, spike_fn=SingleSpike), "computes in its own way"),
        (lambda: layers.IAF(min_v_mem=-1.0), "min_v_mem=None"),
        (lambda: layers.IAF(reset_fn=MembraneReset()), "the reset MembraneSubtract"),
        (lambda: layers.IAF(reset_fn=MembraneReset(0.5), spike_fn=SingleSpike), "MembraneReset(0)"),
        (lambda: layers.LIF(3.0, 2.0), "tau_syn=None"),
        (lambda: layers.LIF(torch.rand(10) + 2.0), "one alpha_mem for the layer"),
    ],
)
def test_refused(neuron: Neuron, said: str) -> None:
    with pytest.raises(CaptureError) as e:
        capture(Imported(dense(neuron)), (FEATURES,), STEPS)
    text = e.value.text("Python")
    assert said in text and "where: model.1" in text and "to do" in text


def test_a_count_without_a_bound() -> None:
    """Real numbers may be anything; the remedy is followed."""
    with pytest.raises(CaptureError, match="nothing bounds how many") as e:
        capture(Imported(dense(layers.IAF)), (FEATURES,), STEPS, domain=ANALOG)
    assert "MaxSpike(n)" in e.value.remedy
    capture(
        Imported(dense(lambda: layers.IAF(spike_fn=MaxSpike(4)))), (FEATURES,), STEPS, domain=ANALOG
    )


def test_both_orders_of_axes_in_one_model() -> None:
    net = nn.Sequential(nn.Linear(FEATURES, 4), layers.IAF(), layers.IAFSqueeze(batch_size=1))
    with pytest.raises(CaptureError, match="would take the time axis for something else"):
        capture(Imported(net), (FEATURES,), STEPS)
    with pytest.raises(CaptureError, match="would take the time axis for something else"):
        capture(nn.Sequential(nn.Linear(FEATURES, 4), layers.IAF()), (FEATURES,), STEPS)
