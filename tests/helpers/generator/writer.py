"""A network under construction that knows what each edge carries, so that thresholds are met.

Numbers are dyadic and small: float64 is exact, and passes can be held to equality, ties included.
Directed networks have thresholds that membranes reach exactly or miss by one unit, and inputs that
are all on, or go from one half of the places to the other; blind ones are drawn blind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array, Domain
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Role, Shape
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, BatchNorm, Conv2d, Delay, Levels, Neuron, Scale

EPS = 2.0**-10
CHANNELS = (1, 2, 3, 4, 4, 4, 5, 6)
SIZES = ((4, 4), (4, 4), (6, 6), (4, 6), (3, 5), (5, 3), (7, 4), (5, 5), (2, 2), (8, 3), (1, 6))
STEPS = (1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4, 5, 7, 8, 13, 16, 33, 64)
LONG = 8  # more steps than this, and halves of halves leave the 53 bits of float64


class Writer:
    """Appends nodes; ``weigh`` draws weights in the way of this network.

    Attributes:
        graph: So far.
        values: What each edge carries on the inputs (T, B, *shape).
        whole: Are all numbers whole so far, and does no neuron leak?
        levels: Do most neurons send counts?
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        directed: bool,
        levels: bool = False,
        host: bool = False,
        steps: int = 0,
    ) -> None:
        self.rng = rng
        self.directed, self.levels, self.whole = directed, levels, True
        steps, shape = (
            steps or int(self.pick(*STEPS)),
            (
                int(self.pick(*CHANNELS)),
                *self.pick(*SIZES),
            ),
        )
        domain = Domain(0, 7, 1) if host else SPIKE
        self.graph = Graph((Edge("x", shape, domain),), (), ("x",), steps)
        self.values = {"x": self._inputs((steps, *shape), int(domain.hi))}
        self.style = self.pick(
            "whole", "whole", "whole", "whole", "small", "fraction", "fine", "fine"
        )
        self.whole &= self.style in ("whole", "small")
        self.auxiliary: list[str] = []  # outputs that only training has
        self.kept: list[str] = []  # outputs beside the last edge
        self._count = 0

    @property
    def steps(self) -> int:
        """T."""
        return self.graph.steps

    def pick(self, *options: Any) -> Any:
        """One of several."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, p: float) -> bool:
        """True with probability ``p``."""
        return bool(self.rng.random() < p)

    def _inputs(self, shape: Shape, top: int) -> Array:
        """(T, B, *shape): trains of several rates, and directed ones."""
        rates = [0.2, 0.5, 0.8] if shape[0] <= LONG else [0.3]
        trains = [(self.rng.random(shape) < r).astype(float) for r in rates]
        if self.directed:
            half = (self.rng.random(shape[1:]) < 0.5).astype(float)
            first = np.arange(shape[0])[:, None, None, None] < shape[0] // 2
            trains += [np.ones(shape), np.where(first, half, 1 - half)]
        x = np.stack(trains, axis=1)
        return x if top == 1 else x * self.rng.integers(1, top + 1, x.shape)

    def weigh(self, *shape: int) -> Array:
        """Weights in this network's way."""
        if self.style == "fine":  # more bits than a chip's: quantization has to round
            return self.rng.integers(-300, 480, shape) / 64
        if self.style == "small":
            return self.rng.integers(-1, 3, shape).astype(np.float64)
        unit = 4 if self.style == "fraction" else 1
        return self.rng.integers(-5, 8, shape) / unit

    def shape(self, name: str) -> Shape:
        """Of an edge."""
        return self.graph.edge(name).shape

    def spikes(self, name: str) -> bool:
        """Does an edge carry spikes?"""
        return self.graph.edge(name).domain <= SPIKE

    def add(self, kind: str, op: Op, *reads: str, role: Role = "main", origin: str = "") -> str:
        """Append a node; its name is its kind and its place."""
        name = f"{kind}{self._count}"
        edge = Edge(name, *op.infer(*(self.graph.edge(i) for i in reads)))
        self._append(Node(op, reads, edge, role, origin or f"net.{name}"))
        return name

    def _append(self, node: Node) -> None:
        self._count += 1
        self.graph = replace(self.graph, nodes=(*self.graph.nodes, node), outputs=(node.name,))
        reads = [self.values[i] for i in node.inputs]
        state, sent = node.op.start(reads[0].shape[1], node.output.shape), []
        for t in range(self.steps):
            state, y = node.op.step(state, *(r[t] for r in reads))
            sent.append(y)
        self.values[node.name] = np.stack(sent)

    def feedback(self, current: str, steps: Any) -> str:
        """A delay that reads neurons of the shape of ``current``, which `close` names later."""
        rest = self.add("rest", Neuron(np.array(1e5), 0.0), current)
        name = f"late{self._count}"
        edge = Edge(name, self.shape(current), SPIKE)
        self._append(Node(Delay(steps), (rest,), edge, origin=f"net.{name}"))
        return name

    def close(self, late: str, source: str) -> None:
        """Let the delay of `feedback` read ``source``, and run all anew."""
        (rest,) = next(n.inputs for n in self.graph.nodes if n.name == late)
        nodes = [replace(n, inputs=(source,)) if n.name == late else n for n in self.graph.nodes]
        kept = (n for n in nodes if n.name != rest)
        self.graph = self.graph.rebuilt(kept, (self.graph.nodes[-1].name,))
        self.values = dict(run(self.graph, self.values["x"]).values)

    def norm(self, source: str, *, shift: bool = True, kind: str = "norm") -> str:
        """A batch norm that is exact: variance + eps is 1 or 1/4."""
        n = self.shape(source)[0]
        gamma = np.array([self.pick(-1.0, 1.0, 1.0, 2.0) for _ in range(n)])
        beta, mean = (self.weigh(n) * shift for _ in range(2))
        variance = np.full(n, self.pick(1.0, 1.0, 0.25) - EPS)
        return self.add(kind, BatchNorm(gamma, beta, mean, variance, EPS), source)

    def seen(self, current: str, decay: float, initial: float = 0.0, fading: float = 0.0) -> Array:
        """The membrane of a neuron that never fires."""
        probe = Neuron(np.array(0.0), decay, "none", initial=initial, current_decay=fading)
        state, sent = probe.start(self.values[current].shape[1], self.shape(current)), []
        for x in self.values[current]:
            state, v = probe.step(state, x)
            sent.append(v)
        return np.stack(sent)

    def level(self, current: str) -> str:
        """A level activation, or a neuron that fires several times, whose thresholds are met."""
        slow = self.steps <= LONG
        decay = float(self.pick(0.0, 0.0, 1.0, *((0.5, 0.25) if slow else ())))
        self.whole &= decay in (0.0, 1.0)
        v = self.seen(current, decay)
        place = self.pick((), (), (), (self.shape(current)[0], *(1 for _ in v.shape[3:])))

        def drawn(v: Array) -> Array:
            many = int(self.pick(1, 2, 3, 4))
            v = v[v > 0] if (v > 0).any() else np.arange(1.0, 5.0)
            up = self.pick(0.0, 0.0, 0.5)
            return np.sort(self.rng.choice(v, (many, *place)), axis=0) + up

        below = drawn(-v) if self.chance(0.25) else None
        amount = np.array(float(self.rng.integers(1, 30)))
        return self.add("counts", Levels(drawn(v), decay, amount, below), current)

    def fire(self, current: str, *, plain: bool = False, **fields: Any) -> str:
        """A neuron whose threshold its membrane meets.

        Args:
            current: What it reads.
            plain: One threshold, and no memory of another kind than the membrane's.
            fields: Of the neuron: not drawn, but as given.
        """
        if self.levels and not plain and not fields and self.chance(0.7):
            return self.level(current)
        kinds = ["if"] * 4 + ["memoryless"] + ["leaky", "fading"] * (self.steps <= LONG)
        kind = self.pick(*(kinds[:4] if plain else kinds))
        decay = {"memoryless": 0.0, "leaky": self.pick(0.5, 0.75, 0.9)}.get(kind, 1.0)
        decay = fields.get("decay", decay)
        fading = (
            self.pick(0.5, 0.25, 0.3, 1.0) if kind == "fading" and "decay" not in fields else 0.0
        )
        self.whole &= decay in (0.0, 1.0) and not fading
        initial = float(self.pick(0, 0, 0, 0, 2, -3)) if decay and not plain else 0.0
        rank = len(self.shape(current))
        place: Shape = () if plain else self.pick((), (), (), (self.shape(current)[0],))
        place = (*place, *(1 for _ in range(rank - 1))) if place else ()
        place = self.shape(current) if place and self.chance(0.3) else place
        threshold = self._met(self.seen(current, decay, initial, fading), place)
        reset = self.pick("zero", "subtract")
        amount = np.maximum(1.0, np.floor(threshold * self.pick(0.5, 1.0)))
        amount = amount * (0.0 if not plain and self.chance(0.08) else 1.0)  # 0: never reset
        self.whole &= bool((threshold == np.rint(threshold)).all())
        made = {"threshold": threshold, "decay": decay, "reset": reset, "amount": amount,
                "initial": initial, "current_decay": fading} | fields  # fmt: skip
        return self.add("spikes", Neuron(**made), current)

    def _met(self, v: Array, place: Shape) -> Array:
        """Thresholds that membranes (T, B, *shape) reach, some of them missed by one."""
        size = int(np.prod(place, dtype=int))
        v = v[v > 0] if self.directed and (v > 0).any() else self.rng.integers(1, 60, 8) / 1.0
        up = self.rng.choice([0.0, 0.0, 1.0], size) if self.directed else 0.0
        return (self.rng.choice(v, size) + up).reshape(place)

    def conv(self, source: str, *, out: int = 0, same: bool = False, **fields: Any) -> str:
        """A convolution.

        Args:
            source: What it reads.
            out: Channels, or any number of them.
            same: Keep height and width.
            fields: ``bias`` (whether), and of the op what is not drawn.
        """
        channels, *size = self.shape(source)
        kinds = ["plain", "plain", "grouped", "depthwise", "dilated", "one"]
        kinds += [] if same else ["strided", "bare", "odd"]
        kind = fields.pop("kind", None) or self.pick(*kinds)
        out = out or int(self.pick(channels, channels, *CHANNELS))
        groups = {"depthwise": channels, "grouped": 2}.get(kind, 1)
        groups = 1 if channels % groups or out % groups else groups
        kernel = {"one": (1, 1), "odd": (self.pick(1, 3), self.pick(1, 2, 5))}.get(kind, (3, 3))
        kernel = (min(kernel[0], size[0]), min(kernel[1], size[1])) if kind == "bare" else kernel
        apart = 2 if kind == "dilated" and min(size) > 2 else 1
        padding = tuple(apart * (k // 2) for k in kernel) if kind != "bare" else (0, 0)
        weight = self.weigh(out, channels // groups, *kernel)
        biased = fields.pop("bias", self.chance(0.5))
        made = {"bias": self.weigh(out) if biased else None, "padding": padding,
                "stride": self.pick((2, 1), (1, 2), (2, 2)) if kind == "strided" else (1, 1),
                "dilation": (apart, apart), "groups": groups} | fields  # fmt: skip
        return self.add("conv", Conv2d(weight, **made), source)

    def total(self, *reads: str) -> str:
        """A sum."""
        return self.add("sum", Add(), *reads)

    def factor(self, source: str, *options: float, by: str = "") -> str:
        """A constant factor; ``by`` "channel" or "place" has one for each."""
        shape = self.shape(source)
        size = {"channel": (shape[0], *(1 for _ in shape[1:])), "place": shape}.get(by, ())
        return self.add("scale", Scale(self.rng.choice(options, size)), source)


Block = Callable[[Writer, str], str]  # appends nodes behind an edge of spikes; gives the last one
