"""I or LI -> Threshold -> Scale -> back: one neuron with reset by subtraction, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from helpers.nir_targets import agree_on_lava, agree_on_onnx_and_nir, quantized, random_spikes

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.ir.verify import verify
from purespike.judge.independent import second_verdict
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.guard.guard import load
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")

SAID: dict[str, Any] = {
    "dt": 1e-3, "steps": 12, "reset": "zero", "if_r": "step", "domain": SPIKE, "fires": "above"
}  # fmt: skip
R = np.random.default_rng(6)
W = R.integers(-8, 14, (4, 3)) / 16
W2 = R.integers(-8, 14, (2, 4)) / 16
THETA = np.array([0.5, 1.0, 1.5, 1.0])
ONE = np.ones(4)
LOOP = [("i", "t"), ("t", "s"), ("s", "i")]


def file(
    path: Path,
    membrane: Any,
    scale: Any,
    more: Any = None,
    edges: Any = None,
    threshold: Any = THETA,
) -> Path:
    nodes = {
        "x": nir.Input(np.array([3])), "w": nir.Linear(W), "i": membrane, "s": nir.Scale(scale),
        "t": nir.Threshold(threshold), "w2": nir.Linear(W2),
        "n": nir.IF(np.ones(2), 0.7 * np.ones(2)),
        "y": nir.Output(np.array([2])), **(more or {}),
    }  # fmt: skip
    ends = [("x", "w"), ("w", "i"), ("t", "w2"), ("w2", "n"), ("n", "y")]
    nir.write(path / "f.nir", nir.NIRGraph(nodes, [*ends, *(edges or LOOP)], type_check=False))
    return path / "f.nir"


def literal(x: Any, decay: float, gain: Any, scale: Any) -> Any:
    """The nodes one by one, the edge from Scale carrying the step before, zero at first."""
    u: Any = 0.0
    back: Any = 0.0
    spikes = []
    for frame in x:
        u = decay * u + gain * (frame @ W.T + back)
        spikes.append((u > THETA).astype(np.float64))
        back = scale * spikes[-1]
    return np.stack(spikes)


def the_neuron(graph: Graph) -> Neuron:
    verify(graph)
    assert {n.name for n in graph.nodes} <= {"w", "t", "t.gain", "w2", "n"}
    (op,) = [n.op for n in graph.nodes if n.name == "t"]
    assert isinstance(op, Neuron) and op.reset == "subtract"
    return op


CASES = {
    "I": (nir.I(ONE), -THETA, 1.0, 1.0),
    "another amount": (nir.I(ONE), np.array([-0.5, -0.25, -1, 0]), 1.0, 1.0),
    "I with r": (nir.I(2 * ONE), -THETA / 2, 1.0, 2.0),
    "LI": (nir.LI(4e-3 * ONE, 4 * ONE, 0 * ONE), -0.75 * THETA, 0.75, 1.0),
    "LI with a gain": (nir.LI(2e-3 * ONE, 3 * ONE, 0 * ONE), -THETA / 2, 0.5, 1.5),
}


@pytest.mark.parametrize("name", CASES)
def test_the_loop_is_one_neuron(name: str, tmp_path: Path) -> None:
    membrane, scale, decay, gain = CASES[name]
    path = file(tmp_path, membrane, scale)
    graph = read_nir(path, **SAID, feedback="previous")
    op = the_neuron(graph)
    np.testing.assert_array_equal(np.broadcast_to(op.amount, 4), -gain * scale / decay)
    x = random_spikes(graph, 5)
    found = run(graph, x).values["t"]
    assert 0.05 < found.mean() < 0.95
    np.testing.assert_array_equal(found, literal(x, decay, gain, scale))


@pytest.mark.parametrize("name", ["LI", pytest.param("I", marks=pytest.mark.slow)])
def test_it_goes_to_every_target(name: str, tmp_path: Path) -> None:
    membrane, scale, *_ = CASES[name]
    graph = read_nir(file(tmp_path, membrane, scale), **SAID, feedback="previous")
    chip = quantized(graph)
    the_neuron(chip)
    x = random_spikes(chip, 4)
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_lava(chip, x)


@pytest.mark.parametrize(
    "loop",
    [
        [("i", "t"), ("t", "d"), ("d", "s"), ("s", "i")],
        [("i", "t"), ("t", "s"), ("s", "d"), ("d", "i")],
        [("i", "t"), ("t", "s"), ("s", "d"), ("d", "s2"), ("s2", "i")],
    ],
)
def test_a_delay_of_one_step_says_it_all(loop: Any, tmp_path: Path) -> None:
    more = {"d": nir.Delay(1e-3 * ONE)}
    more |= {"s2": nir.Scale(ONE)} if ("s2", "i") in loop else {}
    graph = read_nir(file(tmp_path, nir.I(ONE), -THETA, more, loop), **SAID)
    the_neuron(graph)
    x = random_spikes(graph, 5)
    np.testing.assert_array_equal(run(graph, x).values["t"], literal(x, 1.0, 1.0, -THETA))


def test_two_layers_in_a_row(tmp_path: Path) -> None:
    """The spikes of one loop feed the next, and the file is spike-only to the second opinion."""
    more = {"i2": nir.I(np.ones(2)), "s2": nir.Scale(-0.25 * np.ones(2))}
    nodes = {
        "x": nir.Input(np.array([3])), "w": nir.Linear(W), "i": nir.I(ONE), "s": nir.Scale(-THETA),
        "t": nir.Threshold(THETA), "w2": nir.Linear(W2), "n": nir.Threshold(0.25 * np.ones(2)),
        "y": nir.Output(np.array([2])), **more,
    }  # fmt: skip
    edges = [*LOOP, ("x", "w"), ("w", "i"), ("t", "w2"), ("w2", "i2"), ("i2", "n"), ("n", "y")]
    edges += [("n", "s2"), ("s2", "i2")]
    nir.write(tmp_path / "f.nir", nir.NIRGraph(nodes, edges, type_check=False))
    graph = read_nir(tmp_path / "f.nir", **SAID, feedback="previous")
    assert [n.name for n in graph.nodes] == ["w", "t", "w2", "n"]
    stated = Conventions(1e-3, None, "step", 12, SPIKE, "previous", fires="above")
    assert second_verdict(load(tmp_path / "f.nir"), stated).problems == ()


CUBA = nir.CubaLI(4e-3 * ONE, 4e-3 * ONE, 4 * ONE, 0 * ONE, 4 * ONE)


@pytest.mark.parametrize(
    ("membrane", "more", "loop", "message"),
    [
        (
            nir.I(ONE),
            {"d": nir.Delay(1e-3 * np.array([1, 2, 1, 1]))},
            [("i", "t"), ("t", "d"), ("d", "s"), ("s", "i")],
            "more than one step after the spike",
        ),
        (CUBA, {}, LOOP, "through a synaptic current"),
        (
            nir.I(ONE),
            {"out": nir.Output(np.array([4]))},
            [*LOOP, ("i", "out")],
            "read by something else, too",
        ),
        (nir.LI(1e-3 * ONE, ONE, 0 * ONE), {}, LOOP, "it outlasts the membrane"),
    ],
)
def test_another_loop_is_refused(
    membrane: Any, more: Any, loop: Any, message: str, tmp_path: Path
) -> None:
    path = file(tmp_path, membrane, -THETA, more, loop)
    with pytest.raises(NirFileError, match=message) as e:
        read_nir(path, **SAID, feedback="previous", current="new")
    assert "node " in str(e.value)


def test_without_a_delay_the_step_has_to_be_stated(tmp_path: Path) -> None:
    with pytest.raises(NirFileError, match="a loop has no Delay node"):
        read_nir(file(tmp_path, nir.I(ONE), -THETA), **SAID)


def test_what_adds_to_the_membrane_is_no_reset(tmp_path: Path) -> None:
    """It stays what it is: an integrator, a threshold, a factor."""
    graph = read_nir(file(tmp_path, nir.I(ONE), 0.25 * ONE), **SAID, feedback="previous")
    assert {"i", "t", "s", "s.late"} <= {n.name for n in graph.nodes}
