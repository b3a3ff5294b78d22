"""The bias in a loop: there from the first step on, as in snnTorch, or a step late, as in Norse."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from helpers.nir_targets import agree_on_lava, agree_on_onnx_and_nir, agree_on_replay, quantized
from torch import nn

from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import SYNAPSES, Delay, Neuron
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales, unfolded
from purespike.compiler.rules.policy import read_policy
from purespike.flow.inputs.exchange import read_file
from purespike.flow.inputs.stated import Stated
from purespike.judge.compiled import static_findings
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.read import Conventions, from_foreign
from purespike.targets.nir.guard.guard import read_back
from purespike.targets.nir.read import read_nir
from purespike.targets.nir.schema import check

pytestmark = pytest.mark.usefixtures("parsed_here")

DT = 2.0**-10  # so that float32 has the decays exactly
ENTRY, CELLS, STEPS = 4, 6, 20
ONE = np.ones(CELLS, np.float32)
SAID: dict[str, Any] = {
    "dt": DT, "steps": STEPS, "domain": SPIKE, "feedback": "previous", "fires": "above"
}  # fmt: skip
Nodes = dict[str, Any]
Step = Callable[[Any], Any]


def sixteenths(r: np.random.Generator, *shape: int) -> Any:
    """Of both signs; float32 adds them exactly."""
    return (r.integers(-8, 9, shape) / 16).astype(np.float32)


def affine(r: np.random.Generator, into: int = CELLS) -> nir.Affine:
    return nir.Affine(sixteenths(r, CELLS, into), sixteenths(r, CELLS))


def lif(size: Any = CELLS, threshold: float = 0.25) -> nir.LIF:
    """Norse takes r for 1, so that a step takes a quarter of the input."""
    one = np.ones(size, np.float32)
    return nir.LIF(4 * DT * one, one, 0 * one, threshold * one, v_reset=0 * one)


def cuba() -> nir.CubaLIF:
    return nir.CubaLIF(2 * DT * ONE, 4 * DT * ONE, 4 * ONE, 0 * ONE, ONE, 0 * ONE, 2 * ONE)


def network(inner: Nodes, edges: list[tuple[str, str]], shape: Any = (CELLS,)) -> nir.NIRGraph:
    entry = (ENTRY,) if len(shape) == 1 else shape
    ports = {"input": nir.Input(np.array(entry)), "output": nir.Output(np.array(shape))}
    return nir.NIRGraph({**ports, **inner}, edges, type_check=False)


def recurrent(neuron: Any, w: Any, fc: Any) -> nir.NIRGraph:
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")]
    return network({"fc": fc, "lif": neuron, "w": w}, edges)


def read(graph: nir.NIRGraph, path: Path, **said: Any) -> Graph:
    """The file, without a child process for each."""
    nir.write(path / "f.nir", graph)
    return read_here(path / "f.nir", **said)


def read_here(file: Path, **said: Any) -> Graph:
    document = read_back(file.read_bytes())
    stated = Conventions(**({"reset": "zero"} | SAID | said))
    graph = from_foreign(document, check(document), stated)
    verify(graph)
    return graph


def spikes_into(shape: Any = (ENTRY,), samples: int = 4) -> Any:
    return (np.random.default_rng(5).random((STEPS, samples, *shape)) < 0.4).astype(np.float64)


def output(graph: Graph, x: Any) -> Any:
    return run(graph, x).values[graph.outputs[0]]


# One neuron, by hand: of its own loop it gets 1.5 after silence, and -0.5 after a spike.


@pytest.mark.parametrize(
    ("when", "wanted"), [("always", [1, 0, 1, 0, 1, 0]), ("delayed", [0, 1, 0, 1, 0, 1])]
)
def test_one_neuron(when: Any, wanted: list[int], tmp_path: Path) -> None:
    one = np.ones(1)
    loop = nir.Affine(-2 * np.ones((1, 1)), 1.5 * one)
    nodes = {"fc": nir.Linear(np.ones((1, 1))), "lif": nir.IF(one, 0.75 * one), "w": loop}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")]
    ports = {"input": nir.Input(np.ones(1, int)), "output": nir.Output(np.ones(1, int))}
    graph = nir.NIRGraph({**ports, **nodes}, edges, type_check=False)
    found = read(graph, tmp_path, if_r="step", steps=6, recurrent_bias=when)
    silent = np.zeros((6, 1, 1))
    assert output(found, silent).ravel().tolist() == wanted
    chip = quantized(found)
    assert output(chip, silent).ravel().tolist() == wanted


# snnTorch and Norse themselves.


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", ["RLeaky", "RSynaptic"])
def test_snntorch_has_the_bias_from_the_first_step_on(
    kind: str, reset: Any, seed: int, tmp_path: Path
) -> None:
    """Its own export, against the module; the reset at once is done here, since RSynaptic has none.

    (snnTorch 1.0 computes it for ``reset_delay=False``, and drops the result.)
    """
    snntorch = pytest.importorskip("snntorch")
    export = pytest.importorskip("snntorch.export_nir").export_to_nir
    r = np.random.default_rng(seed)
    alpha = {"alpha": 0.5} if kind == "RSynaptic" else {}
    cell = getattr(snntorch, kind)(
        **alpha, beta=0.75, linear_features=CELLS, reset_mechanism="none", init_hidden=True
    )
    model = nn.Sequential(nn.Linear(ENTRY, CELLS), cell)
    for layer in (model[0], cell.recurrent):
        for p in layer.parameters():
            p.data = torch.from_numpy(sixteenths(r, *p.shape))
    nir.write(tmp_path / "f.nir", export(model, torch.zeros(ENTRY)))
    x, wanted = spikes_into(), []
    cell.reset_mem()
    with torch.no_grad():
        for frame in torch.from_numpy(x.astype(np.float32)):
            s = model(frame)
            cell.mem = cell.mem * (1 - s) if reset == "zero" else cell.mem - s
            wanted.append(s.numpy())
    assert 0.02 < np.mean(wanted) < 0.9
    said = {"dt": 1e-4, "reset": reset, "current": "new" if alpha else None}
    graph = read_here(tmp_path / "f.nir", **said, recurrent_bias="always")
    np.testing.assert_array_equal(output(graph, x), np.stack(wanted))
    graph = read_here(tmp_path / "f.nir", **said, recurrent_bias="delayed")
    assert (output(graph, x) != np.stack(wanted)).any()


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("kind", ["LIF", "CubaLIF"])
def test_norse_has_the_bias_a_step_late(kind: str, seed: int, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, while it is imported
        norse = pytest.importorskip("norse.torch")
    r = np.random.default_rng(seed)
    w = affine(r)
    w.bias[:] *= 2
    source = recurrent(lif() if kind == "LIF" else cuba(), w, affine(r, ENTRY))
    said: dict[str, Any] = {"current": "new" if kind == "CubaLIF" else None}
    late = read(source, tmp_path, recurrent_bias="delayed", **said)
    model, state = norse.from_nir(nir.read(tmp_path / "f.nir"), dt=DT), None
    x, wanted = spikes_into(), []
    with torch.no_grad():
        for frame in torch.from_numpy(x.astype(np.float32)):
            s, state = model(frame, state)
            wanted.append(s.numpy())
    assert 0.02 < np.mean(wanted) < 0.9
    np.testing.assert_array_equal(output(late, x), np.stack(wanted))
    at_once = read(source, tmp_path, recurrent_bias="always", **said)
    assert (output(at_once, x) != np.stack(wanted)).any()


def test_norses_own_loop_carries_the_current_too() -> None:
    """Without a file: RecurrentSequential hands on what the layer sent, and nothing at first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        norse = pytest.importorskip("norse.torch")
        from norse.torch.module.sequential import RecurrentSequential
    layer = nn.Linear(1, 1)
    layer.weight.data, layer.bias.data = torch.full((1, 1), -2.0), torch.full((1,), 1.5)
    cell = norse.LIFBoxCell(
        norse.LIFBoxParameters(tau_mem_inv=torch.tensor(1024.0), v_th=torch.tensor(1.0)), dt=DT
    )
    loop, state, carried = RecurrentSequential(cell, layer, output_modules=1), None, []
    with torch.no_grad():
        for _ in range(6):
            y, state = loop(torch.zeros(1, 1), state)
            carried.append(y.item())
    assert carried == [1.5, -0.5, 1.5, -0.5, 1.5, -0.5]  # spikes 0 1 0 1 0 1


