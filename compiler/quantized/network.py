"""Builds the graph of a quantized network: whole-number weights, and thresholds that take the rest.

A layer of a quantized network computes ``scale * (W q) + bias`` of whole numbers W and q, and its
quantizer counts how many boundaries that passes. Here the synapses carry W alone; scale, zero
point, bias, batch normalization and ReLU go into the boundaries, which become whole numbers too.

Cases:
1. A quantizer behind a layer, or a sum of layers: `Levels` whose thresholds are whole. In a channel
   that a factor below zero turns round, the weights change their sign.
2. Boundaries that every input passes count as a constant; those that none does are out of reach.
   Where a threshold would be below 1, which no chip has, a bias lifts the channel.
3. Zero points and lowest levels other than 0 are constants behind the next layer; where its padding
   does not have them, constants that differ at the border, and so do its thresholds.
4. A quantizer on the input is the host's: up to ``THERMOMETER`` levels as spikes, a neuron for each
   level. With more levels, or without a quantizer, the host computes the first layer as well.
5. Max pools stand behind quantizers, where they are exact; average pools are sums.
6. What is added must be worth the same, or whole multiples of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from purespike.compiler.ir.domain import ANALOG, SPIKE, Array, Domain
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Role, Shape
from purespike.compiler.ir.ops import Add, Conv2d, Flatten, Linear, MaxPool2d, Neuron
from purespike.compiler.ir.ops.levels import Levels
from purespike.compiler.ir.ops.synapse import Pair
from purespike.compiler.quantized.constants import bounds, constants, flattened, summed
from purespike.compiler.quantized.exact import (
    Affine,
    Exact,
    QuantizedError,
    common_unit,
    exact,
    few,
    least_whole,
    reached,
    signs,
)
from purespike.compiler.quantized.readout import comparable
from purespike.compiler.quantized.synapses import (
    WIDEST,
    collected,
    multiplied,
    not_levels,
    pooled,
    through,
    too_wide,
    weighted,
)
from purespike.compiler.quantized.thresholds import (
    Counter,
    as_computed,
    least_real,
    narrow,
    padded,
    within,
)
from purespike.compiler.quantized.value import Part, Value, Whole, biased, times

THERMOMETER = 15  # levels of an input up to which each has a neuron of its own
MOST_LEVELS = 255


@dataclass
class QuantizedNetwork:
    """A graph while it is built; edges have names of the network's own modules.

    Attributes:
        shape: Of the input.
        domain: Of the input.
    """

    shape: Shape
    domain: Domain = ANALOG
    name: str = "x"
    nodes: list[Node] = field(default_factory=list)
    _shapes: dict[str, Shape] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)

    def input(self) -> Value:
        """The input as it comes."""
        self._names[self.name] = 1
        self._shapes[self.name] = self.shape
        none = np.zeros((), np.int64)
        spikes = self.domain <= SPIKE
        parts = (Part(self.name),)
        return Value(self.shape, parts, none, none + spikes, host=not spikes, real=not spikes)

    # ---- layers -------------------------------------------------------------------------------

    def layer(self, x: Value, op: Conv2d | Linear, unit: Exact, what: str) -> Value:
        """A layer without a bias.

        Args:
            x: What it takes.
            op: Its weights, in whole numbers.
            unit: What those are worth, (C, 1, ...) or ().
            what: What an error calls it.

        Raises:
            QuantizedError: If a level is worth something else in each channel, or x is no level.
        """
        if not (x.spiking or x.real):
            raise not_levels(what)
        factor, shift = x.worth(what)
        found = common_unit(factor, WIDEST)
        if found is None:
            raise QuantizedError(
                f"the channels that {what} takes are worth numbers that have no common unit",
                found=few(factor),
                allowed="one scale for all channels, or whole multiples of one",
                remedy="quantize activations per tensor; put batch normalization behind a layer",
            )
        each, whole = found
        op = weighted(op, whole, x)
        reals = tuple(through(p, op) for p in x.parts)
        shape, _ = op.infer(Edge("x", x.shape, SPIKE))
        low, high = bounds(op, x)
        constant = constants(op, shift, whole, each, x.shape, shape)
        factor = np.asarray(unit * each, dtype=object)
        worth = Affine(factor, np.asarray(factor * constant, dtype=object))
        return Value(shape, reals, low, high, (worth,), host=x.host, real=x.real)

    def sum_pool(self, x: Value, kernel: Pair, stride: Pair, padding: Pair, what: str) -> Value:
        """The sum over each window; padded zeros are numbers of value 0."""
        factor, shift = x.worth(what)
        if any(padding) and any(s != 0 for s in shift.ravel()):
            raise QuantizedError(
                f"{what} pads with zeros where zero is not the lowest level",
                remedy="pool without padding",
            )
        size = kernel[0] * kernel[1]
        ones = Conv2d(np.ones((x.shape[0], 1, *kernel)), None, stride, padding, (1, 1), x.shape[0])
        shape, _ = ones.infer(Edge("x", x.shape, SPIKE))
        parts = tuple(pooled(p, ones, what) for p in x.parts)
        steps = (Affine(factor, summed(shift, ones, shape)),)
        low, high = np.minimum(x.low, 0) * size, np.maximum(x.high, 0) * size
        return Value(shape, parts, low, high, steps, host=x.host, real=x.real)

    def max_pool(self, x: Value, pool: MaxPool2d, name: str) -> Value:
        """The maximum over windows: of levels at once, of anything else behind its quantizer."""
        shape, _ = pool.infer(Edge("x", x.seen, SPIKE))
        levels = x.spiking and len(x.parts) == 1 and not x.real and x.parts[0].times == 1
        factor, _ = x.worth("a max pool") if levels else (exact(1), None)
        if not levels or any(f <= 0 for f in factor.ravel()):
            return replace(x, pools=(*x.pools, pool))
        (part,) = x.parts
        edge = self._node(name, pool, (part.edge,), shape)
        return replace(x, shape=shape, parts=(replace(part, edge=edge),))

    def flatten(self, x: Value, name: str) -> Value:
        """All places of all channels in a row."""
        if len(x.shape) == 1 and not x.pools:
            return x
        size = (math.prod(x.shape),)
        if not (x.spiking or (x.real and not any(p.through for p in x.parts))):
            raise QuantizedError(
                "flattening stands between a layer and its quantizer",
                remedy="flatten behind the quantizer",
            )
        parts = []
        for part in x.parts:
            if part.pooled:
                parts.append(replace(part, through=(*part.through, Flatten())))
                continue
            edge = self._node(f"{part.edge}.flat", Flatten(), (part.edge,), size)
            parts.append(replace(part, edge=edge))
        steps = tuple(flattened(s, x.shape) for s in x.steps)
        low, high = (np.broadcast_to(a, x.shape).reshape(-1) for a in (x.low, x.high))
        return Value(size, tuple(parts), low, high, steps, (), x.host, x.real)

    def add(self, a: Value, b: Value, what: str) -> Value:
        """The sum of two values that are worth the same, or whole multiples of one number."""
        if a.shape != b.shape:
            raise QuantizedError(
                f"{what} adds values of different shapes", found=f"{a.shape}, {b.shape}"
            )
        (f, c), (g, d) = a.worth(what), b.worth(what)
        pairs = np.broadcast_arrays(f, g)
        channels = (a.shape[0], *(1,) * (len(a.shape) - 1))
        sides = [np.broadcast_to(x, channels).reshape(-1) for x in pairs]
        units, ka, kb = [], [], []
        for pair in zip(*sides, strict=True):
            found = common_unit(exact(list(pair)), WIDEST)
            if found is None:
                raise QuantizedError(
                    f"{what} adds values of different scales",
                    found=f"{float(pair[0]):g} and {float(pair[1]):g}",
                    allowed="equal scales, or whole multiples of one",
                    remedy="give both one quantizer: the same QuantIdentity in front of the sum",
                )
            units.append(found[0])
            ka.append(int(found[1][0]))
            kb.append(int(found[1][1]))
        unit = np.array(units, dtype=object).reshape(channels)
        parts: tuple[Part, ...] = ()
        low = high = np.zeros((), np.int64)
        for x, k in ((a, np.array(ka)), (b, np.array(kb))):
            by = k.reshape(channels)
            parts += tuple(multiplied(p, k, x) for p in x.parts)
            low = low + np.minimum(x.low * by, x.high * by)
            high = high + np.maximum(x.low * by, x.high * by)
        steps = (Affine(unit, np.asarray(c + d, dtype=object)),)
        return Value(a.shape, parts, low, high, steps, (), a.host or b.host, a.real or b.real)

    # ---- quantizers ---------------------------------------------------------------------------

    def quantize(self, x: Value, counter: Counter, name: str) -> Value:
        """The levels that a quantizer makes of a value."""
        count = len(counter.boundaries)
        if not 1 <= count <= MOST_LEVELS:
            raise QuantizedError(
                "a quantizer of activations with too many levels",
                found=f"{count + 1} levels",
                allowed=f"2 to {MOST_LEVELS + 1}, 8 bits",
                remedy="train with fewer bits, or leave the quantizer out",
            )
        sign = signs(x.steps, x.shape[0])
        if x.real and counter.computed and not x.steps and not any(p.through for p in x.parts):
            found = as_computed(counter)
        else:
            finish = least_real if x.real else least_whole
            found = reached(x.steps, counter.boundaries, counter.strict, finish)
        found = found.reshape(count, *padded(found.shape[1:], x.shape))
        make = self._beside if x.host else self._inside
        made = make(x, found, sign, name)
        for k, pool in enumerate(x.pools):
            made = self.max_pool(made, pool, f"{name}.pool{k or ''}")
        return made.then(counter.worth)

    def _inside(self, x: Value, found: Array, sign: Whole, name: str) -> Value:
        """Levels on the chip (cases 1 and 2)."""
        shape = x.shape
        by = sign.reshape(-1, *(1,) * (len(shape) - 1))
        low, high = np.minimum(x.low * by, x.high * by), np.maximum(x.low * by, x.high * by)
        thresholds, always = within(found, low, high)
        least = thresholds.min(axis=(0, *range(2, thresholds.ndim)))  # (C,) or (1,)
        lift = np.maximum(1 - np.broadcast_to(least, (shape[0],)), 0)
        current = self._current(x, sign, lift, shape, name)
        lifted = thresholds + lift.reshape(1, -1, *(1,) * (len(shape) - 1))
        edge = self._node(name, Levels(narrow(lifted)), (current,), shape)
        steps = (Affine.of(1, always),) if always.any() else ()
        count = len(found)
        none = np.zeros((), np.int64)
        return Value(shape, (Part(edge),), none, none + count, steps)

    def _beside(self, x: Value, found: Array, sign: Whole, name: str) -> Value:
        """Levels that the host makes (case 4)."""
        count, none = len(found), np.zeros((), np.int64)
        most = np.finfo(np.float64).max
        thresholds = np.clip(found, -most, most)
        first = all(p.times is not None for p in x.parts)  # nothing but the input itself
        host = first and count > THERMOMETER
        if first and not bool((sign < 0).any()) and len(x.parts) == 1 and x.parts[0].times == 1:
            current = x.parts[0].edge
        else:
            current = self._current(x, sign, np.zeros(x.shape[0], np.int64), x.shape, name)
        op = Levels(narrow(thresholds))
        edge = self._node(name, op, (current,), x.shape, "host" if host else "main")
        return Value(x.shape, (Part(edge),), none, none + count, host=host)

    def readout(self, x: Value, name: str) -> str:
        """An integrator whose greatest output is the network's greatest, ties included.

        Raises:
            QuantizedError: See `comparable`; and if nothing would run on the chip.
        """
        if x.host or x.real:
            raise QuantizedError(
                "no layer of the network would run on the chip",
                found="no quantizer behind the first layer",
                remedy="quantize the activations between the layers",
            )
        factor, bias = comparable(x)
        current = self._current(x, factor, bias, x.shape, f"{name}.sum")
        return self._node(name, Neuron(np.asarray(np.inf), reset="none"), (current,), x.shape)

    def graph(self, outputs: Sequence[str], dt: float) -> Graph:
        """The graph, of one step; what no output depends on is left out."""
        inputs = (Edge(self.name, self.shape, self.domain),)
        graph = Graph(inputs, (), tuple(outputs), 1, dt).rebuilt(self.nodes)
        needed = graph.ancestors(outputs)
        return graph.rebuilt(n for n in graph.nodes if n.name in needed)

    # ---- nodes --------------------------------------------------------------------------------

    def _node(
        self, name: str, op: Op, reads: Sequence[str], shape: Shape, role: Role = "main"
    ) -> str:
        made = name
        while made in self._names:
            self._names[name] += 1
            made = f"{name}_{self._names[name]}"
        self._names[made] = 1
        self._shapes[made] = shape
        self.nodes.append(Node(op, tuple(reads), Edge(made, shape, SPIKE), role, name))
        return made

    def _current(self, x: Value, factor: Whole, bias: Whole, shape: Shape, name: str) -> str:
        """The sum of the parts as an edge, times ``factor`` and plus ``bias`` by channel (C,)."""
        edges: list[str] = []
        for part in x.parts:
            *inner, last = collected(part, shape)
            edge, size = part.edge, self._shapes[part.edge]
            for op in inner:
                size, _ = op.infer(Edge("x", size, SPIKE))
                edge = self._node(f"{name}.pool", op, (edge,), size)
            layer = times(last, factor)
            if bias.any() and not edges:
                layer = biased(layer, bias)
            if float(np.abs(layer.weight).max(initial=0.0)) > WIDEST:
                raise too_wide(layer)
            edges.append(self._node(f"{name}.in", layer, (edge,), shape))
        return edges[0] if len(edges) == 1 else self._node(f"{name}.sum", Add(), edges, shape)
