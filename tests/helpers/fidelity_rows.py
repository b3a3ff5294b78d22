"""One small network for each thing that a network can hold, in the chip's integers where it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, Op
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)

FIXED = FixedPoint()
FLAT, IMAGE = Edge("x", (6,), SPIKE), Edge("x", (4, 4, 4), SPIKE)
Layers = list[tuple[str, Op, tuple[str, ...]]]


def weights(*shape: int, low: int = -20, high: int = 31, seed: int = 3) -> Any:
    """Whole numbers, both ends of the range among them."""
    w = np.random.default_rng(seed).integers(low, high, shape).astype(np.float64)
    w.flat[:2] = low, high - 1
    return w


def neuron(threshold: Any = 12.0, decay: float = 1.0, reset: Any = "zero", **more: Any) -> Neuron:
    """With whole thresholds; one that leaks compares on the finer grid of its membrane."""
    leaks = decay not in (0.0, 1.0) or more.get("current_decay", 0.0) != 0.0
    fine = np.asarray(threshold, float) + (2.0**-6 if leaks else 0.0)
    return Neuron(fine, decay, reset, fixed=FIXED, **more)


def net(layers: Layers, *outputs: str, inputs: tuple[Edge, ...] = (FLAT,), steps: int = 6) -> Graph:
    """The network; a layer may read what stands further down."""
    shapes: dict[str, Edge] = {e.name: e for e in inputs}
    first = inputs[0]
    drafts = []
    for name, op, reads in layers:
        known = [shapes.get(r, Edge(r, first.shape, SPIKE)) for r in reads]
        shapes[name] = Edge(name, *op.infer(*known))
        drafts.append(Node(op, reads, shapes[name]))
    return Graph(inputs, (), outputs, steps).rebuilt(drafts)


def dense(op: Op, *, weight: Any = None, bias: Any = None) -> Graph:
    """A linear layer and a neuron."""
    layer = Linear(weights(6, 6) if weight is None else weight, bias)
    return net([("fc", layer, ("x",)), ("n", op, ("fc",))], "n")


def conv(*layers: Any, geometry: dict[str, Any] | None = None, **more: Any) -> Graph:
    """A convolution and a neuron on an image; further layers behind."""
    w = weights(4, 4 // (geometry or {}).get("groups", 1), 3, 3)
    first: Layers = [
        ("c", Conv2d(w, **(geometry or {"padding": (1, 1)})), ("x",)),
        ("n", neuron(20.0), ("c",)),
    ]
    return net([*first, *layers], layers[-1][0] if layers else "n", inputs=(IMAGE,), **more)


def residual() -> Graph:
    second = Conv2d(weights(4, 4, 3, 3, seed=4), padding=(1, 1))
    return conv(
        ("d", second, ("n",)),
        ("one", Scale(np.array(30.0)), ("n",)),
        ("sum", Add(), ("d", "one")),
        ("m", neuron(25.0), ("sum",)),
    )


def shared() -> Graph:
    """A current that two layers of neurons take."""
    layers: Layers = [
        ("fc", Linear(weights(6, 6)), ("x",)),
        ("a", neuron(10.0), ("fc",)),
        ("b", neuron(30.0), ("fc",)),
    ]
    return net(layers, "a", "b")


def gates() -> Graph:
    pair: Layers = [
        ("fa", Linear(weights(6, 6)), ("x",)),
        ("a", neuron(10.0), ("fa",)),
        ("fb", Linear(weights(6, 6, seed=5)), ("x",)),
        ("b", neuron(10.0), ("fb",)),
        ("g1", Gate("iand"), ("a", "b")),
        ("g2", Gate("or"), ("g1", "x")),
        ("g3", Gate("and"), ("g2", "b")),
        ("g4", Gate("xor"), ("g3", "a")),
        ("fo", Linear(weights(6, 6, seed=6)), ("g4",)),
        ("o", neuron(8.0), ("fo",)),
    ]
    return net(pair, "o")


def loop(delay: Any, *, length: int = 1) -> Graph:
    """A layer that hears itself, through one synapse or two."""
    layers: Layers = [("fc", Linear(weights(6, 6)), ("x",)), ("late", Delay(delay), ("n",))]
    heard = "late"
    if length == 2:
        layers += [("fm", Linear(weights(6, 6, seed=7)), ("late",)), ("m", neuron(9.0), ("fm",))]
        heard = "m"
    layers += [
        ("back", Linear(weights(6, 6, seed=8)), (heard,)),
        ("sum", Add(), ("fc", "back")),
        ("n", neuron(15.0), ("sum",)),
    ]
    return net(layers, "n", steps=8)


def ungated() -> Graph:
    """Spikes added to spikes, SEW's ADD, in front of a synapse."""
    layers: Layers = [
        ("fa", Linear(weights(6, 6)), ("x",)),
        ("a", neuron(10.0), ("fa",)),
        ("add", Add(), ("a", "x")),
        ("fo", Linear(weights(6, 6, seed=6)), ("add",)),
        ("o", neuron(8.0), ("fo",)),
    ]
    return net(layers, "o")