# Every way in which a loop can be written, against a loop of its own.


def plain(
    x: Any, into: Step, inner: Step, always: bool, *, decay: float = 0.75, threshold: float = 0.25
) -> Any:
    """One layer of LIF: ``inner`` is what comes round of its spikes, in the next step."""
    s = np.zeros_like(into(x[0]))
    v, back, made = s, inner(s) if always else 0.0, []
    for frame in x:
        v = decay * v + (1 - decay) * (into(frame) + back)
        s = (v > threshold).astype(np.float64)
        v, back = v * (1 - s), inner(s)
        made.append(s)
    return np.stack(made)


def dense(n: Any) -> Step:
    return lambda y: y @ n.weight.T.astype(np.float64) + n.bias


def conv(n: nir.Conv2d) -> Step:
    weight, bias = (torch.from_numpy(a.astype(np.float64)) for a in (n.weight, n.bias))
    pad = int(np.max(n.padding))
    return lambda y: nn.functional.conv2d(torch.from_numpy(y), weight, bias, padding=pad).numpy()


def forms() -> dict[str, tuple[nir.NIRGraph, Step, Step]]:
    """(file, what the input becomes, what comes round) by the way it is written."""
    r = np.random.default_rng(8)
    fc, w = affine(r, ENTRY), affine(r)
    w.bias[:] *= 2
    loop = [("lif", "w"), ("w", "lif")]
    ends = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    found = {"flat": (recurrent(lif(), w, fc), dense(fc), dense(w))}

    inner = network({"lif": lif(), "w": w}, [("input", "lif"), *loop, ("lif", "output")])
    inner.nodes["input"] = nir.Input(np.array([CELLS]))
    nested = {"fc": fc, "layer": inner}
    edges = [("input", "fc"), ("fc", "layer"), ("layer", "output")]
    found["subgraph"] = (network(nested, edges), dense(fc), dense(w))

    factor = nir.Scale(np.array([0.5, 1, -1, 2, 1, 0.25], np.float32))
    chain = [("lif", "w"), ("w", "f"), ("f", "lif")]
    scaled = {"fc": fc, "lif": lif(), "w": w, "f": factor}
    found["a factor behind the layer"] = (
        network(scaled, [*ends, *chain]), dense(fc), lambda s: factor.scale * dense(w)(s)
    )  # fmt: skip

    second = affine(r)
    pair = {"fc": fc, "lif": lif(), "w": w, "w2": second}
    two = [("lif", "w"), ("w", "lif"), ("lif", "w2"), ("w2", "lif")]
    found["two layers side by side"] = (
        network(pair, [*ends, *two]), dense(fc), lambda s: dense(w)(s) + dense(second)(s)
    )  # fmt: skip

    free = nir.Linear(sixteenths(r, CELLS, CELLS))
    without = {"fc": fc, "lif": lif(), "w": w, "u": free}
    edges = [*ends, ("lif", "u"), ("u", "w"), ("w", "lif"), ("u", "lif")]
    through = lambda s: s @ free.weight.T.astype(np.float64)  # noqa: E731
    found["a layer that is heard twice"] = (
        network(without, edges), dense(fc), lambda s: dense(w)(through(s)) + through(s)
    )  # fmt: skip

    row = {"fc": fc, "lif": lif(), "w": w, "w2": second}
    edges = [*ends, ("lif", "w"), ("w", "w2"), ("w2", "lif")]
    found["two layers in a row"] = (
        network(row, edges), dense(fc), lambda s: dense(second)(dense(w)(s))
    )  # fmt: skip

    def kernel(into: int) -> nir.Conv2d:
        weight = sixteenths(r, 3, into, 3, 3)
        return nir.Conv2d((4, 5), weight, 1, 1, 1, 1, sixteenths(r, 3))

    first, back = kernel(3), kernel(3)
    image = {"fc": first, "lif": lif((3, 4, 5)), "w": back}
    found["a convolution"] = (
        network(image, [*ends, *loop], (3, 4, 5)), conv(first), conv(back)
    )  # fmt: skip
    return found


