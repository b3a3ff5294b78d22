"""Steps of snnTorch's networks and of plain torch cells, read from ONNX: equal, bit for bit.

The originals run in float32. Their weights, decays and thresholds are small binary fractions, so
that no sum rounds: spikes and membranes of the graph must be equal to them, ties included.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.nir_targets import agree_on_lava, quantized
from helpers.onnx_steps import Step, mismatch, on_grid, read, spikes
from torch import Tensor, nn

from purespike.compiler.ir.domain import ANALOG
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import BatchNorm, Conv2d, Delay, Linear, Neuron
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.step import read_step

snntorch = pytest.importorskip("snntorch")
T = 8


class Tutorial(nn.Module):
    """snnTorch's convolutional tutorial, small; pooled behind its neurons or, as there, before."""

    def __init__(self, kind: Any, *, before: bool = False, **options: Any) -> None:
        super().__init__()
        self.conv1, self.lif1 = nn.Conv2d(1, 4, 3), kind(**options)
        self.conv2, self.lif2 = nn.Conv2d(4, 6, 2), kind(**options)
        self.fc, self.lif3 = nn.Linear(6, 5), kind(**options)
        self.pool, self.before = nn.MaxPool2d(2), before

    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor, mem3: Tensor) -> tuple[Tensor, ...]:
        if self.before:
            spk1, mem1 = self.lif1(self.pool(self.conv1(x)), mem1)
            spk2, mem2 = self.lif2(self.pool(self.conv2(spk1)), mem2)
        else:
            spk1, mem1 = self.lif1(self.conv1(x), mem1)
            spk1 = self.pool(spk1)
            spk2, mem2 = self.lif2(self.conv2(spk1), mem2)
            spk2 = self.pool(spk2)
        spk3, mem3 = self.lif3(self.fc(spk2.view(spk2.size(0), -1)), mem3)
        return spk3, mem1, mem2, mem3


def tutorial(kind: str, *, named: bool = True, before: bool = False, **options: Any) -> Step:
    net = on_grid(Tutorial(getattr(snntorch, kind), before=before, **options))
    sizes = ((4, 3, 3), (6, 1, 1)) if before else ((4, 6, 6), (6, 2, 2))
    states = {"mem1": sizes[0], "mem2": sizes[1], "mem3": (5,)}
    return Step(net, (1, 8, 8), states, named=named)


NEURONS: list[tuple[str, dict[str, Any]]] = [
    ("Leaky", {"beta": 0.5}),
    ("Leaky", {"beta": 0.5, "reset_mechanism": "zero"}),
    ("Leaky", {"beta": 1.0, "threshold": 0.75}),
    ("Leaky", {"beta": 0.5, "reset_mechanism": "none"}),
    ("Leaky", {"beta": 0.5, "reset_mechanism": "zero", "reset_delay": False}),
    ("Leaky", {"beta": 1.5}),  # clamped to 1
    ("Lapicque", {"R": 1, "C": 2, "threshold": 0.25}),
    ("Lapicque", {"R": 2, "C": 1, "time_step": 0.5, "reset_mechanism": "none", "threshold": 0.5}),
]


@pytest.mark.parametrize("index", range(len(NEURONS)))
def test_the_tutorial_of_snntorch_is_read_bit_for_bit(tmp_path: Path, index: int) -> None:
    kind, options = NEURONS[index]
    step = tutorial(kind, named=index % 2 == 0, **options)
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    neurons = {"mem1": "lif1", "mem2": "lif2", "mem3": "lif3"}
    late = options.get("reset_delay", True)
    assert mismatch(step, path, x, neurons, late=late) == ""
    _, trace = read(path, x)
    rates = [float(trace.values[n].mean()) for n in neurons.values()]
    assert rates[0] > 0.01 and rates[1] > 0.01, rates  # the comparison saw spikes


def test_pools_of_currents_are_read_too(tmp_path: Path) -> None:
    step = tutorial("Leaky", before=True, beta=0.5)
    path = step.export(tmp_path / "m.onnx")
    neurons = {"mem1": "lif1", "mem2": "lif2", "mem3": "lif3"}
    assert mismatch(step, path, spikes(step, T), neurons, late=True) == ""


