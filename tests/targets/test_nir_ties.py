"""A membrane that equals its threshold fires or not: each framework's own answer, and when we ask.

The frameworks run for real, on weights that make ties a common thing.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.wording import option
from purespike.flow.inputs.exchange import read_named
from purespike.flow.inputs.stated import Stated
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.read import Conventions, from_foreign
from purespike.targets.nir.guard.guard import read_back
from purespike.targets.nir.read import read_nir
from purespike.targets.nir.schema import check

pytestmark = pytest.mark.usefixtures("parsed_here")

T, IN, MID, OUT = 16, 3, 5, 2
R = np.random.default_rng(4)
W = R.integers(-2, 5, (MID, IN)).astype(np.float32) / 4  # thresholds of 1 are sums of these
W2 = R.integers(-2, 5, (OUT, MID)).astype(np.float32) / 4
X = (R.random((T, 6, IN)) < 0.5).astype(np.float32)
ONE, TWO = np.ones(MID), np.ones(OUT)
SAID: dict[str, Any] = {"dt": 1e-3, "steps": T, "reset": "zero", "if_r": "step", "domain": SPIKE}


def chain(*nodes: Any) -> nir.NIRGraph:
    names = ["input", *(f"n{i}" for i in range(len(nodes))), "output"]
    inner = dict(zip(names[1:-1], nodes, strict=True))
    last = nodes[-1].output_type["output"]
    ports = {"input": nir.Input(np.array([IN])), "output": nir.Output(last)}
    return nir.NIRGraph({**ports, **inner}, list(pairwise(names)), type_check=False)


def reading(file: Any, path: Path, **said: Any) -> Graph:
    """The graph, without a child process for each."""
    if isinstance(file, nir.NIRGraph):
        nir.write(path / "f.nir", file)
    document = read_back((path / "f.nir").read_bytes())
    return from_foreign(document, check(document), Conventions(**(SAID | said)))


def spikes(graph: Graph, x: Any = X) -> Any:
    return run(graph, x.astype(np.float64)).values[graph.outputs[0]]


def holds(file: Any, theirs: Any, fires: str, path: Path, **said: Any) -> None:
    """Under its reading the file is the framework, under the other it is not; silence is an error.

    The compiled network, in integers, has the same spikes again.
    """
    other = {"at": "above", "above": "at"}[fires]
    graph = reading(file, path, fires=fires, **said)
    np.testing.assert_array_equal(spikes(graph), theirs)
    assert 0 < theirs.mean() < 1
    assert (spikes(reading(file, path, fires=other, **said)) != theirs).any()
    with pytest.raises(NirFileError, match="leaves open: fires"):
        reading(file, path, **said)
    chip = compile_graph(graph, standard_pipeline(), X[:, :2]).graph
    np.testing.assert_array_equal(spikes(chip), theirs)


def stepped(cell: Any, *states: Any) -> Any:
    """Spikes of a module that takes a step and its states and gives them back."""
    out = []
    with torch.no_grad():
        for frame in torch.from_numpy(X):
            spike, *rest = cell(frame, *states)
            states = tuple(rest)
            out.append(spike.numpy())
    return np.stack(out)


def weighted(*neurons: Any) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight, neuron in zip((W, W2), neurons, strict=True):
        layers += [nn.Linear(weight.shape[1], weight.shape[0], bias=False), neuron]
        layers[-2].weight.data = torch.from_numpy(weight.copy())
    return nn.Sequential(*layers)


# ---- the frameworks, and their own exports where they write one ------------------------------


@pytest.mark.parametrize("kind", ["IF", "LIF", "LIF of tau 2", "LIF of tau 3"])
def test_spikingjelly_fires_at_the_threshold(kind: str, tmp_path: Path) -> None:
    activation = pytest.importorskip("spikingjelly.activation_based")
    from spikingjelly.activation_based import neuron, nir_exchange

    def make() -> Any:
        if kind == "IF":
            return neuron.IFNode(v_reset=0.0)
        if kind != "LIF":  # a part of the input, as is its default
            return neuron.LIFNode(tau=float(kind[-1]), v_reset=0.0)
        return neuron.LIFNode(tau=2.0, decay_input=False, v_reset=0.0)

    model = weighted(make(), make())
    for layer in (model[0], model[2]):  # else few spikes come through, and no tie
        layer.weight.data *= {"2": 2, "3": 3}.get(kind[-1], 1)
    with torch.no_grad():
        theirs = np.stack([model(frame).numpy() for frame in torch.from_numpy(X)])
    activation.functional.reset_net(model)
    exported = tmp_path / "f.nir"
    nir_exchange.export_to_nir(model, torch.zeros(1, IN), save_path=exported, dt=1e-3)
    holds(exported, theirs, "at", tmp_path, if_r="dt")


def test_spikingjelly_by_hand(tmp_path: Path) -> None:
    """Weight 0.5 and a spike in every step, the case that started this."""
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import neuron

    cell, half = neuron.IFNode(), torch.tensor([0.5])
    assert [int(cell(half)) for _ in range(8)] == [0, 1] * 4
    file = chain(nir.Linear(np.full((1, IN), 0.5)), nir.IF(np.ones(1), np.ones(1), np.zeros(1)))
    x = np.zeros((8, 1, IN))
    x[..., 0] = 1
    for fires, wanted in (("at", [0, 1] * 4), ("above", [0, 0, 1, 0, 0, 1, 0, 0])):
        graph = reading(file, tmp_path, steps=8, fires=fires)
        assert spikes(graph, x).ravel().tolist() == wanted
        chip = compile_graph(graph, standard_pipeline(), x).graph
        assert spikes(chip, x).ravel().tolist() == wanted


@pytest.mark.parametrize("tau", [*range(2, 20), 8 / 3, 8 / 5, 1000, 4085])
def test_a_leak_in_float32_takes_the_part_that_was_meant(tau: float, tmp_path: Path) -> None:
    """v + (x - v) / tau of SpikingJelly, sinabs and Norse meets 1 with an input of tau exactly."""
    one, x = np.ones(1, np.float32), torch.tensor(tau)
    assert (0 + (x - 0) / torch.tensor(tau)).item() == 1
    lif = nir.LIF(np.float32(tau * 1e-3) * one, one, 0 * one, one, 0 * one)
    weight = np.zeros((1, IN))
    weight[0, 0] = tau
    graph = reading(chain(nir.Linear(weight), lif), tmp_path, steps=2, fires="at")
    train = np.zeros((2, 1, IN))
    train[0, 0, 0] = 1
    assert spikes(graph, train).ravel().tolist() == [1, 0]
    (decay,) = [n.op.decay for n in graph.nodes if isinstance(n.op, Neuron)]
    assert decay == pytest.approx(1 - 1 / tau, abs=1e-6)


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic"])
def test_snntorch_fires_above_it(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("snntorch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import snntorch
        from snntorch.export_nir import export_to_nir

    def make(n: int) -> Any:
        half, more = torch.full((n,), 0.5), {"reset_mechanism": "zero", "threshold": torch.ones(n)}
        if kind == "Leaky":
            return snntorch.Leaky(beta=half, init_hidden=True, reset_delay=False, **more)
        return snntorch.Synaptic(half, half, init_hidden=True, reset_delay=False, **more)

    model = weighted(make(MID), make(OUT))
    with torch.no_grad():
        theirs = np.stack([model(frame).numpy() for frame in torch.from_numpy(X)])
    file = export_to_nir(weighted(make(MID), make(OUT)), torch.zeros(IN))
    holds(file, theirs, "above", tmp_path, dt=1e-4, current="new")


def quiet(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


def test_norse_fires_above_it(tmp_path: Path) -> None:
    norse = quiet("norse.torch")
    p = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(500.0))
    box, iaf = norse.LIFBoxCell(p, dt=1e-3), norse.IAFCell()
    first, second = torch.from_numpy(2 * W), torch.from_numpy(W2)

    def cell(x: Any, a: Any, b: Any) -> Any:
        x, a = box(x @ first.T, a)
        x, b = iaf(x @ second.T, b)
        return x, a, b

    lif = nir.LIF(2e-3 * ONE, ONE, 0 * ONE, ONE, 0 * ONE)
    file = chain(nir.Linear(2 * W), lif, nir.Linear(W2), nir.IF(TWO, TWO, 0 * TWO))
    holds(file, stepped(cell, None, None), "above", tmp_path)


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_sinabs_fires_at_it(reset: Any, tmp_path: Path) -> None:
    layers = quiet("sinabs.layers")
    from sinabs.activation import MembraneReset, MembraneSubtract, SingleSpike

    how = MembraneReset if reset == "zero" else MembraneSubtract

    def make() -> Any:
        return layers.IAF(spike_threshold=torch.tensor(1.0), spike_fn=SingleSpike, reset_fn=how())

    with torch.no_grad():
        theirs = weighted(make(), make())(torch.from_numpy(X).transpose(0, 1)).transpose(0, 1)
    file = chain(nir.Linear(W), nir.IF(ONE, ONE), nir.Linear(W2), nir.IF(TWO, TWO))
    holds(file, theirs.numpy(), "at", tmp_path, reset=reset)


def test_rockpool_fires_at_it(tmp_path: Path) -> None:
    """Its current fades with the input of the step in it; tau is written so that Euler decays so.

    Small weights, since it sends more than one spike per step otherwise.
    """
    modules = quiet("rockpool.nn.modules")
    halves = {"tau_mem": torch.tensor(1e-3 / np.log(2)), "tau_syn": torch.tensor(1e-3 / np.log(2))}
    lif = modules.LIFTorch(
        MID, **halves, dt=1e-3, threshold=torch.tensor(1.0), bias=torch.tensor(0.0), has_rec=False
    )
    assert set(lif.alpha.flatten().tolist()) == set(lif.beta.flatten().tolist()) == {0.5}
    weight = np.abs(W) / 2
    with torch.no_grad():
        given = (torch.from_numpy(X) @ torch.from_numpy(weight).T).transpose(0, 1)
        theirs = lif(given.contiguous())[0].transpose(0, 1).numpy()
    assert theirs.max() == 1
    two = 2e-3 * ONE  # r * w_in / 4 is the half of the input that is left at once
    node = nir.CubaLIF(two, two, 2 * ONE, 0 * ONE, ONE, w_in=ONE)
    holds(chain(nir.Linear(weight), node), theirs, "at", tmp_path, reset="subtract", current="new")


# ---- every kind of node, against loops by hand -----------------------------------------------


@pytest.mark.parametrize("fires", ["above", "at"])
@pytest.mark.parametrize("kind", ["Threshold", "soft reset in plain nodes"])
def test_nodes_without_a_framework(fires: Any, kind: str, tmp_path: Path) -> None:
    soft = kind != "Threshold"
    nodes: dict[str, Any] = {
        "input": nir.Input(np.array([IN])),
        "w": nir.Linear(W),
        "s": nir.Threshold(ONE),
        "output": nir.Output(np.array([MID])),
    }
    edges = [("input", "w"), ("w", "s"), ("s", "output")]
    if soft:
        nodes |= {"v": nir.I(ONE), "back": nir.Scale(-ONE)}
        edges = [("input", "w"), ("w", "v"), ("v", "s"), ("s", "back"), ("back", "v"),
                 ("s", "output")]  # fmt: skip
    nir.write(tmp_path / "f.nir", nir.NIRGraph(nodes, edges, type_check=False))
    v, wanted = np.zeros((X.shape[1], MID)), []
    for frame in X:
        v = v * soft + frame @ W.T
        s = v > 1 if fires == "above" else v >= 1
        v = v - s
        wanted.append(s)
    holds(tmp_path / "f.nir", np.stack(wanted).astype(float), fires, tmp_path, feedback="previous")


# ---- when it is asked ------------------------------------------------------------------------

F32 = np.float32
NUMBERS = st.sampled_from([0.5, 0.25, -0.25, 0.375, 1.0, 0.75, F32(0.1), F32(0.2), F32(0.7),
                           0.1, 0.3, F32(1 / 3), F32(0.123456), F32(-0.654321)])  # fmt: skip
LEVELS = st.sampled_from([1.0, 0.5, 0.375, 0.7, F32(0.7), 0.3, 2.0, F32(0.6)])
TRAINS = np.array(np.meshgrid(*[[0, 1]] * 8)).reshape(8, -1).T.reshape(-1, 4, 2)


def meets(w: list[float], bias: float, level: float, decay: float, reset: str, kind: Any) -> bool:
    """Does any train of spikes make a membrane that equals the threshold, in this arithmetic?"""
    weight, level, decay, v = np.array(w, kind), kind(level), kind(decay), np.zeros(256, kind)
    met = False
    for t in range(4):
        v = decay * v + (weight[0] * TRAINS[:, t, 0] + weight[1] * TRAINS[:, t, 1] + kind(bias))
        v = v.astype(kind)
        met = met or bool((v == level).any())
        s = v >= level
        v = np.where(s, 0, v) if reset == "zero" else v - s * level
        v = v.astype(kind)
    return met


def neuron(w: list[float], bias: float, level: float, decay: float, reset: str) -> nir.NIRGraph:
    one = np.ones(1)
    cell: Any = nir.IF(one, level * one, 0 * one)
    if decay < 1:
        tau = 1e-3 / (1 - decay)
        cell = nir.LIF(tau * one, tau / 1e-3 * one, 0 * one, level * one, 0 * one)
    ports = {"input": nir.Input(np.array([2])), "output": nir.Output(np.array([1]))}
    nodes = {**ports, "w": nir.Affine(np.array([w]), np.array([bias])), "n": cell}
    return nir.NIRGraph(nodes, [("input", "w"), ("w", "n"), ("n", "output")], type_check=False)


def asks(path: Path, *case: Any) -> bool:
    try:
        reading(neuron(*case), path, steps=4, reset=case[-1])
    except NirFileError as e:
        assert "leaves open: fires" in str(e)
        return True
    return False


@settings(max_examples=60, deadline=None)
@given(
    st.lists(NUMBERS, min_size=2, max_size=2),
    st.sampled_from([0.0, 0.0, 0.125, F32(0.1)]),
    LEVELS,
    st.sampled_from([1.0, 1.0, 0.5, 0.75, 0.9]),
    st.sampled_from(["zero", "subtract"]),
)
def test_no_tie_goes_unasked(
    tmp_path_factory: Any, w: Any, bias: Any, level: Any, decay: float, reset: str
) -> None:
    """Every train of four steps for two inputs, in float32 and in float64."""
    case = ([float(x) for x in w], float(bias), float(level), decay, reset)
    if meets(*case, np.float32) or meets(*case, np.float64):  # type: ignore[arg-type]
        assert asks(tmp_path_factory.getbasetemp(), *case)


@pytest.mark.parametrize(
    ("case", "asked"),
    [
        (([0.5, 0.25], 0.0, 1.0, 1.0, "zero"), True),
        (([0.375, 0.75], 0.0, 1.0, 1.0, "zero"), False),  # 0.75, 1.125
        (([0.375, 0.75], 0.0, 1.0, 1.0, "subtract"), True),  # 3 thresholds are 8 weights
        (([0.375, 0.75], 0.125, 1.0, 1.0, "zero"), True),
        (([0.5, 0.25], 0.0, 0.7, 1.0, "zero"), False),
        (([0.5, 0.25], 0.0, 9.0, 1.0, "zero"), False),  # out of reach
        (([float(F32(1 / 3)), 0.0], 0.0, 1.0, 1.0, "zero"), True),  # in float32, 3 are 1
        (([0.5, 0.25], 0.0, 1.0, 0.5, "zero"), True),
        (([0.5, 0.25], 0.0, 0.7, 0.5, "zero"), False),
        (([0.5, 0.25], 0.0, 0.7, 0.9, "zero"), True),  # a leak of many bits
        (([0.5, 0.25], 0.0, 8.0, 0.9, "zero"), False),
    ],
)
def test_when_it_is_asked(case: Any, asked: bool, tmp_path: Path) -> None:
    assert asks(tmp_path, *case) == asked
    both = [reading(neuron(*case), tmp_path, steps=4, reset=case[-1], fires=f)
            for f in ("above", "at")]  # fmt: skip
    x = TRAINS.transpose(1, 0, 2)
    assert asked or (spikes(both[0], x) == spikes(both[1], x)).all()


def test_the_report_names_the_reading_that_was_taken(tmp_path: Path) -> None:
    nir.write(tmp_path / "m.nir", neuron([0.5, 0.25], 0.0, 0.7, 1.0, "zero"))
    stated = Stated(1e-3, "zero", "step", 4, True)
    _, file = read_named(tmp_path / "m.nir", stated)
    assert file.title == "m.nir (fires above its thresholds: no membrane can equal one)"
    _, file = read_named(tmp_path / "m.nir", Stated(1e-3, "zero", "step", 4, True, fires="at"))
    assert file.title == "m.nir"


def test_the_command_line_asks_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "m.nir"
    nir.write(path, neuron([0.5, 0.25], 0.0, 1.0, 1.0, "zero"))
    said = ["--static", "--dt", "1e-3", "--steps", "4", "--reset", "zero", "--if-r", "step"]
    said.append("--spike-input")
    silent = CliRunner().invoke(app, ["check", str(path), *said])
    assert isinstance(silent.exception, NirFileError) and set(silent.exception.open) == {"fires"}
    assert option("fires", "command line") == "--fires above|at"
    for fires in ("above", "at"):
        told = CliRunner().invoke(app, ["check", str(path), *said, "--fires", fires])
        assert told.exit_code in (0, 1), told.output
    wrong = CliRunner().invoke(app, ["check", str(path), *said, "--fires", "below"])
    assert wrong.exit_code == 2


def test_our_own_files_say_above_and_mean_it(tmp_path: Path) -> None:
    """A graph fires at its threshold; its file has the next one below, for NIR's ``>``."""
    graph = reading(neuron([1.0, 1.0], 0.0, 2.0, 1.0, "zero"), tmp_path, steps=4, fires="at")
    write_nir(graph, tmp_path / "own.nir")
    assert nir.read(tmp_path / "own.nir").nodes["n"].v_threshold.tolist() == [1]
    x = TRAINS.transpose(1, 0, 2)
    again = read_nir(tmp_path / "own.nir", fires="above")
    np.testing.assert_array_equal(spikes(again, x), spikes(graph, x))
    with pytest.raises(NirFileError, match="states another fires"):
        read_nir(tmp_path / "own.nir", fires="at")
