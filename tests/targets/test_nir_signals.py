"""Conv1d and pools of signals (C, L): torch's values, a loop of their own, every target."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from helpers.nir_targets import agree_on_lava, agree_on_onnx_and_nir, quantized, random_spikes

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import AvgPool2d, Conv2d
from purespike.compiler.ir.verify import verify
from purespike.judge.independent import second_verdict
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.guard.guard import load
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")

SAID: dict[str, Any] = {
    "dt": 1e-3, "steps": 7, "reset": "zero", "if_r": "step", "domain": SPIKE, "fires": "above"
}  # fmt: skip
R = np.random.default_rng(5)


def halves(*shape: int) -> Any:
    """Weights on a grid, so that sums are exact in any order."""
    return R.integers(-8, 13, shape) / 4


def file(path: Path, nodes: dict[str, Any], *, entry: Any, out: Any) -> Path:
    names = ["in", *nodes, "out"]
    ports = {"in": nir.Input(np.array(entry)), "out": nir.Output(np.array(out))}
    graph = nir.NIRGraph({**ports, **nodes}, list(pairwise(names)), type_check=False)
    nir.write(path / "f.nir", graph)
    return path / "f.nir"


def conv(
    weight: Any,
    stride: int = 1,
    padding: Any = 0,
    dilation: int = 1,
    groups: int = 1,
    length: int = 8,
) -> nir.Conv1d:
    return nir.Conv1d(length, weight, stride, padding, dilation, groups, halves(len(weight)))


GEOMETRIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "stride": {"stride": 3, "padding": 2},
    "dilation": {"dilation": 2, "padding": 1},
    "groups": {"groups": 2, "stride": 2},
    "depthwise": {"groups": 4, "dilation": 3, "padding": 3},
    "same": {"padding": "same", "dilation": 2},
    "valid": {"padding": "valid", "stride": 2},
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_values_of_torch_and_a_loop_of_neurons(name: str, tmp_path: Path) -> None:
    said = GEOMETRIES[name]
    node = conv(
        halves(6 if "groups" not in said else 8, 4 // said.get("groups", 1), 3), length=12, **said
    )
    with torch.no_grad():
        layer = torch.nn.Conv1d(4, len(node.weight), 3, **said, dtype=torch.float64)
        layer.weight.copy_(torch.from_numpy(node.weight))
        layer.bias.copy_(torch.from_numpy(node.bias))
        shape = tuple(layer(torch.zeros(1, 4, 12, dtype=torch.float64)).shape[1:])
    threshold = R.integers(2, 9, shape) / 4
    lif = nir.LIF(
        tau=np.full(shape, 4e-3), r=np.full(shape, 4.0), v_leak=np.zeros(shape),
        v_threshold=threshold, v_reset=np.zeros(shape),
    )  # fmt: skip
    path = file(tmp_path, {"c": node, "s": lif}, entry=(4, 12), out=shape)
    graph = read_nir(path, **SAID)
    verify(graph)
    assert graph.inputs[0].shape == (4, 1, 12) and graph.edge("s").shape == (shape[0], 1, shape[1])
    x = random_spikes(graph, 3)
    found = run(graph, x).values
    with torch.no_grad():
        current = layer(torch.from_numpy(x[:, :, :, 0]).flatten(0, 1)).numpy()
    current = current.reshape(7, 3, *shape)
    np.testing.assert_array_equal(found["c"][:, :, :, 0], current)
    v = np.zeros((3, *shape))
    spikes = []
    for frame in current:
        v = 0.75 * v + frame
        spikes.append(v > threshold)
        v = np.where(spikes[-1], 0.0, v)
    assert 0.05 < np.mean(spikes) < 0.95
    np.testing.assert_array_equal(found["s"][:, :, :, 0], np.stack(spikes))


def network(path: Path, pool: Any) -> Path:
    """Conv1d, IF, a pool, a dilated Conv1d, IF, Delay and Scale by place, IF, Flatten, Affine."""
    ones = np.ones((4, 4))
    nodes = {
        "c1": conv(halves(4, 1, 3), padding=1, groups=2, length=13),
        "s1": nir.IF(np.ones((4, 13)), np.full((4, 13), 1.6)),
        "p": pool,
        "c2": conv(halves(4, 4, 2), dilation=2, length=6),
        "s2": nir.IF(ones, R.integers(3, 9, (4, 4)) / 2 + 0.1),
        "d": nir.Delay(1e-3 * R.integers(1, 3, (4, 4))),
        "w": nir.Scale(R.integers(1, 4, (4, 4)) / 2),
        "s3": nir.IF(ones, 1.1 * ones),
        "f": nir.Flatten({"input": np.array([4, 4])}, 0, 1),
        "fc": nir.Affine(halves(5, 16), halves(5)),
        "s4": nir.IF(np.ones(5), np.full(5, 2.1)),
    }
    return file(path, nodes, entry=(2, 13), out=(5,))


def reference(path: Path, x: Any) -> Any:
    """The output of `network` on (T, B, C, L), by torch and by NIR's definitions."""
    nodes = nir.read(path, type_check=False).nodes
    functional = torch.nn.functional

    def convolved(y: Any, n: Any) -> Any:
        weight, bias = torch.from_numpy(n.weight), torch.from_numpy(n.bias)
        rest = (int(n.stride), int(n.padding), int(n.dilation), int(n.groups))
        return functional.conv1d(torch.from_numpy(y), weight, bias, *rest).numpy()

    waits = np.rint(nodes["d"].delay / 1e-3).astype(int)
    v, past, out = dict.fromkeys(("s1", "s2", "s3", "s4"), 0.0), [], []

    def fires(name: str, current: Any) -> Any:
        v[name] = v[name] + current
        spikes = v[name] > nodes[name].v_threshold
        v[name] = np.where(spikes, 0.0, v[name])
        return spikes.astype(np.float64)

    for t, frame in enumerate(x):
        s1 = fires("s1", convolved(frame, nodes["c1"]))
        pooled = functional.avg_pool1d(torch.from_numpy(s1), 3, 2).numpy()
        pooled *= 3 if isinstance(nodes["p"], nir.SumPool2d) else 1
        past.append(fires("s2", convolved(pooled, nodes["c2"])))
        late = [past[t - k] if t >= k else 0 * past[t] for k in (1, 2)]
        s3 = fires("s3", np.where(waits == 1, *late) * nodes["w"].scale)
        current = s3.reshape(len(s3), -1) @ nodes["fc"].weight.T + nodes["fc"].bias
        out.append(fires("s4", current))
    return np.stack(out)


