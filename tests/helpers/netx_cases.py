"""Sequential integer networks for the tests of netx."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import Conv2d, FixedPoint, Flatten, Linear, Neuron

FIXED = FixedPoint()
CASES = ("dense", "image into dense", "vgg", "leaky", "grouped", "odd geometry")


def neuron(threshold: Any, decay: float = 1.0, **rest: Any) -> Neuron:
    return Neuron(threshold, decay=decay, fixed=FIXED, **rest)


def network(case: str) -> Graph:
    """One network a case; between them, everything that `write_netx` accepts."""
    r = np.random.default_rng(sum(case.encode()))

    def ints(*shape: int, high: int = 60) -> Any:
        return r.integers(-high // 2, high, shape)

    image, last = Edge("x", (2, 6, 5), SPIKE), ("readout", neuron(1.0, reset="none"), ("z",))
    if case == "dense":
        nodes: list[Any] = [
            ("a", Linear(ints(9, 12), ints(9)), ("x",)),
            ("n", neuron(40.0), ("a",)),
            ("b", Linear(np.abs(ints(7, 9)) + 1), ("n",)),  # one sign, an odd range
            ("m", neuron(61.0), ("b",)),
            ("z", Linear(ints(4, 7, high=3), ints(4)), ("m",)),
            last,
        ]
        return build((Edge("x", (12,), SPIKE),), nodes, ("readout",), 6, 2e-3)
    if case == "image into dense":
        nodes = [
            ("f", Flatten(), ("x",)),
            ("a", Linear(ints(8, 60), ints(8)), ("f",)),
            ("n", neuron(90.0), ("a",)),
        ]
        return build((image,), nodes, ("n",), 5)
    if case == "vgg":  # with a max-pool on spikes: one synapse a spike, memoryless neurons
        pool = Conv2d(np.ones((4, 1, 2, 2)), stride=(2, 2), groups=4)
        nodes = [
            ("c", Conv2d(ints(4, 2, 3, 3), ints(4), padding=(1, 1)), ("x",)),
            ("n", neuron(np.full((4, 1, 1), 70.0)), ("c",)),
            ("p", pool, ("n",)),
            ("m", neuron(1.0, 0.0), ("p",)),
            ("d", Conv2d(ints(3, 4, 2, 2)), ("m",)),
            ("o", neuron(80.0), ("d",)),
            ("f", Flatten(), ("o",)),
            ("z", Linear(ints(5, 6), ints(5)), ("f",)),
            last,
        ]
        return build((image,), nodes, ("readout",), 7)
    if case == "leaky":
        nodes = [
            ("c", Conv2d(ints(3, 2, 3, 3), ints(3)), ("x",)),
            ("n", neuron(50 + 1 / 64, 1 - 1000 / 4096), ("c",)),
            ("f", Flatten(), ("n",)),
            ("a", Linear(ints(6, 36)), ("f",)),
            ("m", neuron(75 + 1 / 64, 0.5), ("a",)),
        ]
        return build((image,), nodes, ("m",), 8)
    if case == "grouped":
        nodes = [
            ("c", Conv2d(ints(4, 1, 3, 3), ints(4), padding=(1, 1), groups=2), ("x",)),
            ("n", neuron(45.0), ("c",)),
            ("d", Conv2d(ints(6, 2, 1, 1), groups=2), ("n",)),
            ("m", neuron(50.0), ("d",)),
        ]
        return build((image,), nodes, ("m",), 5)
    if case == "odd geometry":
        geometry: dict[str, Any] = {"stride": (2, 1), "padding": (2, 0), "dilation": (1, 2)}
        nodes = [
            ("c", Conv2d(ints(3, 2, 3, 2), ints(3), **geometry), ("x",)),
            ("n", neuron(40.0), ("c",)),
            ("d", Conv2d(ints(2, 3, 2, 1)), ("n",)),
            ("m", neuron(90.0), ("d",)),
        ]
        return build((image,), nodes, ("m",), 6)
    raise ValueError(case)


def lava_dl_tests() -> Path:
    """The folder of netx's own test networks and ground truths, which lava-dl installs."""
    try:
        found = Path(str(distribution("lava-dl").locate_file("tests/lava/lib/dl/netx")))
    except PackageNotFoundError:
        pytest.skip("lava-dl is not installed")
    if not (found / "tiny.net").is_file():
        pytest.skip("lava-dl is installed without its tests")
    return found
