"""Random recurrent networks in integers: loops, delays by number and by place, all neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from helpers.strategies import FIXED, chip_neuron
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Edge, Graph, Op, Shape, build
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale


@st.composite
def recurrent_graphs(draw: Any, *, max_steps: int = 8, clocked: bool = True) -> Graph:
    """One to three layers of one shape, and an integrator that reads the last.

    Each layer hears the one before it (at once or late), itself or any layer, late; by a matrix or
    kernel, or one to one. Delays are whole numbers or differ by place.

    Args:
        clocked: Each loop lasts at least a step for each synapse in it, as Lava's clock needs.
    """
    r = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = draw(st.booleans())
    shape: Shape = draw(
        st.sampled_from([(1, 2, 3), (2, 3, 3), (3, 2, 2)] if image else [(1,), (4,), (7,)])
    )
    count = draw(st.integers(1, 3))
    names = [f"n{i}" for i in range(count)]
    wide = draw(st.booleans())
    limit = 127 if wide else 3
    nodes: list[tuple[str, Op, tuple[str, ...]]] = []

    def whole(size: Shape) -> Array:
        return r.integers(-limit // 2, limit + 1, size).astype(np.float64)

    def put(name: str, op: Op, *reads: str) -> str:
        nodes.append((name, op, reads))
        return name

    def late(source: str, reader: str, least: int) -> str:
        """A delay of ``least`` steps or more, now and then in two parts or by place."""
        name = f"{source}_to_{reader}.late"
        kind = draw(st.sampled_from(["one", "one", "two", "channel", "place"]))
        if kind == "two" and least > 1:
            source = put(f"{name}1", Delay(1), source)
            least -= 1
        steps: Any = least + draw(st.integers(0, 2))
        if kind in ("channel", "place"):
            size = shape if kind == "place" else (shape[0], *(1 for _ in shape[1:]))
            steps = least + r.integers(0, 3, size)
        return put(name, Delay(steps), source)

    def synapse(source: str, reader: str) -> str:
        name = f"{source.split('.')[0]}_in_{reader}"
        kind = draw(st.sampled_from(["matrix", "matrix", "scale"]))
        if kind == "scale":
            factor = whole(draw(st.sampled_from([(), (shape[0], *(1 for _ in shape[1:])), shape])))
            return put(name, Scale(factor), source)
        bias = whole((shape[0],)) if draw(st.booleans()) else None
        if not image:
            return put(name, Linear(whole(shape * 2), bias), source)
        return put(name, Conv2d(whole((shape[0], shape[0], 3, 3)), bias, padding=(1, 1)), source)

    for i, name in enumerate(names):
        source = names[i - 1] if i else "x"
        if draw(st.integers(0, 3)) == 0:
            source = late(source, name, 1)
        currents = [synapse(source, name)]
        for j, other in enumerate(names):
            if (j >= i and draw(st.booleans())) or (j < i - 1 and draw(st.integers(0, 3)) == 0):
                least = max(1, j - i + 1) if clocked else 1
                currents.append(synapse(late(other, name, least), name))
        current = currents[0] if len(currents) == 1 else put(f"sum{i}", Add(), *currents)
        put(name, chip_neuron(draw, r, shape, wide, currents=True), current)
    flat = put("flat", Flatten(), names[-1]) if image else names[-1]
    if draw(st.booleans()):
        size = (int(np.prod(shape)),)
        flat = put("flat.late", Delay(draw(st.sampled_from([2, 1 + r.integers(0, 2, size)]))), flat)
    head = put("head", Linear(whole((2, int(np.prod(shape)))), whole((2,))), flat)
    fades = draw(st.sampled_from([0.0, 0.0, 0.75]))
    put("out", Neuron(np.inf, reset="none", fixed=FIXED, current_decay=fades), head)
    loops = [Edge(name, shape, SPIKE) for name in names]
    steps = draw(st.integers(min(3, max_steps), max_steps))
    return build((Edge("x", shape, SPIKE),), nodes, ("out", names[-1]), steps, loops=loops)
