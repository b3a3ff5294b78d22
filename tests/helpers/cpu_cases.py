"""Random networks in integers that reach every kernel of the cpu executor.

Channels on both sides of a byte, a word of 16 and a tile of 16, 32 or 64; weights of few bits, of 8
and of 16; one synapse or several at a neuron; all neurons; silence, and all inputs on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.strategies import FIXED, LEAK, Draft
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Shape
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    FixedPoint,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 20, 31, 32, 33, 47, 48, 63, 64, 65, 100, 130)
SIZES = ((1, 1), (2, 3), (3, 3), (5, 4), (4, 8), (3, 16), (2, 33), (7, 7))
LIMITS = (1, 3, 20, 127, 127, 127, 128, 5000, 32767)  # of a weight


class _Maker:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        height, width = self.pick(*SIZES)
        self.draft = Draft((self.pick(*CHANNELS), height, width), int(self.rng.integers(1, 6)))
        self.spiking = ["x"]
        few = int(np.random.default_rng([seed, 1]).integers(9, 24))  # bits: they saturate
        self.fixed = FixedPoint(width=few) if seed % 5 == 0 else FIXED

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def whole(self, limit: int, size: Shape) -> Array:
        low = self.pick(-limit, -limit // 2, 0)
        w = self.rng.integers(low, limit + 1, size)
        return (w * (self.rng.random(size) < self.pick(0.3, 1.0))).astype(np.float64)

    def synapse(self, source: str, channels: int) -> str:
        shape = self.draft.shapes[source]
        kernel = tuple(int(self.rng.integers(1, min(3, n) + 1)) for n in shape[1:])
        groups = self.pick(1, 1, 1, shape[0]) if channels % shape[0] == 0 else 1
        padding = tuple(int(self.rng.integers(0, 3)) for _ in range(2))
        size = (channels, shape[0] // groups, *kernel)
        bias = self.whole(self.pick(3, 127), (channels,)) if self.chance(0.5) else None
        stride = tuple(self.pick(1, 1, 2) for _ in range(2))
        room = [n + 2 * p for n, p in zip(shape[1:], padding, strict=True)]
        dilation = tuple(
            2 if k > 1 and r > 2 * (k - 1) and self.chance(0.2) else 1
            for k, r in zip(kernel, room, strict=True)
        )
        weight = self.whole(self.pick(*LIMITS), size)
        return self.draft.put(Conv2d(weight, bias, stride, padding, dilation, groups), source)

    def current(self, source: str, channels: int) -> str:
        """One synapse or more whose results have one shape."""
        parts = [self.synapse(source, channels)]
        shape = self.draft.shapes[parts[0]]
        for other in list(self.draft.shapes):
            if len(parts) == 3 or other not in self.spiking or not self.chance(0.5):
                continue
            if self.draft.shapes[other] == shape:
                factor = self.whole(self.pick(1, 127), self.pick((), (shape[0], 1, 1), shape))
                parts.append(self.draft.put(Scale(factor), other))
            elif self.draft.shapes[other][1:] == shape[1:]:
                size = (shape[0], self.draft.shapes[other][0], 1, 1)
                parts.append(self.draft.put(Conv2d(self.whole(127, size), None), other))
        return parts[0] if len(parts) == 1 else self.draft.put(Add(), *parts)

    def neuron(self, current: str) -> str:
        shape = self.draft.shapes[current]
        kind = self.pick("if", "if", "if", "soft", "memoryless", "leaky", "leaky soft", "fading")
        place = self.pick((), (shape[0], *(1 for _ in shape[1:])), shape)
        top = self.pick(3, 300, 40_000)
        threshold = self.rng.integers(1, top, place).astype(np.float64)
        amount = self.rng.integers(1, top, place).astype(np.float64)
        rest = {"memoryless": 0.0, "leaky": 0.0, "leaky soft": 0.0}
        decay = rest.get(kind, 1.0)
        if "leaky" in kind:
            decay = float(self.rng.integers(1, 4096)) * LEAK
        initial = float(self.pick(0, 0, 0, 2, -5)) if kind in ("if", "soft") else 0.0
        fading = self.pick(1, 3000, 4095) * LEAK if kind == "fading" else 0.0
        op = Neuron(
            threshold, decay, "subtract" if "soft" in kind else "zero", amount, initial,
            fixed=self.fixed, current_decay=fading,
        )  # fmt: skip
        self.spiking.append(self.draft.put(op, current))
        return self.spiking[-1]


def network(seed: int) -> tuple[Graph, Array]:
    """The network number ``seed``, always the same, and spikes for it (T, B, C, H, W)."""
    m = _Maker(seed)
    last = "x"
    for _ in range(m.pick(1, 1, 2, 3)):
        source = last
        if m.chance(0.15):
            steps = m.pick(1, 2, m.rng.integers(1, 4, m.draft.shapes[source]))
            source = m.draft.put(Delay(steps), source)
        last = m.neuron(m.current(source, m.pick(*CHANNELS)))
        height, width = m.draft.shapes[last][1:]
        if min(height, width) > 1 and m.chance(0.2):
            last = m.draft.put(MaxPool2d((2, 2), m.pick((1, 1), (2, 2))), last)
        if m.chance(0.2):
            other = m.neuron(m.draft.put(Scale(m.whole(3, ())), last))
            last = m.draft.put(Gate(m.pick("and", "or", "xor", "iand")), last, other)
    if m.chance(0.5):
        flat = m.draft.put(Flatten(), last)
        size = int(m.pick(1, 3, 17, 70))
        weight = m.whole(m.pick(*LIMITS), (size, *m.draft.shapes[flat]))
        bias = m.whole(127, (size,))
        readout = m.draft.put(Linear(weight, bias), flat)
        last = m.draft.put(Neuron(np.inf, reset="none", fixed=FIXED), readout)
    graph = m.draft.graph(last)
    samples = int(m.pick(1, 2, 3, 5))
    rate = m.rng.random((1, samples, 1, 1, 1)) * m.pick(0.1, 0.5, 1.0, 2.0)
    x = (m.rng.random((graph.steps, samples, *graph.inputs[0].shape)) < rate).astype(np.uint8)
    return graph, x