def pooled(op: Op, *, low: int = -20) -> Graph:
    return conv(
        ("p", op, ("n",)),
        ("d", Conv2d(4 * weights(4, 4, 2, 2, low=low, seed=9)), ("p",)),
        ("m", neuron(40.0), ("d",)),
    )


def two_inputs() -> Graph:
    layers: Layers = [
        ("fa", Linear(weights(6, 6)), ("x",)),
        ("fb", Linear(weights(6, 6, seed=5)), ("y",)),
        ("sum", Add(), ("fa", "fb")),
        ("n", neuron(), ("sum",)),
    ]
    return net(layers, "n", inputs=(FLAT, Edge("y", (6,), SPIKE)))


def readout() -> Graph:
    head = Linear(weights(3, 64, seed=10), weights(3, seed=11))
    out = Neuron(np.array(np.inf), 1.0, "none", fixed=FIXED)
    return conv(("flat", Flatten(), ("n",)), ("fc", head, ("flat",)), ("out", out, ("fc",)))


def one_to_one(factor: Any) -> Graph:
    return net([("s", Scale(factor), ("x",)), ("n", neuron(10.0), ("s",))], "n")


def levels() -> Graph:
    thresholds = np.array([4.0, 9.0, 15.0])
    layers: Layers = [
        ("fc", Linear(weights(6, 6)), ("x",)),
        ("l", Levels(thresholds), ("fc",)),
        ("fo", Linear(weights(6, 6, seed=6)), ("l",)),
        ("o", neuron(20.0), ("fo",)),
    ]
    return net(layers, "o")


def normalized() -> Graph:
    ones = np.ones(4)
    norm = BatchNorm(2 * ones, ones, 0 * ones, ones, 0.0)
    return net(
        [
            ("c", Conv2d(weights(4, 4, 3, 3)), ("x",)),
            ("bn", norm, ("c",)),
            ("n", neuron(20.0), ("bn",)),
        ],
        "n",
        inputs=(IMAGE,),
    )


def analog() -> Graph:
    layers: Layers = [("fc", Linear(weights(6, 6)), ("x",)), ("n", neuron(), ("fc",))]
    return net(layers, "n", inputs=(Edge("x", (6,), ANALOG),))