FORMS = forms()


@pytest.mark.parametrize("when", ["always", "delayed"])
@pytest.mark.parametrize("name", FORMS)
def test_a_loop_however_it_is_written(name: str, when: Any, tmp_path: Path) -> None:
    source, into, inner = FORMS[name]
    x = spikes_into((3, 4, 5) if name == "a convolution" else (ENTRY,))
    wanted = plain(x, into, inner, when == "always")
    assert 0.02 < wanted.mean() < 0.9
    assert (wanted != plain(x, into, inner, when != "always")).any()
    graph = read(source, tmp_path, recurrent_bias=when)
    np.testing.assert_array_equal(output(graph, x), wanted)
    folded = fold_scales(graph)
    np.testing.assert_array_equal(output(folded, x), wanted)
    if name == "a layer that is heard twice":  # by a layer and by a neuron: a number stays
        return
    chip = quantized(graph)
    readers = [n for n in chip.nodes if isinstance(n.op, (Delay, *SYNAPSES))]
    assert all(chip.edge(n.inputs[0]).domain <= SPIKE for n in readers)
    assert (output(chip, x) == wanted).mean() > 0.9


def test_a_layer_that_another_reads_in_the_same_step(tmp_path: Path) -> None:
    """w reaches the readout at once and its own neurons a step later: with the bias both times."""
    r = np.random.default_rng(8)
    fc, w = affine(r, ENTRY), affine(r)
    nodes = {"fc": fc, "lif": lif(), "w": w, "read": lif(threshold=0.125)}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "w"), ("w", "lif")]
    source = network(nodes, [*edges, ("w", "read"), ("read", "output")])
    x = spikes_into()
    for when in ("always", "delayed"):
        s = plain(x, dense(fc), dense(w), when == "always")
        wanted = plain(s, dense(w), lambda s: 0 * s, False, threshold=0.125)
        assert 0.02 < wanted.mean() < 0.9
        graph = read(source, tmp_path, recurrent_bias=when)
        np.testing.assert_array_equal(output(graph, x), wanted)


