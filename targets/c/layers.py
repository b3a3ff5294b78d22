"""What the C program consists of: lines of spikes, and layers of neurons that hear them.

Written from the graph alone and without the planner of `purespike.targets.cpu`, so that the two
executors can witness against each other.

Order in memory: a pixel's channels lie together, ``(H, W, C)``; the graph's order is ``(C, H, W)``.
A `Flatten` therefore changes nothing here: the graph's flat order is that of ``(C, H, W)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.ops import Neuron

Ints = NDArray[np.int64]
Place = tuple[int, int, int]  # channels, height, width


class CError(PurespikeError):
    """A graph that cannot be a C program."""


@dataclass(frozen=True)
class Line:
    """The spikes of one edge, and those of the steps before that somebody hears late.

    Attributes:
        name: Of the edge.
        place: Channels, height and width.
        steps: How many steps are kept: the longest delay that is heard, and the present one.
    """

    name: str
    place: Place
    steps: int = 1

    @property
    def pixel(self) -> int:
        """Bytes of a pixel, eight channels each."""
        return -(-self.place[0] // 8)

    @property
    def bytes(self) -> int:
        """Bytes of one step."""
        return self.pixel * self.place[1] * self.place[2]


@dataclass(frozen=True, eq=False)
class Arm:
    """One synapse of a layer.

    Attributes:
        name: Of the node.
        kind: ``rows``: every spike adds a row of weights. ``points``: one to one.
        line: Index of the line that it hears.
        delay: Steps.
        weight: ``rows``: (taps or 1, channels of the line, values of a row); ``points``: (1,),
            (channels,) or (height * width, channels).
        late: Further steps by place of the line (H, W, C), or None.
        source: ``points``: bit of the line that each place of the layer hears, or None: its own.
        kernel: Taps, height and width.
        stride: Of the layer's pixels over the line's; (0, 0) hears all of it.
        padding: Pixels of zeros around the line.
        dilation: From tap to tap.
        shared: All taps have the weights of one.
        groups: Channels of the line are split in so many parts, each with its own outputs.
        sliced: The row holds all pixels of the layer, not the channels of one.
    """

    name: str
    kind: Literal["rows", "points"]
    line: int
    delay: int
    weight: Ints
    late: Ints | None = None
    source: Ints | None = None
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (0, 0)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    shared: bool = False
    groups: int = 1
    sliced: bool = False

    @property
    def bits(self) -> int:
        """Bits that hold a weight: 4, 8, 16 or 32."""
        low, high = int(self.weight.min(initial=0)), int(self.weight.max(initial=0))
        if self.kind == "rows" and not self.sliced and -8 <= low and high < 8:
            return 4
        return next(b for b in (8, 16, 32) if -(1 << (b - 1)) <= low and high < 1 << (b - 1))


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of neurons.

    Attributes:
        name: Of the node.
        place: Channels, height and width.
        op: The neuron.
        arms: Its synapses.
        line: Index of the line that takes its spikes; None for an integrator.
        bias: (1,), (channels,) or (height * width, channels), in weights.
        threshold: Likewise, in the units of the membrane.
        amount: Likewise.
        shift: The membrane counts in ``2**-shift`` of a weight.
        current: (lowest, highest) sum of a step, in weights, proved for every input.
        membrane: (lowest, highest) membrane, in its units, proved for every input.
    """

    name: str
    place: Place
    op: Neuron
    arms: tuple[Arm, ...]
    line: int | None
    bias: Ints
    threshold: Ints
    amount: Ints
    shift: int
    current: tuple[int, int]
    membrane: tuple[int, int]

    @property
    def neurons(self) -> int:
        """How many."""
        c, h, w = self.place
        return c * h * w

    @property
    def stores(self) -> bool:
        """Is there a membrane to keep from step to step?"""
        return self.op.decay > 0 or not self.op.fires

    @property
    def brief(self) -> bool:
        """Do 16 bits hold every sum of a step?"""
        return max(-self.current[0], self.current[1]) < 1 << 15

    @property
    def plain(self) -> bool:
        """Does `fire_plain` of network.c compute it?"""
        return (
            self.line is not None
            and self.brief
            and self.narrow
            and self.shift == 0
            and not self.op.current_decay
            and self.op.decay in (0.0, 1.0)
            and self.threshold.size == 1
            and self.amount.size == 1
            and -(1 << 15) <= int(self.threshold[0]) < 1 << 15
        )

    @property
    def narrow(self) -> bool:
        """Do 16 bits hold every membrane?"""
        return max(-self.membrane[0], self.membrane[1]) < 1 << 15


@dataclass(frozen=True, eq=False)
class Program:
    """Everything that the C program is written from.

    Attributes:
        lines: The first one is the input.
        layers: In order.
        outputs: Index of the layer behind each output of the graph.
        steps: That a sample lasts.
    """

    lines: tuple[Line, ...]
    layers: tuple[Layer, ...]
    outputs: tuple[int, ...]
    steps: int


def stored(place: Place) -> Ints:
    """The graph's index (C, H, W) of each place in memory (H, W, C)."""
    return np.arange(int(np.prod(place))).reshape(place).transpose(1, 2, 0).ravel()
