"""A delay behind a layer goes in front of it, bit for bit, and to every target; or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from helpers.nir_targets import agree_on_lava, agree_on_onnx_and_nir, quantized, random_spikes

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Linear, Neuron, Scale
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")

R = np.random.default_rng(4)
X, IMAGE = Edge("x", (5,), SPIKE), Edge("x", (2, 4, 5), SPIKE)
FIRES = Neuron(1.1)


def whole(*shape: int) -> Any:
    """Eighths, so that sums are exact in any order."""
    return R.integers(-6, 10, shape) / 8


def places(*shape: int) -> Any:
    return R.integers(1, 4, shape)


def net(*nodes: tuple[str, Op, tuple[str, ...]], entry: Edge = X) -> Graph:
    return build((entry,), nodes, (nodes[-1][0],), 7)


MOVED: dict[str, Graph] = {
    "linear": net(
        ("w", Linear(whole(4, 5)), ("x",)), ("d", Delay(2), ("w",)), ("s", FIRES, ("d",))
    ),
    "a bias of zeros": net(
        ("w", Linear(whole(4, 5), np.zeros(4)), ("x",)),
        ("d", Delay(1), ("w",)),
        ("s", FIRES, ("d",)),
    ),
    "convolution, a delay in two parts, a factor": net(
        ("w", Conv2d(whole(3, 2, 3, 3), padding=(1, 1)), ("x",)),
        ("d", Delay(1), ("w",)),
        ("e", Delay(2), ("d",)),
        ("f", Scale(0.5), ("e",)),
        ("s", FIRES, ("f",)),
        entry=IMAGE,
    ),
    "one to one, by place": net(
        ("w", Scale(whole(2, 4, 5) + 1), ("x",)),
        ("d", Delay(places(2, 4, 5)), ("w",)),
        ("s", FIRES, ("d",)),
        entry=IMAGE,
    ),
    "a sum, beside a layer that nothing delays": net(
        ("v", Linear(whole(4, 5)), ("x",)),
        ("w", Linear(whole(4, 5)), ("x",)),
        ("sum", Add(), ("v", "w")),
        ("d", Delay(2), ("sum",)),
        ("u", Linear(whole(4, 5), whole(4)), ("x",)),
        ("all", Add(), ("u", "d")),
        ("s", FIRES, ("all",)),
    ),
}


def loop(steps: Any = 1) -> Graph:
    """A layer that hears itself: the delay behind the recurrent layer closes the loop."""
    nodes: list[Any] = [
        ("late", Delay(steps), ("back",)),
        ("in", Linear(whole(4, 5), whole(4)), ("x",)),
        ("sum", Add(), ("in", "late")),
        ("s", Neuron(1.1, 0.75, "subtract", current_decay=0.5), ("sum",)),
        ("back", Linear(whole(4, 4)), ("s",)),
    ]
    loops = [Edge("back", (4,), Linear(np.ones((4, 4)) * 2).infer(Edge("s", (4,), SPIKE))[1])]
    graph = build((X,), nodes, ("s",), 7, loops=loops)
    return graph.rebuilt(graph.nodes)


MOVED["a loop"] = loop()
MOVED["delays that are written before what they read"] = build(
    (X,),
    (
        ("late", Delay(1), ("s",)),
        ("d", Delay(1), ("sum",)),
        ("e", Delay(1), ("half",)),
        ("w", Linear(whole(4, 5), whole(4)), ("x",)),
        ("half", Linear(whole(4, 4), whole(4)), ("late",)),
        ("sum", Add(), ("w", "e")),
        ("s", FIRES, ("d",)),
    ),
    ("s",),
    7,
    loops=[Edge("s", (4,), SPIKE), *(Edge(n, (4,), ANALOG) for n in ("sum", "half"))],
)
MOVED["a bias"] = net(
    ("w", Linear(whole(4, 5), whole(4)), ("x",)), ("d", Delay(2), ("w",)), ("s", FIRES, ("d",))
)
MOVED["a bias of a convolution, at every border, a delay in two parts, a factor"] = net(
    ("w", Conv2d(whole(3, 2, 3, 3), 3 * whole(3), (2, 1), (1, 1)), ("x",)),
    ("d", Delay(1), ("w",)),
    ("e", Delay(2), ("d",)),
    ("f", Scale(0.5), ("e",)),
    ("s", Neuron(1.1, 0.75), ("f",)),
    entry=IMAGE,
)
MOVED["groups, and nothing but the bias can fire"] = net(
    ("w", Conv2d(-(whole(4, 1, 2, 2) ** 2), 1 + whole(4) ** 2, groups=2), ("x",)),
    ("d", Delay(3), ("w",)),
    ("s", FIRES, ("d",)),
    entry=IMAGE,
)
MOVED["read twice"] = net(
    ("w", Linear(whole(4, 5), whole(4)), ("x",)),
    ("d", Delay(1), ("w",)),
    ("sum", Add(), ("d", "w")),
    ("s", FIRES, ("sum",)),
)


SIMPLE = (
    *("linear", "a bias of zeros", "a bias", "read twice"),
    "groups, and nothing but the bias can fire",
    "delays that are written before what they read",
)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SIMPLE else n for n in MOVED]
)
def test_spikes_wait_instead_of_currents(name: str, tmp_path: Path) -> None:
    graph = MOVED[name]
    moved = fold_scales(graph)
    for node in moved.nodes:
        if isinstance(node.op, Delay):
            assert moved.edge(node.inputs[0]).domain <= SPIKE
    x = random_spikes(graph, 4)
    before, after = run(graph, x).values["s"], run(moved, x).values["s"]
    assert 0.02 < before.mean() < 0.98
    np.testing.assert_array_equal(before, after)
    chip = quantized(graph)
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_lava(chip, x)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a loop", "one to one, by place"])
def test_lava_itself(name: str) -> None:
    chip = quantized(MOVED[name])
    x = random_spikes(chip, 3)
    np.testing.assert_array_equal(simulate(chip, x).spikes["s"], run(chip, x).values["s"])


W = ("w", Linear(whole(4, 5)), ("x",))
STAY: dict[str, tuple[Graph, str, str]] = {
    "bias, by place": (
        net(
            ("w", Linear(whole(4, 5), np.ones(4) / 8), ("x",)),
            ("d", Delay([1, 2, 1, 3]), ("w",)),
            ("s", FIRES, ("d",)),
        ),
        "each place waits its own time for a current",
        "a layer of its own",
    ),
    "by place": (
        net(W, ("d", Delay([1, 2, 1, 3]), ("w",)), ("s", FIRES, ("d",))),
        "each place waits its own time for a current",
        "a layer of its own",
    ),
    "the same twice": (
        net(W, ("sum", Add(), ("w", "w")), ("d", Delay(1), ("sum",)), ("s", FIRES, ("d",))),
        "it delays a sum",
        "each part by itself",
    ),
}


@pytest.mark.parametrize("name", STAY)
def test_what_stays_is_refused_with_the_reason(name: str) -> None:
    graph, why, remedy = STAY[name]
    assert [str(n) for n in fold_scales(graph).nodes] == [str(n) for n in graph.nodes]
    with pytest.raises(PurespikeError, match=why) as e:
        quantized(graph)
    assert remedy in e.value.remedy and e.value.where


@pytest.mark.parametrize("reset", ["subtract", pytest.param("zero", marks=pytest.mark.slow)])
def test_a_current_of_the_step_before_goes_to_every_target(reset: Any, tmp_path: Path) -> None:
    """Norse's order: the membrane takes the current that the step before has left."""
    ones = np.ones(4)
    lif = nir.CubaLIF(4e-3 * ones, 2e-3 * ones, 2 * ones, 0 * ones, 0.45 * ones, w_in=4 * ones)
    nodes = {
        "input": nir.Input(np.array([5])),
        "d": nir.Delay(2e-3 * np.ones(5)),
        "w": nir.Linear(whole(4, 5)),
        "lif": lif,
        "output": nir.Output(np.array([4])),
    }
    edges = [("input", "d"), ("d", "w"), ("w", "lif"), ("lif", "output")]
    nir.write(tmp_path / "f.nir", nir.NIRGraph(nodes, edges, type_check=False))
    said: dict[str, Any] = {"dt": 1e-3, "steps": 12, "domain": SPIKE, "current": "previous"}
    graph = read_nir(tmp_path / "f.nir", reset=reset, fires="above", **said)
    x = random_spikes(graph, 3)
    current = v = np.zeros((3, 4))
    expected = []
    for t in range(12):
        v = v + 0.5 * (-v + 2 * current)
        expected.append(v > 0.45)
        v = np.where(expected[-1], 0.0 if reset == "zero" else v - 0.45, v)
        late = x[t - 2] if t >= 2 else np.zeros((3, 5))
        current = current + 0.25 * (4 * late @ nodes["w"].weight.T - current)
    assert 0.05 < np.mean(expected) < 0.95
    np.testing.assert_array_equal(run(graph, x).values["lif"], np.stack(expected))
    chip = quantized(graph)
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_lava(chip, x)
