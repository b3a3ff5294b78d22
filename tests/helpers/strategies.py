"""Random networks: hypothesis draws the structure, a seed in it gives the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Op, Shape, build
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    FixedPoint,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)

FIXED = FixedPoint()
LEAK = 2.0**-12


class Draft:
    """A network under construction: each method appends a node and returns its name."""

    def __init__(self, shape: Shape, steps: int) -> None:
        self.input = Edge("x", shape, SPIKE)
        self.steps = steps
        self.shapes: dict[str, Shape] = {"x": shape}
        self.nodes: list[tuple[str, Op, tuple[str, ...]]] = []

    def put(self, op: Op, *reads: str) -> str:
        """Append a node; its name tells its place and kind."""
        name = f"n{len(self.nodes)}.{type(op).__name__.lower()}"
        edges = [Edge(r, self.shapes[r], SPIKE) for r in reads]
        # Shapes do not depend on domains, so spikes stand in for whatever is read.
        self.shapes[name] = op.infer(*edges)[0]
        self.nodes.append((name, op, reads))
        return name

    def graph(self, *outputs: str) -> Graph:
        """The finished network."""
        return build((self.input,), self.nodes, outputs, self.steps)


def spikes(graph: Graph, samples: int, seed: int) -> Array:
    """Random spike trains (T, B, *shape), each sample at a rate of its own."""
    r = np.random.default_rng(seed)
    rates = r.random((1, samples, *(1 for _ in graph.inputs[0].shape)))
    shape = (graph.steps, samples, *graph.inputs[0].shape)
    return (r.random(shape) < rates).astype(np.float64)


def _pair(draw: Any, low: int, high: int) -> tuple[int, int]:
    return draw(st.integers(low, high)), draw(st.integers(low, high))


def conv_geometry(draw: Any, shape: Shape) -> dict[str, Any]:
    """A kernel with stride, padding, dilation and groups that fits (C, H, W)."""
    channels, *size = shape
    dilation = _pair(draw, 1, 2)
    padding = _pair(draw, 0, 2)
    kernel = tuple(
        draw(st.integers(1, max(1, min(3, (n + 2 * p - 1) // d + 1))))
        for n, p, d in zip(size, padding, dilation, strict=True)
    )
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    return {
        "out": groups * draw(st.integers(1, 2)),
        "kernel": kernel,
        "stride": _pair(draw, 1, 2),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }


def convolution(
    geometry: dict[str, Any], channels: int, values: Callable[..., Array], bias: bool
) -> Conv2d:
    """The convolution with weights from ``values(shape)``."""
    g = geometry
    weight = values((g["out"], channels // g["groups"], *g["kernel"]))
    shift = values((g["out"],)) if bias else None
    return Conv2d(weight, shift, g["stride"], g["padding"], g["dilation"], g["groups"])


@st.composite
def input_shapes(draw: Any) -> Shape:
    """(C, H, W), small and seldom square."""
    return (draw(st.integers(1, 3)), draw(st.integers(2, 6)), draw(st.integers(2, 6)))


@st.composite
def chip_graphs(draw: Any, *, max_steps: int = 4) -> Graph:
    """A graph in integers as the last pass leaves it, without recurrence.

    Joins of one to three synapses from any earlier layers (relays and delays in Lava), biases,
    soft reset, leaky and memoryless neurons, thresholds by neuron, a readout after a flatten.
    """
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    draft = Draft(draw(input_shapes()), draw(st.integers(1, max_steps)))
    images = ["x"]
    for _ in range(draw(st.integers(1, 4))):
        source = draw(st.sampled_from(images))
        geometry = conv_geometry(draw, draft.shapes[source])
        wide = draw(st.booleans())
        values = _whole(r, 127 if wide else 3)
        bias = draw(st.booleans())
        current = draft.put(convolution(geometry, draft.shapes[source][0], values, bias), source)
        shape = draft.shapes[current]
        currents = [current]
        for other in images:
            if draft.shapes[other] == shape and draw(st.booleans()):
                factor = values(draw(st.sampled_from([(), (shape[0], 1, 1), shape])))
                currents.append(draft.put(Scale(factor), other))
            elif draft.shapes[other][1:] == shape[1:] and draw(st.booleans()):
                kernel = values((shape[0], draft.shapes[other][0], 1, 1))
                currents.append(draft.put(Conv2d(kernel, values((shape[0],))), other))
        images.append(draft.put(chip_neuron(draw, r, shape, wide), _joined(draft, currents)))
    flat = draft.put(Flatten(), draw(st.sampled_from(images)))
    (size,) = draft.shapes[flat]
    values = _whole(r, 127)
    hidden = draw(st.booleans())
    if hidden:
        # One-to-one synapses from a flattened image, in step with a linear layer.
        currents = [draft.put(Linear(values((size, size)), values((size,))), flat)]
        if draw(st.booleans()):
            currents.append(draft.put(Scale(values((size,))), flat))
        flat = draft.put(chip_neuron(draw, r, (size,), True), _joined(draft, currents))
    readout = draft.put(Linear(values((3, size)), values((3,))), flat)
    out = draft.put(Neuron(np.inf, reset="none", fixed=FIXED), readout)
    return draft.graph(out)


def _joined(draft: Draft, currents: list[str]) -> str:
    return currents[0] if len(currents) == 1 else draft.put(Add(), *currents)


def _whole(r: np.random.Generator, limit: int) -> Callable[..., Array]:
    return lambda shape: r.integers(-limit // 2, limit + 1, shape).astype(np.float64)


def chip_neuron(
    draw: Any, r: np.random.Generator, shape: Shape, wide: bool, *, currents: bool = False
) -> Neuron:
    """A neuron in integers: IF or leaky, hard or soft reset, or memoryless where weights allow.

    With ``currents``, every other one keeps a synaptic current that fades.
    """
    top = 200 if wide else 6
    kinds = ["if", "soft", "leaky", "leaky soft"]
    kind = draw(st.sampled_from(kinds if wide else [*kinds, "memoryless"]))
    place = draw(st.sampled_from([(), (shape[0], *(1 for _ in shape[1:])), shape]))
    threshold = r.integers(1, 64 if kind == "memoryless" else top, place).astype(np.float64)
    amount = r.integers(1, 2 * top, place).astype(np.float64)
    decay = {"if": 1.0, "soft": 1.0, "memoryless": 0.0}.get(
        kind, float(draw(st.integers(1, 4095))) * LEAK
    )
    fades = currents and draw(st.booleans())
    current_decay = draw(st.sampled_from([1, 2048, 3500, 4095])) * LEAK if fades else 0.0
    leaky = "leaky" in kind or fades
    return Neuron(
        threshold + (2.0**-6 if leaky else 0.0),
        decay,
        "subtract" if "soft" in kind else "zero",
        amount,
        fixed=FIXED,
        current_decay=current_decay,
    )


@st.composite
def trained_graphs(draw: Any) -> Graph:
    """A graph as a trained network is captured: batch norms, pools, gates, factors, means.

    Weights are real numbers, so that no membrane meets its threshold exactly.
    """
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    draft = Draft(draw(input_shapes()), draw(st.integers(1, 4)))
    images = ["x"]
    for _ in range(draw(st.integers(1, 4))):
        images.append(_trained_block(draw, r, draft, images))
    out = _trained_readout(draw, r, draft, images[-1])
    return draft.graph(out)


def _real(r: np.random.Generator) -> Callable[..., Array]:
    return lambda shape: r.normal(0.2, 1.0, shape)


def _trained_block(draw: Any, r: np.random.Generator, draft: Draft, images: list[str]) -> str:
    source = draw(st.sampled_from(images))
    channels, height, width = draft.shapes[source]
    values = _real(r)
    kinds = ["conv", "conv", "gate", "identity", "max", "average"]
    kind = draw(st.sampled_from(kinds if min(height, width) > 1 else kinds[:4]))
    if kind == "conv":
        geometry = conv_geometry(draw, draft.shapes[source])
        return _trained_neuron(
            draw, r, draft, convolution(geometry, channels, values, draw(st.booleans())), source
        )
    if kind == "max":
        return draft.put(MaxPool2d(*_pool(draw, height, width)), source)
    if kind == "average":
        pooled = draft.put(AvgPool2d(*_pool(draw, height, width)), source)
        if draw(st.booleans()):
            return draft.put(_real_neuron(draw, r), pooled)
        return _trained_neuron(
            draw, r, draft, convolution(conv_geometry(draw, draft.shapes[pooled]), channels,
                                        values, draw(st.booleans())), pooled
        )  # fmt: skip
    same = Conv2d(values((channels, channels, 3, 3)), None, (1, 1), (1, 1))
    if kind == "gate":
        count = draw(st.integers(1, 2))
        others = [_trained_neuron(draw, r, draft, same, source) for _ in range(count)]
        gates = ["and", "or", "iand", "xor"] if count == 1 else ["and", "or", "xor"]
        reads = draw(st.permutations([source, *others]))
        return draft.put(Gate(draw(st.sampled_from(gates))), *reads)
    current = draft.put(Add(), *draw(st.permutations([draft.put(same, source), source])))
    return draft.put(_real_neuron(draw, r), current)


def _pool(draw: Any, height: int, width: int) -> tuple[Any, Any, Any]:
    kernel = (draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width))))
    stride = draw(st.sampled_from([kernel, (1, 1), (2, 1)]))
    padding = draw(st.sampled_from([(0, 0), (kernel[0] // 2, kernel[1] // 2)]))
    return kernel, stride, padding


def _trained_neuron(draw: Any, r: np.random.Generator, draft: Draft, layer: Op, source: str) -> str:
    current = draft.put(layer, source)
    channels = draft.shapes[current][0]
    if draw(st.booleans()):
        gamma, beta, mean = (r.normal(1, 0.5, channels) for _ in range(3))
        current = draft.put(BatchNorm(gamma, beta, mean, r.random(channels), 1e-5), current)
    if draw(st.booleans()):
        factor = draw(st.sampled_from([(), (channels, 1, 1)]))
        current = draft.put(Scale(0.3 + r.random(factor)), current)
    return draft.put(_real_neuron(draw, r), current)


def _real_neuron(draw: Any, r: np.random.Generator) -> Neuron:
    amount = 0.3 + r.random()
    reset = draw(st.sampled_from(["zero", "subtract"]))
    decay = draw(st.sampled_from([1.0, 0.5, 0.0, 0.9]))
    return Neuron(0.2 + r.random(), decay, reset, np.array(amount), initial=draw(
        st.sampled_from([0.0, 0.25])))  # fmt: skip


def _trained_readout(draw: Any, r: np.random.Generator, draft: Draft, source: str) -> str:
    values = _real(r)
    if draw(st.booleans()):
        source = draft.put(AvgPool2d(draft.shapes[source][1:], (1, 1)), source)
    steps = draft.steps
    early = draw(st.booleans())
    if early and draw(st.booleans()):
        source = draft.put(TimeMean(steps), source)
        source = draft.put(Flatten(), source)
        return draft.put(Linear(values((3, *draft.shapes[source])), values((3,))), source)
    source = draft.put(Flatten(), source)
    if early:
        source = draft.put(TimeMean(steps), source)
    source = draft.put(Linear(values((3, *draft.shapes[source])), values((3,))), source)
    if early:
        return source
    if draw(st.booleans()):
        return draft.put(TimeMean(steps), source)
    return draft.put(_real_neuron(draw, r), source)
