"""Files of a layer that keeps each shared weight once: byte for byte those of the full array."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import Conv2d, FixedPoint, Flatten, Linear, Neuron
from purespike.targets.bundle.golden_network import write_golden_network
from purespike.targets.nir.emit import write_nir
from purespike.targets.onnx import write_onnx

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
