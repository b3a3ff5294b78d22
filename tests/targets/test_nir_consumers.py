"""Other tools load what we write and fire the same spikes, under conventions stated test by test.

What every one of them needs: ``nir.read(path, type_check=False)``, since nir 1.0.8 refuses
grouped convolutions, and numbers as float32, since they put arrays into layers as they are and
torch convolves no integers. Integers below 2**24 stay exact in float32, in any order of sums.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from helpers.strategies import spikes

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Flatten, Linear, Neuron
from purespike.targets.nir.emit import write_nir

SAMPLES = 5
IMAGE = Edge("x", (2, 6, 5), SPIKE)


def written(graph: Graph, path: Path, **options: Any) -> nir.NIRGraph:
    """The file that we write, as its readers see it, with every number as float32."""
    write_nir(graph, path, **options)
    found = nir.read(path, type_check=False)
    for node in found.nodes.values():
        for name in ("weight", "bias", "scale", "threshold", "v_threshold"):
            if isinstance(value := getattr(node, name, None), np.ndarray):
                setattr(node, name, value.astype(np.float32))
    return found


def outputs(step: Callable[[Any, Any], tuple[Any, Any]], x: Any) -> Any:
    """Spikes (T, B, ...) of a step function that carries its state, from rest."""
    state, found = None, []
    with torch.no_grad():
        for frame in torch.from_numpy(x.astype(np.float32)):
            y, state = step(frame, state)
            found.append(y.numpy())
    return np.stack(found)


def assert_fires(graph: Graph, x: Any, found: Any) -> None:
    wanted = run(graph, x).values[graph.outputs[0]]
    assert 0.02 < wanted.mean() < 0.98  # a silent layer would agree with anything
    np.testing.assert_array_equal(found, wanted)


def network(neuron: Callable[[float], Neuron], *, residual: bool, dt: float = 1.0) -> Graph:
    """Convolutions with bias, stride and padding, an optional shortcut, a classifier that fires."""
    r = np.random.default_rng(7)

    def ints(*shape: int) -> Any:
        return r.integers(-40, 46, shape)

    nodes: list[Any] = [
        ("c1", Conv2d(ints(3, 2, 3, 3), ints(3), padding=(1, 1)), ("x",)),
        ("s1", neuron(70), ("c1",)),
        ("c2", Conv2d(ints(3, 3, 3, 3), ints(3), padding=(1, 1)), ("s1",)),
    ]
    if residual:
        nodes += [
            ("shortcut", Conv2d(ints(3, 3, 1, 1)), ("s1",)),
            ("sum", Add(), ("c2", "shortcut")),
        ]
    nodes += [
        ("s2", neuron(110), ("sum" if residual else "c2",)),
        ("c3", Conv2d(ints(2, 3, 2, 3), ints(2), stride=(2, 1)), ("s2",)),
        ("s3", neuron(90), ("c3",)),
        ("flat", Flatten(), ("s3",)),
        ("fc", Linear(ints(6, 18), ints(6)), ("flat",)),
        ("s4", neuron(150), ("fc",)),
    ]
    return build((IMAGE,), nodes, ("s4",), 6, dt)


def hard(threshold: float) -> Neuron:
    return Neuron(np.array(float(threshold)))


def leaky(threshold: float) -> Neuron:
    # Halving T times moves v in steps of 2**-5: it never equals the threshold, so that > and >=
    # agree, and a threshold rounded to float32 as well.
    return Neuron(np.array(threshold // 2 + 2.0**-9), decay=0.5)


def current_based(threshold: float) -> Neuron:
    return Neuron(np.array(threshold // 2 + 2.0**-9), decay=0.5, current_decay=0.5)


@pytest.mark.parametrize("residual", [False, True])
def test_spikingjelly_integrate_and_fire(residual: bool, tmp_path: Path) -> None:
    """SpikingJelly 2.0: dt = 1 s, since it takes r = 1 / dt only (`nir.IF.r must equal 1 / dt`).

    Its neurons fire on v >= threshold where NIR fires on v > threshold: on integers that is half
    a unit more. It refuses grouped convolutions, soft reset, and thresholds by neuron.
    """
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    graph = network(hard, residual=residual)
    document = written(graph, tmp_path / "model.nir")
    for node in document.nodes.values():
        if isinstance(node, nir.IF):
            node.v_threshold = node.v_threshold + 0.5
    model = exchange.import_from_nir(document, dt=1.0)
    x = spikes(graph, SAMPLES, seed=2)
    assert_fires(graph, x, outputs(model, x))


@pytest.mark.parametrize("residual", [False, True])
def test_spikingjelly_leaky(residual: bool, tmp_path: Path) -> None:
    """LIF needs no change: r = tau / dt is its `decay_input=False`."""
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    graph = network(leaky, residual=residual, dt=1e-3)
    model = exchange.import_from_nir(written(graph, tmp_path / "model.nir"), dt=1e-3)
    x = spikes(graph, SAMPLES, seed=2)
    assert_fires(graph, x, outputs(model, x))


@pytest.mark.parametrize("neuron", [leaky, current_based])
@pytest.mark.parametrize("residual", [False, True])
def test_snntorch(neuron: Callable[[float], Neuron], residual: bool, tmp_path: Path) -> None:
    """snnTorch 1.0: dt = 1e-4 s, which its importer has built in; v > threshold as NIR.

    It flattens from NIR's first axis, which has no batch: samples go one by one. Its membranes
    start at 0 in a new model, so each sample has one. IF nodes it cannot import: it gives them a
    decay of 0.9, reset by subtraction, and a tuple as output.
    """
    importer = pytest.importorskip("snntorch.import_nir")
    graph = network(neuron, residual=residual, dt=1e-4)
    document = written(graph, tmp_path / "model.nir")
    x = spikes(graph, SAMPLES, seed=2)
    found = [outputs(importer.import_from_nir(document), x[:, i]) for i in range(SAMPLES)]
    assert_fires(graph, x, np.stack(found, axis=1))


class Spiking(torch.nn.Module):
    """NIR's own equations for a step, for nirtorch, which brings no neurons."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.kind = type(node).__name__
        threshold = getattr(node, "v_threshold", getattr(node, "threshold", 0.0))
        self.threshold = torch.as_tensor(threshold)

    def forward(self, x: Any, state: Any = None) -> Any:
        v = x if state is None or self.kind == "Threshold" else state + x
        if self.kind == "I":
            return v, v
        s = (v > self.threshold).to(x.dtype)
        return s, v * (1 - s)