@pytest.mark.parametrize("biased", ["w", "w2"])
def test_two_layers_of_neurons_in_a_loop(biased: str, tmp_path: Path) -> None:
    """Only the layer that closes the loop is in question: the other one sends in the same step."""
    r = np.random.default_rng(12)
    fc, w, w2 = affine(r, ENTRY), affine(r), affine(r)
    (w2 if biased == "w" else w).bias[:] = 0
    nodes = {"fc": fc, "lif": lif(), "w": w, "lif2": lif(), "w2": w2}
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "w"), ("w", "lif2"), ("lif2", "w2")]
    source = network(nodes, [*edges, ("w2", "lif"), ("lif2", "output")])
    x = spikes_into()

    def loop(always: bool) -> Any:
        v = u = np.zeros((x.shape[1], CELLS))
        back, made = (w2.bias if always else 0.0), []
        for frame in x:
            v = 0.75 * v + 0.25 * (dense(fc)(frame) + back)
            s = v > 0.25
            v = v * ~s
            u = 0.75 * u + 0.25 * dense(w)(s)
            made.append((u > 0.25).astype(np.float64))
            u, back = u * (1 - made[-1]), dense(w2)(made[-1])
        return np.stack(made)

    if biased == "w":
        np.testing.assert_array_equal(output(read(source, tmp_path), x), loop(False))
        with pytest.raises(NirFileError, match="nothing needs it"):
            read(source, tmp_path, recurrent_bias="always")
        return
    assert (loop(True) != loop(False)).any()
    for when in ("always", "delayed"):
        found = output(read(source, tmp_path, recurrent_bias=when), x)
        np.testing.assert_array_equal(found, loop(when == "always"))