ROWS: dict[str, Callable[[], Graph]] = {
    "reset to zero": lambda: dense(neuron()),
    "reset by subtraction": lambda: dense(neuron(12.0, 1.0, "subtract")),
    "reset by another amount": lambda: dense(neuron(12.0, 1.0, "subtract", amount=np.array(7.0))),
    "neurons that are never reset": lambda: dense(
        neuron(12.0, 1.0, "subtract", amount=np.array(0.0))
    ),
    "memoryless neurons": lambda: dense(neuron(2.0, 0.0), weight=weights(6, 6, low=-3, high=4)),
    "an integrator as readout": readout,
    "a leak": lambda: dense(neuron(12.0, 3500 / 4096)),
    "a leak with reset by subtraction": lambda: dense(
        neuron(12.0, 3500 / 4096, "subtract", amount=np.array(12.0))
    ),
    "a synaptic current": lambda: dense(neuron(12.0, 3500 / 4096, current_decay=2000 / 4096)),
    "a threshold for each channel": lambda: dense(neuron(weights(6, low=3, high=20))),
    "a threshold for each neuron of an image": lambda: net(
        [
            ("c", Conv2d(weights(4, 4, 3, 3), padding=(1, 1)), ("x",)),
            ("n", neuron(weights(4, 4, 4, low=3, high=30)), ("c",)),
        ],
        "n",
        inputs=(IMAGE,),
    ),
    "biases": lambda: dense(neuron(), bias=weights(6, seed=12)),
    "an initial membrane": lambda: dense(neuron(initial=5.0)),
    "a membrane that saturates": lambda: net(
        [
            ("fc", Linear(weights(6, 6), np.full(6, 4095.0)), ("x",)),
            ("n", neuron(100000.0, 1.0, "subtract", amount=np.array(1.0)), ("fc",)),
        ],
        "n",
        steps=40,
    ),
    "a delay": lambda: net(
        [
            ("late", Delay(2), ("x",)),
            ("fc", Linear(weights(6, 6)), ("late",)),
            ("n", neuron(), ("fc",)),
        ],
        "n",
    ),
    "a delay for each place": lambda: net(
        [
            ("late", Delay(np.array([1, 2, 3, 1, 2, 4])), ("x",)),
            ("fc", Linear(weights(6, 6)), ("late",)),
            ("n", neuron(), ("fc",)),
        ],
        "n",
    ),
    "a loop": lambda: loop(1),
    "a loop that is slower by place": lambda: loop(np.array([1, 2, 3, 1, 2, 4])),
    "a loop with two synapses in one step": lambda: loop(1, length=2),
    "a sum of synapses (residual join)": residual,
    "a current of two layers": shared,
    "logical gates of spikes": gates,
    "a sum of spikes (SEW's ADD)": ungated,
    "one weight for each place": lambda: one_to_one(weights(6, low=-9, high=30)),
    "stride and padding": lambda: conv(geometry={"stride": (2, 2), "padding": (1, 1)}),
    "dilation": lambda: conv(geometry={"dilation": (2, 2), "padding": (2, 2)}),
    "groups": lambda: conv(geometry={"groups": 2, "padding": (1, 1)}),
    "depthwise": lambda: conv(geometry={"groups": 4, "padding": (1, 1)}),
    "max pooling of spikes": lambda: pooled(MaxPool2d((2, 2), (2, 2))),
    "average pooling": lambda: pooled(AvgPool2d((2, 2), (2, 2))),
    "batch norm": normalized,
    "weights of 4 bits": lambda: dense(neuron(5.0), weight=weights(6, 6, low=-8, high=8)),
    "weights of 8 bits": lambda: dense(neuron(60.0), weight=weights(6, 6, low=-128, high=128)),
    "8-bit weights of one sign": lambda: dense(
        neuron(300.0), weight=weights(6, 6, low=0, high=256)
    ),
    "weights of 16 bits": lambda: dense(
        neuron(9000.0), weight=np.diag(weights(6, low=9000, high=2**15))
    ),
    "weights of 24 bits": lambda: dense(
        neuron(1e5), weight=weights(6, 6, low=-(2**22), high=2**23)
    ),
    "several outputs": lambda: net(
        [
            ("fa", Linear(weights(6, 6)), ("x",)),
            ("a", neuron(10.0), ("fa",)),
            ("fb", Linear(weights(3, 6, seed=5)), ("a",)),
            ("b", neuron(10.0), ("fb",)),
        ],
        "a",
        "b",
    ),
    "several inputs": two_inputs,
    "one time step": lambda: net(
        [("fc", Linear(weights(6, 6)), ("x",)), ("n", neuron(9.0), ("fc",))], "n", steps=1
    ),
    "levels (integer activations)": levels,
    "an analog input": analog,
    "real weights": lambda: dense(Neuron(np.array(0.9)), weight=weights(6, 6) / 17),
}  # fmt: skip