def affine(node: nir.Affine) -> torch.nn.Module:
    """nirtorch 2.6 does not load the bias of Affine (`module.weight.bias = ...`)."""
    layer = torch.nn.Linear(node.weight.shape[1], node.weight.shape[0])
    layer.weight.data, layer.bias.data = torch.from_numpy(node.weight), torch.from_numpy(node.bias)
    return layer


class Times(torch.nn.Module):
    def __init__(self, node: nir.Scale) -> None:
        super().__init__()
        self.scale = torch.from_numpy(node.scale)

    def forward(self, x: Any) -> Any:
        return x * self.scale


def maps(kinds: Iterable[type]) -> dict[type, Any]:
    return {
        **dict.fromkeys(kinds, Spiking),
        nir.Affine: affine,
        nir.Scale: Times,
        nir.Flatten: lambda _: torch.nn.Flatten(1),  # NIR's shapes have no batch axis
    }


@pytest.mark.parametrize("residual", [False, True])
def test_nirtorch_wires_it_as_we_mean_it(residual: bool, tmp_path: Path) -> None:
    """nirtorch 2.6 walks our nodes and edges; a second edge into a node adds up."""
    nirtorch = pytest.importorskip("nirtorch")
    graph = network(hard, residual=residual)
    model = nirtorch.nir_to_torch(written(graph, tmp_path / "model.nir"), maps([nir.IF]))
    x = spikes(graph, SAMPLES, seed=2)
    assert_fires(graph, x, outputs(model, x))


def test_nirtorch_runs_soft_reset_from_plain_nodes(tmp_path: Path) -> None:
    """Strict NIR: the loop I -> Threshold -> Scale -> I carries the step before, zero at first.

    This is nirtorch's reading of a cycle, too, and it needs no metadata.
    """
    nirtorch = pytest.importorskip("nirtorch")

    def soft(threshold: float) -> Neuron:
        return Neuron(np.array(float(threshold)), reset="subtract")

    graph = network(soft, residual=True)
    document = written(graph, tmp_path / "model.nir", strict=True)
    document.metadata.clear()
    model = nirtorch.nir_to_torch(document, maps([nir.I, nir.Threshold]))
    x = spikes(graph, SAMPLES, seed=2)
    assert_fires(graph, x, outputs(model, x))


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """The tools' own warnings are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
