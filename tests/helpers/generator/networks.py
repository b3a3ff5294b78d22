"""Whole networks by seed, with how each is to be compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from helpers.generator.blocks import BLOCKS, assisted, beside, looped, twins
from helpers.generator.counts import COUNTS
from helpers.generator.currents import SHORTCUTS, biased_in_a_row, in_a_row
from helpers.generator.readouts import READOUTS, flattened
from helpers.generator.writer import LONG, Block, Writer
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Conv2d, FixedPoint, Flatten, Levels, Linear, Neuron, TimeMean
from purespike.compiler.passes.quantize.calibrate import Method
from purespike.compiler.passes.quantize.grid import Grid

KINDS: tuple[Block, ...] = (*BLOCKS[:10], *SHORTCUTS, *BLOCKS[10:])
METHODS: tuple[Method, ...] = Method.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Sample:
    """A network, inputs (T, B, C, H, W), and how to compile it.

    Attributes:
        graph: As captured, or in integers.
        x: (T, B, *shape).
        whole: Are its numbers whole from the start, and does no neuron leak? Quantization then
            moves nothing, as far as the chip holds them.
        grid: The chip's integers.
        method: How scales are chosen.
        calibrated: Are scales and rounding chosen on ``x``?
        host: Is an analog input declared to be encoded on the host?
        quantized: Is it a quantized network, whose integers must be kept?
    """

    graph: Graph
    x: Array
    whole: bool
    grid: Grid = field(default_factory=Grid)
    method: Method | None = None
    calibrated: bool = False
    host: bool = False
    quantized: bool = False

    def options(self) -> dict[str, Any]:
        """For `standard_pipeline`."""
        calibration = self.x if self.calibrated else None
        return {"grid": self.grid, "method": self.method, "calibration": calibration,
                "host_encoder": self.host, "quantized": self.quantized}  # fmt: skip


def network(seed: int, *, directed: bool = True, levels: bool = False) -> Sample:
    """The captured network number ``seed``, of spikes or of counts."""
    rng = np.random.default_rng([seed, levels])
    counts = levels or bool(rng.random() < 0.15)
    w = Writer(rng, directed=directed, levels=counts)
    blocks = (*COUNTS, looped) if counts else KINDS
    first = blocks[seed % len(blocks)](w, "x")  # numbers in a row begin with every kind
    return _ended(w, first, blocks, w.pick(0, 0, 1, 1, 2))


def encoded(seed: int) -> Sample:
    """A network with an analog input, whose first layers run on a host."""
    w = Writer(np.random.default_rng([seed, 2]), directed=True, host=True)
    last = _encoder(w)
    blocks = KINDS if w.spikes(last) else COUNTS
    return _ended(w, last, blocks, w.pick(0, 1))


def tuned(seed: int) -> Sample:
    """A captured network whose scales and rounding are chosen on its inputs, at few bits."""
    sample = network(100_000 + seed)
    grid = Grid(2 + seed % 7, per_channel=seed % 3 == 0)
    return replace(sample, grid=grid, method="agreement", calibrated=True)


def aimed(seed: int) -> Sample:
    """A network that begins with a block of which the others hold few."""
    w = Writer(np.random.default_rng([seed, 6]), directed=True)
    blocks = (beside, twins, beside, assisted, beside, in_a_row, biased_in_a_row)
    return _sample(w, flattened(w, blocks[seed % 7](w, "x")))


def narrow(seed: int) -> Sample:
    """A network whose membranes would saturate, and whose scales are lowered until none can."""
    w = Writer(np.random.default_rng([seed, 5]), directed=True, steps=16)
    w.style = "fine"
    last = flattened(w, w.fire(w.conv("x", out=4, kind="plain"), plain=True))
    grid = Grid(fixed=FixedPoint(width=int(w.pick(16, 18))), fit_membranes=True)
    return replace(_sample(w, last), grid=grid, method=None, calibrated=False)


def _ended(w: Writer, last: str, blocks: Sequence[Block], count: int) -> Sample:
    host = w.graph.inputs[0].domain.hi > 1
    for _ in range(count):
        last = w.pick(*blocks)(w, last)
    if not host and w.steps == 1 and not w.spikes(last) and w.chance(0.6):
        return _sample(w, last)  # ends in counts, which no later step adds to
    return _sample(w, w.pick(*READOUTS)(w, last), host=host)


def _sample(w: Writer, last: str, *, host: bool = False) -> Sample:
    outputs = dict.fromkeys((last, *w.kept, *w.auxiliary))
    graph = replace(w.graph, outputs=tuple(outputs))
    if not w.directed or w.chance(0.5):
        return Sample(graph, w.values["x"], w.whole, host=host)
    grid = Grid(
        int(w.pick(8, 7, 6, 5, 4, 3, 2)),
        per_channel=w.chance(0.3),
        fit_membranes=w.steps > LONG or w.chance(0.2),
    )
    calibrated = w.chance(0.5)
    method = w.pick(None, *METHODS) if calibrated else w.pick(None, "max", "percentile", "mse")
    return Sample(graph, w.values["x"], w.whole, grid, method, calibrated, host)


def _encoder(w: Writer) -> str:
    """Layers of an analog input, up to the first that fires or counts."""
    current = w.conv("x", out=int(w.pick(2, 4)))
    if w.chance(0.3):
        current = w.norm(current)
    if w.chance(0.4):
        v = w.values[current]
        v = v[v > 0] if (v > 0).any() else np.arange(1.0, 4.0)
        thresholds = np.sort(w.rng.choice(v, int(w.pick(1, 2, 3))))
        below = np.sort(w.rng.choice(v, 2)) if w.chance(0.3) else None
        return w.add("counts", Levels(thresholds, below=below), current)
    return w.fire(current, plain=True)


def quantized(seed: int) -> Sample:
    """A quantized network: whole weights and biases, some wider than a chip's, one step."""
    w = Writer(np.random.default_rng([seed, 3]), directed=True, levels=True, steps=1)
    limit, wide = int(w.pick(3, 100, 300)), w.chance(0.4)

    def layer(source: str, out: int) -> str:
        shape = w.shape(source)
        bias = w.rng.integers(-9000 if wide else -40, 41, out).astype(float)
        if len(shape) == 1:
            weight = w.rng.integers(-limit, limit + 1, (out, *shape)).astype(float)
            return w.add("head", Linear(weight, bias), source)
        weight = w.rng.integers(-limit, limit + 1, (out, shape[0], 3, 3)).astype(float)
        return w.add("conv", Conv2d(weight, bias, padding=(1, 1)), source)

    last = "x"
    for _ in range(w.pick(1, 2)):
        current = layer(last, 3)
        v = w.values[current]
        v = v[v > 0] if (v > 0).any() else np.arange(1.0, 9.0)
        thresholds = np.sort(w.rng.choice(v, int(w.pick(1, 2, 3))))
        below = np.sort(w.rng.choice(v, 1)) if w.chance(0.3) else None
        op = Levels(thresholds, below=below) if w.chance(0.7) else Neuron(thresholds[0], decay=0.0)
        last = w.add("counts", op, current)
    last = w.add("out", TimeMean(1), layer(w.add("flat", Flatten(), last), 3))
    return replace(_sample(w, last), grid=Grid(), method=None, calibrated=False, quantized=True)