POOLS = {
    "sum": nir.SumPool2d(np.array([3]), np.array([2]), np.array([0])),
    "average": nir.AvgPool2d(3, np.array([2]), 0),
}


@pytest.mark.parametrize("kind", ["average", pytest.param("sum", marks=pytest.mark.slow)])
def test_a_network_of_signals(kind: str, tmp_path: Path) -> None:
    path = network(tmp_path, POOLS[kind])
    graph = read_nir(path, **SAID)
    verify(graph)
    assert isinstance(graph.producer("p").op, Conv2d if kind == "sum" else AvgPool2d)
    x = random_spikes(graph, 4)
    found = run(graph, x).values["s4"]
    assert 0.05 < found.mean() < 0.95
    np.testing.assert_array_equal(found, reference(path, x[:, :, :, 0]))
    chip = quantized(graph)
    agree_on_onnx_and_nir(chip, x, tmp_path)
    agree_on_lava(chip, x)
    stated = Conventions(1e-3, "zero", "step", 7, SPIKE)
    if kind == "sum":  # Lava itself, too
        wanted, ran = run(chip, x[:, :2]).values, simulate(chip, x[:, :2])
        assert ran.spikes.keys() >= {"s1", "s2", "s3", "s4"}
        for name, spikes in ran.spikes.items():
            np.testing.assert_array_equal(spikes, wanted[name], err_msg=name)
    problems = {p.node for p in second_verdict(load(path), stated).problems}
    assert problems == ({"c2"} if kind == "sum" else {"p", "c2"})  # not spikes: sums, averages


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"c": conv(halves(2, 2, 4), padding="same")}, "which side gets more"),
        ({"c": conv(halves(2, 2, 3), padding="same", stride=2)}, "'same' is not defined"),
        ({"c": conv(halves(2, 2, 9))}, "kernel is larger"),
        ({"c": conv(halves(2, 1, 3))}, "differ in shape"),
        ({"c": conv(halves(3, 1, 3), groups=2)}, "groups do not divide"),
        ({"c": conv(halves(2, 2, 3), length=7)}, "differ in shape"),
        ({"p": nir.SumPool2d(np.array([2, 2]), np.array([2]), np.array([0]))}, "does not fit"),
        ({"f": nir.Flatten({"input": np.array([2, 8])}, 1)}, "start_dim 1"),
    ],
)
def test_what_does_not_fit_is_refused(nodes: Any, message: str, tmp_path: Path) -> None:
    path = file(tmp_path, nodes, entry=(2, 8), out=(2, 8))
    with pytest.raises(NirFileError, match=message):
        read_nir(path, **SAID)


def test_a_file_may_leave_the_length_to_its_input(tmp_path: Path) -> None:
    path = file(tmp_path, {"c": conv(halves(2, 2, 3), length=7)}, entry=(2, 8), out=(2, 6))
    with h5py.File(path, "a") as f:
        del f["node/nodes/c/input_shape"]
    assert read_nir(path, **SAID).edge("c").shape == (2, 1, 6)


def test_a_conv1d_takes_no_image(tmp_path: Path) -> None:
    path = file(tmp_path, {"c": conv(halves(2, 2, 3))}, entry=(2, 1, 8), out=(2, 1, 6))
    with pytest.raises(NirFileError, match=r"of shape \(C, L\)"):
        read_nir(path, **SAID)
    pool = nir.SumPool2d(np.array([2]), np.array([2]), np.array([0]))
    path = file(tmp_path, {"p": pool}, entry=(2, 2, 8), out=(2, 1, 4))
    with pytest.raises(NirFileError, match="does not fit the axes"):
        read_nir(path, **SAID)


def test_two_axes_stay_where_nothing_takes_signals(tmp_path: Path) -> None:
    flat = nir.Flatten({"input": np.array([2, 3])}, 0)
    nodes = {"s": nir.Threshold(np.full((2, 3), 0.5)), "f": flat}
    graph: Graph = read_nir(file(tmp_path, nodes, entry=(2, 3), out=(6,)), **SAID)
    assert graph.inputs[0].shape == (2, 3)
