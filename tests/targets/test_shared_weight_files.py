"""Weights that are shared.

A layer that keeps each shared weight once has the files of the full array, byte for byte; the
copies of a layer that reads counts have one array in the files that can say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.strategies import spikes

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, FixedPoint, Flatten, Linear, Neuron
from purespike.targets.bundle.golden_network import write_golden_network
from purespike.targets.c.emit import sources
from purespike.targets.nir.emit import write_nir
from purespike.targets.onnx import qonnx_model, write_onnx
from purespike.targets.onnx.emit import step_model
from purespike.targets.onnx.graph import read_graph
from purespike.targets.onnx.run import run_onnx

pytestmark = pytest.mark.usefixtures("parsed_here")

RNG = np.random.default_rng(0)
CONV = np.rint(RNG.uniform(-30, 30, (3, 1, 3, 3)))
KEPT, BIAS = np.rint(RNG.uniform(-127, 127, (5, 3))), np.rint(RNG.uniform(-9, 9, 5))


def network(classifier: Linear) -> Graph:
    fixed = FixedPoint()
    return build(
        (Edge("x", (1, 6, 6), SPIKE),),
        [
            ("c", Conv2d(CONV), ("x",)),
            ("n", Neuron(np.asarray(20.0), fixed=fixed), ("c",)),
            ("flat", Flatten(), ("n",)),
            ("fc", classifier, ("flat",)),
            ("out", Neuron(np.asarray(np.inf), reset="none", fixed=fixed), ("fc",)),
        ],
        ("out",),
        steps=3,
    )


@pytest.mark.parametrize(
    "write",
    [
        lambda g, folder: write_nir(g, folder / "model.nir"),
        lambda g, folder: write_onnx(g, folder / "model.onnx"),
        write_golden_network,
    ],
    ids=["NIR", "ONNX", "golden network"],
)
def test_same_bytes(write: Callable[[Graph, Path], object], tmp_path: Path) -> None:
    written = []
    for name, op in (
        ("shared", Linear.shared(KEPT, BIAS, 16)),
        ("full", Linear(np.repeat(KEPT, 16, axis=1), BIAS)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        write(network(op), folder)
        written.append({p.name: p.read_bytes() for p in sorted(folder.iterdir())})
    assert written[0] == written[1] and written[0]


def counted(suffix: str) -> Graph:
    """Two layers that read one count each, in three copies; the last of the second differs."""
    fixed = FixedPoint()
    w = RNG.integers(-30, 31, (2, 5, 12)).astype(np.float64)
    wide = [w[1], w[1], np.roll(w[1], 1)]
    nodes = []
    for k, high in enumerate((20.0, 40.0, 60.0)):
        nodes += [
            (f"n{k}", Linear(np.eye(12) * 50), ("x",)),
            (f"s{k}", Neuron(np.asarray(high), fixed=fixed), (f"n{k}",)),
            (f"a{suffix}{k + 1}", Linear(w[0], np.ones(5) if not k else None), (f"s{k}",)),
            (f"b{suffix}{k + 1}", Linear(wide[k]), (f"s{k}",)),
        ]
    for name in "ab":
        nodes += [
            (name, Add(), tuple(f"{name}{suffix}{k}" for k in (1, 2, 3))),
            (f"{name}_out", Neuron(np.asarray(30.0), fixed=fixed), (name,)),
        ]
    return build((Edge("x", (12,), SPIKE),), nodes, ("a_out", "b_out"), steps=4)


def weights_of(model: onnx.ModelProto) -> set[str]:
    names = [t.name for t in model.graph.initializer if t.name.endswith("/weight")]
    return {n.removesuffix("/weight") for n in names if n[0] in "ab"}


def test_copies_of_a_layer_share_their_weights(tmp_path: Path) -> None:
    """Only those that `unroll_levels` names, and only where they are equal."""
    graph, x = counted(".level"), spikes(counted(".level"), 3, seed=1)
    own = {"a.level1", "b.level1", "b.level3"}
    assert weights_of(step_model(graph)) == weights_of(qonnx_model(graph)) == own
    write_golden_network(graph, tmp_path)
    with np.load(tmp_path / "golden_network.npz") as numbers:
        kept = {k.removesuffix("/weight") for k in numbers if k[0] in "ab" and "/weight" in k}
    nodes = json.loads((tmp_path / "golden_network.json").read_text())["nodes"]
    named = {n["name"]: n["weight"] for n in nodes if ".level" in n["name"]}
    assert kept == own and named["b.level2"] == "b.level1/weight" != named["b.level3"]
    text = sources(graph)["parameters.c"]
    held = re.search(r"network_int8\[(\d+)\]", text)
    assert held is not None and int(held[1]) == 12 * 12 + len(own) * 5 * 12

    write_onnx(graph, tmp_path / "model.onnx")
    expected = run(graph, x)
    for again in (graph, read_graph(tmp_path / "model.onnx")):
        found = run_onnx(step_model(again), again, x)
        for name in ("a_out", "b_out"):
            assert np.array_equal(found.values[name], expected.values[name]), name
            assert expected.values[name].any()


def test_other_layers_with_equal_weights_keep_their_own(tmp_path: Path) -> None:
    every = {f"{name}-of{k}" for name in "ab" for k in (1, 2, 3)}
    assert weights_of(step_model(counted("-of"))) == every
    write_golden_network(counted("-of"), tmp_path)
    with np.load(tmp_path / "golden_network.npz") as numbers:
        assert every <= {k.removesuffix("/weight") for k in numbers}