def test_a_delay_node_says_itself_when_the_bias_begins(tmp_path: Path) -> None:
    source, into, inner = FORMS["flat"]
    x, said = spikes_into(), {"feedback": None}
    rest = [e for e in source.edges if "w" not in e]
    for way, always in ((("lif", "d", "w", "lif"), True), (("lif", "w", "d", "lif"), False)):
        nodes = {k: v for k, v in source.nodes.items() if k not in ("input", "output")}
        edges = [*rest, *pairwise(way)]
        written = network(nodes | {"d": nir.Delay(DT * ONE)}, edges)
        graph = read(written, tmp_path, **said)
        np.testing.assert_array_equal(output(graph, x), plain(x, into, inner, always))
        with pytest.raises(NirFileError, match="nothing needs it"):
            read(written, tmp_path, recurrent_bias="always", **said)


# Asked for where it decides, and only there.


def test_it_is_asked_for_with_all_that_is_missing(tmp_path: Path) -> None:
    nir.write(tmp_path / "f.nir", FORMS["subgraph"][0])
    with pytest.raises(NirFileError, match="open: dt, steps, reset, recurrent_bias") as e:
        read_nir(tmp_path / "f.nir")
    why = e.value.open["recurrent_bias"]
    assert "snnTorch" in why and "Norse" in why
    with pytest.raises(UsageError, match="recurrent_bias cannot have this value"):
        read_nir(tmp_path / "f.nir", recurrent_bias="late")  # type: ignore[arg-type]


def test_without_a_bias_it_is_refused(tmp_path: Path) -> None:
    r = np.random.default_rng(8)
    fc, w = affine(r, ENTRY), affine(r)
    w.bias[:] = 0
    read(recurrent(lif(), w, fc), tmp_path)
    for source in (recurrent(lif(), w, fc), recurrent(lif(), nir.Linear(w.weight), fc)):
        with pytest.raises(NirFileError, match="nothing needs it"):
            read(source, tmp_path, recurrent_bias="delayed")


@pytest.mark.parametrize("when", ["always", "delayed"])
def test_our_own_file_says_it(when: Any, tmp_path: Path) -> None:
    """Real numbers, with the delay where it was put: in plain nodes, and back."""
    graph = read(FORMS["flat"][0], tmp_path, recurrent_bias=when)
    write_nir(graph, tmp_path / "own.nir")
    assert str(read_nir(tmp_path / "own.nir")) == str(graph)
    behind = {"always": ("lif.late", "w"), "delayed": ("w", "w.late")}[when]
    assert behind in nir.read(tmp_path / "own.nir", type_check=False).edges
    with pytest.raises(NirFileError, match="states another recurrent_bias"):
        read_nir(tmp_path / "own.nir", recurrent_bias=when)


