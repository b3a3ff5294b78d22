"""What runs: layers over packed spikes, in order, and how wide their sums are.

A layer is a neuron with the synapses ("arms") whose currents meet at it, a gate or pool that needs
no currents, or a rearrangement of spikes. Delays in front of synapses cost nothing: an arm reads
earlier steps. Layers that hear each other are a loop and run step by step, all others over all T.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.ops import Neuron

Kind = Literal["tables", "events", "lanewise"]
Task = Literal["neurons", "logic", "pool", "shift", "flatten"]
Place = tuple[int, int, int]  # channels, height, width
Ints = NDArray[np.int64]
Pair = tuple[int, int]


@dataclass
class Buffer:
    """The spikes of one edge.

    Attributes:
        name: Of the edge whose neuron or input writes it.
        place: Channels, height and width.
        border: Zeros around an image: the widest padding that reads it.
    """

    name: str
    place: Place
    border: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of a pixel, eight channels each."""
        return -(-self.place[0] // 8)


@dataclass(frozen=True, eq=False)
class Arm:
    """One synapse of a layer.

    Attributes:
        name: Of the node.
        kind: How it runs: ``tables`` of the sums of each byte, ``events`` one by one, ``lanewise``
            one weight for each channel and tap.
        source: Index of the buffer it reads.
        delay: Steps.
        weight: (out, in, kh, kw); lanewise (taps, channels) or (taps, channels, height, width).
        kernel: Height and width.
        first: Where its channels begin in a pixel of the buffer, in bytes.
        shared: All taps have the weights of one (`Linear.run`): weight is (out, in, 1, 1).
    """

    name: str
    kind: Kind
    source: int
    delay: int
    weight: Ints
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    shared: bool = False
    first: int = 0


@dataclass
class Layer:
    """One thing to run.

    Attributes:
        name: Of the node.
        task: What it is.
        place: Channels, height and width.
        arms: Its synapses, or what a gate, pool or rearrangement reads.
        out: Index of the buffer that takes its spikes; -1 for an integrator.
        neuron: Its operation.
        bias, threshold, amount: (channels,) or (channels, height, width), in the neuron's units.
        current: (lowest, highest) sum that can arrive in a step.
        brief: Whether the currents are proved to fit into 16 bits.
        narrow: Whether the membranes are, too, in units of a weight.
        table: Of a gate: bit k is its output where its inputs are the bits of k.
        loop: Number of the loop it is in; 0 for none.
    """

    name: str
    task: Task
    place: Place
    arms: tuple[Arm, ...] = ()
    out: int = -1
    neuron: Neuron | None = None
    bias: Array = field(default_factory=lambda: np.zeros(1))
    threshold: Array = field(default_factory=lambda: np.zeros(1))
    amount: Array = field(default_factory=lambda: np.zeros(1))
    current: tuple[float, float] = (0.0, 0.0)
    brief: bool = False
    narrow: bool = False
    table: int = 0
    loop: int = 0

    @property
    def shift(self) -> int:
        """The membrane counts in 2**-shift of a weight."""
        return self.neuron.fixed.fraction_bits if self.neuron and self.neuron.fixed else 0

    def __str__(self) -> str:
        if self.task != "neurons":
            return f"{self.name}: {self.task} of {len(self.arms)}"
        width = "16-bit" if self.narrow else "16- and 32-bit" if self.brief else "32-bit"
        arms = ", ".join(f"{a.kind} {'x'.join(map(str, a.weight.shape))}" for a in self.arms)
        low, high = self.current
        loop = f", loop {self.loop}" if self.loop else ""
        size = "x".join(map(str, self.place))
        return f"{self.name}: {size}, {width} (current {low:g} to {high:g}), {arms}{loop}"


@dataclass(frozen=True)
class Plan:
    """Everything that a run does, in order.

    Attributes:
        buffers: Inputs and outputs of layers; the first ones are the graph's inputs.
        layers: In order; those of a loop follow each other.
        steps: T.
        spikes: (buffer, steps of delay) of each firing neuron and each output that carries spikes.
        shapes: Shape of each edge that can be recorded, without time and samples.
    """

    buffers: tuple[Buffer, ...]
    layers: tuple[Layer, ...]
    steps: int
    spikes: dict[str, tuple[int, int]]
    shapes: dict[str, tuple[int, ...]]

    def neurons(self) -> Iterator[Layer]:
        """The layers that have membranes to record."""
        return (x for x in self.layers if x.neuron is not None)

    def __str__(self) -> str:
        """One line for each layer."""
        return "\n".join(map(str, self.layers))