def test_real_weights_agree_up_to_float32(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Tutorial(snntorch.Leaky, beta=0.9).eval()
    step = Step(net, (1, 8, 8), {"mem1": (4, 6, 6), "mem2": (6, 2, 2), "mem3": (5,)})
    path = step.export(tmp_path / "m.onnx")
    x = 2 * spikes(step, 20)
    graph = read_step(path, steps=20, domain=ANALOG)
    neurons = {"mem1": "lif1", "mem2": "lif2", "mem3": "lif3"}
    trace = run(graph, x)
    assert trace.values["lif2"].mean() > 0.02
    for rows in (step.walk_module(x), step.walk_file(path, x)):
        assert np.array_equal(trace.values["lif3"], rows[0])
        for (_, name), expected in zip(neurons.items(), rows[1:], strict=True):
            op = graph.producer(name).op  # type: ignore[union-attr]
            assert isinstance(op, Neuron)
            held = trace.membranes[name] + op.amount * trace.values[name]
            assert np.allclose(held, expected, rtol=0, atol=2e-5)


class Current(nn.Module):
    """snnTorch's Synaptic behind a linear layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 5), snntorch.Synaptic(alpha=0.5, beta=0.5, **options)

    def forward(self, x: Tensor, syn: Tensor, mem: Tensor) -> Any:
        return self.lif(self.fc(x), syn, mem)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, True),
        ({"threshold": 0.5}, False),
        ({"reset_mechanism": "none"}, False),
        ({"reset_mechanism": "zero", "reset_delay": False}, True),
    ],
    ids=str,
)
def test_synaptic_currents_are_read(tmp_path: Path, options: dict[str, Any], named: bool) -> None:
    step = Step(on_grid(Current(**options)), (6,), {"syn": (5,), "mem": (5,)}, named=named)
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    assert mismatch(step, path, x, {"mem": "lif"}, late="reset_delay" not in options) == ""
    graph, trace = read(path, x)
    assert graph.producer("lif").op.current_decay == 0.5  # type: ignore[union-attr]
    assert np.array_equal(trace.currents["lif"], step.walk_file(path, x)[1])
    assert trace.values["lif"].mean() > 0.05


class Recurrent(nn.Module):
    """snnTorch's RLeaky: its spikes of the step before come back."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(6, 5), snntorch.RLeaky(beta=0.5, **options)

    def forward(self, x: Tensor, spk: Tensor, mem: Tensor) -> Any:
        spk, mem = self.lif(self.fc(x), spk, mem)
        return spk, mem


@pytest.mark.parametrize(
    ("options", "loop"),
    [
        ({"linear_features": 5}, True),
        ({"linear_features": 5, "reset_mechanism": "none"}, True),
        ({"linear_features": 5, "reset_mechanism": "zero", "reset_delay": False}, True),
        ({"all_to_all": False, "V": 0.25}, False),  # one to one: part of the reset
    ],
    ids=["subtract", "none", "zero", "one to one"],
)
def test_recurrent_connections_become_delays(
    tmp_path: Path, options: dict[str, Any], loop: bool
) -> None:
    step = Step(on_grid(Recurrent(**options)), (6,), {"spk": (5,), "mem": (5,)}, ())
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    late = options.get("reset_delay", True)
    assert mismatch(step, path, x, {"mem": "lif"}, late=late) == ""
    graph, trace = read(path, x)
    assert any(isinstance(n.op, Delay) for n in graph.nodes) == loop
    assert trace.values["lif"].mean() > 0.05


def test_recurrent_connections_and_a_current(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 5)
            self.lif = snntorch.RSynaptic(alpha=0.5, beta=0.5, linear_features=5)

        def forward(self, x: Tensor, spk: Tensor, syn: Tensor, mem: Tensor) -> Any:
            return self.lif(self.fc(x), spk, syn, mem)

    step = Step(on_grid(Net()), (6,), {"spk": (5,), "syn": (5,), "mem": (5,)}, ())
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    assert mismatch(step, path, x, {"mem": "lif"}, late=True) == ""
    _, trace = read(path, x)
    assert np.array_equal(trace.currents["lif"], step.walk_file(path, x)[1])


def test_spikes_come_back_through_a_layer_where_the_reset_is_at_once(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.back = nn.Linear(6, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor, v: Tensor, s: Tensor) -> tuple[Tensor, ...]:
            u = 0.5 * v + self.fc(x) + self.back(s)
            s = (u >= 0.5).float()
            return s, u * (1 - s), s

    step = Step(on_grid(Net()), (6,), {"v": (5,), "s": (5,)})
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    assert mismatch(step, path, x, {"v": "v"}) == ""
    graph, trace = read(path, x)
    assert any(isinstance(n.op, Delay) for n in graph.nodes)
    assert 0.05 < trace.values["v"].mean() < 0.95


def test_a_current_comes_back_as_norse_hands_it_on(tmp_path: Path) -> None:
    """At first it is nothing: the bias of the layer begins a step late; another state is a sum."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.back, self.more = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 5)

        def forward(self, x: Tensor, v: Tensor, rec: Tensor, two: Tensor) -> tuple[Tensor, ...]:
            u = 0.5 * v + self.fc(x) + rec
            s = (u >= 0.5).float()
            return s, u * (1 - s), self.back(s) + two, 0.5 * self.more(s)

    step = Step(on_grid(Net()), (6,), {"v": (5,), "rec": (5,), "two": (5,)})
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    assert mismatch(step, path, x, {"v": "v"}) == ""
    graph, trace = read(path, x)
    assert 0.05 < trace.values["v"].mean() < 0.95
    assert not trace.values["rec"][0].any() and trace.values["rec"][1].any()
    chip = quantized(graph)
    agree_on_lava(chip, x)


def test_spikes_are_handed_on_with_their_factor(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 5)

        def forward(self, x: Tensor, v: Tensor, late: Tensor) -> tuple[Tensor, ...]:
            u = 0.5 * v + self.fc(x) + late
            s = (u >= 0.5).float()
            return s, u * (1 - s), 0.25 * s

    step = Step(on_grid(Net()), (6,), {"v": (5,), "late": (5,)})
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    assert mismatch(step, path, x, {"v": "v"}) == ""
    assert set(np.unique(read(path, x)[1].values["late"])) == {0, 0.25}


def test_a_membrane_that_is_handed_on_is_refused(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 5)

        def forward(self, x: Tensor, v: Tensor, held: Tensor) -> tuple[Tensor, ...]:
            u = 0.5 * v + self.fc(x) + 0.25 * held
            s = (u >= 0.5).float()
            return s, u * (1 - s), 0.5 * v

    step = Step(on_grid(Net()), (6,), {"v": (5,), "held": (5,)})
    with pytest.raises(OnnxError, match="a state that is not a membrane") as e:
        read(step.export(tmp_path / "m.onnx"), spikes(step, T))
    assert "state 'held'" in str(e.value)


class Cells(nn.Module):
    """Handwritten: exponential Euler, a reset by `where`, a readout that only integrates."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = (
            nn.Conv2d(2, 3, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(3),
        )
        self.fc = nn.Linear(12, 4)
        self.norm.weight.data = torch.tensor([0.5, 1.0, 2.0])
        self.norm.running_mean.data = torch.tensor([0.25, -0.25, 0.0])  # type: ignore[union-attr]
        self.norm.eps = 0.0

    def forward(self, x: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        u = v + (self.norm(self.conv(x)) - v) / 2.0
        fired = u >= 0.5
        v = torch.where(fired, torch.zeros_like(u), u)
        w = 0.75 * w + self.fc(fired.float().reshape(x.shape[0], 12))
        return w, v, w.clone()


@pytest.mark.parametrize(
    "training", [torch.onnx.TrainingMode.EVAL, torch.onnx.TrainingMode.PRESERVE]
)
def test_a_handwritten_network_with_a_readout(tmp_path: Path, training: Any) -> None:
    step = Step(on_grid(Cells()), (2, 4, 4), {"v": (3, 2, 2), "w": (4,)}, ("logits",))
    options = {"training": training, "do_constant_folding": training.name == "EVAL"}
    path = step.export(tmp_path / "m.onnx", **options)
    x = spikes(step, 6)
    assert mismatch(step, path, x, {"v": "v", "w": "w"}) == ""
    graph, trace = read(path, x)
    kinds = {type(n.op) for n in graph.nodes}
    assert {Conv2d, Linear} <= kinds and (BatchNorm in kinds) == (training.name == "PRESERVE")
    assert graph.outputs == ("w",) and trace.values["v"].mean() > 0.05


class Spiked(nn.Module):
    """The update of STBP: the spikes of the step before are handed over and gate the membrane."""

    def __init__(self, gap: float) -> None:
        super().__init__()
        self.fc1, self.fc2, self.gap = nn.Linear(6, 8), nn.Linear(8, 4), gap

    def forward(self, x: Tensor, m1: Tensor, s1: Tensor, m2: Tensor, s2: Tensor) -> Any:
        m1 = m1 * 0.5 * (1 - s1) + self.fc1(x)
        s1 = (m1 > self.gap).float()
        m2 = m2 * 0.5 * (1.0 - s2) + self.fc2(s1)
        s2 = m2.gt(self.gap).float()
        return m1, s1, m2, s2


def test_spikes_that_are_handed_over_are_the_reset(tmp_path: Path) -> None:
    states = {"m1": (8,), "s1": (8,), "m2": (4,), "s2": (4,)}
    step = Step(on_grid(Spiked(0.5)), (6,), states, ())
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    graph, trace = read(path, x)
    names = [n.name for n in graph.nodes if isinstance(n.op, Neuron)]
    resets = [n.op.reset for n in graph.nodes if isinstance(n.op, Neuron)]
    assert resets == ["zero", "zero"] and not any(isinstance(n.op, Delay) for n in graph.nodes)
    for rows in (step.walk_module(x), step.walk_file(path, x)):
        assert np.array_equal(trace.values[names[0]], rows[1])
        assert np.array_equal(trace.values[names[1]], rows[3])
    assert 0.05 < trace.values[names[1]].mean() < 0.95


def test_a_tie_fires_where_the_file_says_so(tmp_path: Path) -> None:
    class Tie(nn.Module):
        def __init__(self, strict: bool) -> None:
            super().__init__()
            self.fc, self.strict = nn.Linear(1, 1, bias=False), strict
            self.fc.weight.data.fill_(0.5)

        def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            u = v + self.fc(x)
            s = (u > 1.0) if self.strict else ~(u < 1.0)
            return s.float(), u - s * 1.0

    x = np.ones((4, 1, 1))
    for strict, expected in ((True, [0, 0, 1, 0]), (False, [0, 1, 0, 1])):
        step = Step(Tie(strict).eval(), (1,), {"v": (1,)})
        path = step.export(tmp_path / f"{strict}.onnx")
        _, trace = read(path, x)
        assert trace.values["v"].ravel().tolist() == expected
        assert mismatch(step, path, x, {"v": "v"}) == ""


class Pooled(nn.Module):
    """Pools, a mean over the image, dropout, and two ways into a residual join."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.conv3 = nn.Conv2d(4, 4, 1, groups=2)
        self.average, self.drop = nn.AvgPool2d(2), nn.Dropout(0.5)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor, a: Tensor, b: Tensor, c: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        a = 0.5 * a + self.conv1(x)
        s = (a > 0.5).float()
        a = a - s * 0.5
        b = 0.5 * b + self.conv2(self.drop(s))
        t = (b > 0.25).float()
        b = b * (1 - t)
        joined = torch.maximum(s, t)
        c = c + self.conv3(self.average(joined))
        z = (c >= 1.0).float()
        c = c - z
        w = w + self.fc(z.mean((2, 3)))
        return w * 1.0, a, b, c, w


def test_pools_means_and_joins(tmp_path: Path) -> None:
    states = {"a": (4, 4, 4), "b": (4, 4, 4), "c": (4, 2, 2), "w": (3,)}
    step = Step(on_grid(Pooled()), (2, 4, 4), states, ("logits",))
    path = step.export(tmp_path / "m.onnx")
    assert mismatch(step, path, spikes(step, 6), {s: s for s in states}) == ""
    graph, _ = read(path, spikes(step, 6))
    kinds = [type(n.op).__name__ for n in graph.nodes]
    assert kinds.count("AvgPool2d") == 2 and kinds.count("Gate") == 1


class Fading(nn.Module):
    """Norse's LIFCell: the membrane takes the current of the step before."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor, v: Tensor, i: Tensor) -> tuple[Tensor, ...]:
        v = v + 0.5 * ((0.0 - v) + i)
        z = ((v - 0.25) > 0).float()
        return z, (1 - z) * v + z * 0.0, i - 0.5 * i + self.fc(x)


def test_a_current_that_arrives_a_step_later(tmp_path: Path) -> None:
    step = Step(on_grid(Fading()), (6,), {"v": (5,), "i": (5,)}, named=False)
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, T)
    graph, trace = read(path, x)
    (neuron,) = (n.name for n in graph.nodes if isinstance(n.op, Neuron))
    assert mismatch(step, path, x, {"v": neuron}) == "" and trace.values[neuron].mean() > 0.05


class Affine(nn.Module):
    """A norm written out: it is taken into the convolution, and the threshold stays what it is."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.conv, self.late = nn.Conv2d(1, 3, 3), late
        self.gain = torch.tensor([0.3, 1.0, 2.5]).view(1, 3, 1, 1)
        self.shift = torch.tensor([0.1, -0.7, 0.0]).view(1, 3, 1, 1)

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        c = self.conv(x) * self.gain + self.shift
        if self.late:
            u = 0.9 * v + c - 0.6 * (v > 0.6)
            return (u > 0.6).float(), u
        u = 0.9 * v + c
        return (u > 0.6).float(), u - 0.6 * (u > 0.6)


@pytest.mark.parametrize("late", [False, True])
def test_constants_go_into_layers_and_leave_the_threshold_alone(tmp_path: Path, late: bool) -> None:
    torch.manual_seed(0)
    step = Step(Affine(late).eval(), (1, 5, 5), {"v": (3, 3, 3)})
    path = step.export(tmp_path / "m.onnx")
    x = spikes(step, 12)
    graph, trace = read(path, x)
    (neuron,) = (n.op for n in graph.nodes if isinstance(n.op, Neuron))
    assert neuron.threshold == np.nextafter(np.float64(np.float32(0.6)), np.inf)
    assert [type(n.op) for n in graph.nodes] == [Conv2d, Neuron]
    for rows in (step.walk_module(x), step.walk_file(path, x)):
        assert np.array_equal(trace.values["v"], rows[0]) and rows[0].mean() > 0.05
        held = trace.membranes["v"] + (neuron.amount * rows[0] if late else 0.0)
        assert np.allclose(held, rows[1], rtol=0, atol=1e-5)