@pytest.mark.parametrize("when", [None, "always", "delayed"])
def test_a_delay_that_only_a_convention_put_there_is_not_judged(when: Any, tmp_path: Path) -> None:
    """Both checks of the file come to one verdict: it has synapses and neurons, no delay."""
    r = np.random.default_rng(8)
    fc, w = affine(r, ENTRY), affine(r)
    w.bias[:] *= when is not None
    nir.write(tmp_path / "f.nir", recurrent(cuba(), w, fc))
    said: Any = {"feedback": "previous", "recurrent_bias": when, "current": "new"}
    stated = Stated(dt=DT, reset="zero", steps=STEPS, spike_input=True, fires="above", **said)
    graph, second, _ = read_file(tmp_path / "f.nir", stated)
    found = static_findings(graph, read_policy("leaky"), second)
    rules = {f.rule.id for f in found if f.status == "FAIL"}
    assert {"PS004", "PS014"} <= {f.rule.id for f in found if f.status == "PASS"}
    assert rules <= {"PS007", "PS008"}  # it is not in integers yet


# On the chip.


def cells(reset: str, current: bool, seed: int, path: Path, when: Any, large: float = 1.0) -> Graph:
    r = np.random.default_rng(seed)
    w = affine(r)
    w.bias[:] *= large
    said = {"current": "new"} if current else {}
    source = recurrent(cuba() if current else lif(), w, affine(r, ENTRY))
    return read(source, path, reset=reset, recurrent_bias=when, **said)


QUICK = [("delayed", "zero", True, 1.0), ("delayed", "subtract", False, 4.0)]
SLOW = [
    (when, reset, current, large)
    for when in ("always", "delayed")
    for reset in ("zero", "subtract")
    for current in (True, False)
    for large in (1.0, 4.0)
]


@pytest.mark.parametrize(
    ("when", "reset", "current", "large"),
    [*QUICK, *(pytest.param(*c, marks=pytest.mark.slow) for c in SLOW if c not in QUICK)],
)
def test_it_goes_to_every_target(
    when: str, reset: str, current: bool, large: float, tmp_path: Path
) -> None:
    graph = cells(reset, current, 2, tmp_path, when, large)
    chip = quantized(graph)
    x = spikes_into()
    wanted = output(chip, x)
    assert 0.02 < wanted.mean() < 0.9
    assert (wanted == output(graph, x)).mean() > 0.9
    assert all(
        chip.edge(n.inputs[0]).domain <= SPIKE for n in chip.nodes if isinstance(n.op, Delay)
    )
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_replay(chip, x, tmp_path)
    agree_on_lava(chip, x)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["always", "delayed"])
def test_lava_itself(when: str, tmp_path: Path) -> None:
    chip = quantized(cells("zero", True, 2, tmp_path, when))
    x = spikes_into()
    np.testing.assert_array_equal(simulate(chip, x).spikes["lif"], run(chip, x).values["lif"])


def test_a_large_bias_is_shared_and_keeps_the_scale_of_the_weights(tmp_path: Path) -> None:
    one, four = (cells("zero", False, 2, tmp_path, "delayed", large) for large in (1.0, 4.0))
    sizes, scales = [], []
    for graph in (one, four):
        chip = quantized(graph)
        (always,) = [n for n in chip.nodes if n.name.endswith(".bias.always")]
        sizes.append(always.output.shape)
        scales.append(
            next(n.op.threshold for n in chip.nodes if n.name == "lif" and isinstance(n.op, Neuron))
        )
        made = run(chip, spikes_into()).values
        # What arrives is the bias in whole numbers, from the second step on.
        bias = made["w.late.bias"]
        assert not bias[0].any() and (bias[1:] == bias[1]).all() and bias[1].any()
    # The same but for what makes all weights whole parts of the threshold.
    assert sizes == [(1,), (4,)] and 0.9 < scales[0] / scales[1] < 1.1


def test_the_ledger_says_what_delivers_it(tmp_path: Path) -> None:
    graph = cells("zero", True, 2, tmp_path, "delayed")
    (note,) = unfolded(graph, fold_scales(graph))
    assert note == (
        "the bias of w begins 1 step late: 1 neuron that fires at every step delivers it"
    )
