"""From a graph in integers to the layers of the C program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.compiler.proofs.ranges import Bounds, bound_neurons
from purespike.compiler.wording import QUANTIZE
from purespike.targets.c.layers import Arm, CError, Ints, Layer, Line, Place, Program, stored

NEVER = (1 << 31) - 1  # a threshold that no membrane reaches
_LARGEST = 1 << 29  # what 32 bits hold with room for one more addition


def lower(graph: Graph) -> Program:
    """The C program of a compiled network, the part on the chip alone.

    Args:
        graph: In integers; one input of spikes.

    Raises:
        CError: If a node has no exact form in integers, or a synapse does not hear spikes.
    """
    if len(graph.inputs) != 1 or not graph.inputs[0].domain <= SPIKE:
        raise CError(
            "the C program takes one input of spikes",
            found=", ".join(map(str, graph.inputs)),
            remedy="encode the input as spikes on the host",
        )
    return _Lowering(graph).program()


@dataclass(frozen=True)
class _Heard:
    """Spikes as something hears them: the edge that fires, and how late by place of it."""

    name: str
    delay: Array | int = 0

    def later(self, steps: Array | int) -> _Heard:
        return _Heard(self.name, self.delay + steps)


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.bounds: dict[str, Bounds] = bound_neurons(graph, current_limit=np.inf)
        self.neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
        edge = graph.inputs[0]
        self.places: dict[str, Place] = {edge.name: _own_place(edge.shape)}
        self.lines = {edge.name: 0}
        self.kept = {edge.name: 1}
        for node in self.neurons:
            self.places[node.name] = self._place(node)
            if isinstance(node.op, Neuron) and node.op.fires:
                self.lines[node.name] = len(self.lines)
                self.kept[node.name] = 1

    def program(self) -> Program:
        layers = tuple(self._layer(n) for n in self.neurons)
        index = {n.name: i for i, n in enumerate(self.neurons)}
        outputs = []
        for name in self.graph.outputs:
            while (node := self.graph.producer(name)) and isinstance(node.op, Flatten):
                name = node.inputs[0]
            if name not in index:
                raise CError("an output of the C program is a layer of neurons", found=f"%{name}")
            outputs.append(index[name])
        lines = tuple(Line(n, self.places[n], self.kept[n]) for n in self.lines)
        return Program(lines, layers, tuple(outputs), self.graph.steps)

    def _synapses(self, name: str, delay: int = 0) -> Iterator[tuple[Node | None, str, int]]:
        """(synapse or None for a spike that counts 1, the edge it hears, steps behind it)."""
        node = self.graph.producer(name)
        match node.op if node else None:
            case Conv2d() | Linear() | Scale():
                assert node is not None
                yield node, node.inputs[0], delay
            case Add():
                assert node is not None
                for i in node.inputs:
                    yield from self._synapses(i, delay)
            case Flatten():
                assert node is not None
                yield from self._synapses(node.inputs[0], delay)
            case Delay(steps=steps) if isinstance(steps, int) and not self._spikes(name):
                assert node is not None
                yield from self._synapses(node.inputs[0], delay + steps)
            case _ if self._spikes(name):
                yield None, name, delay
            case op:
                raise CError(
                    "a neuron hears what has no form in the C program",
                    where=(node and node.origin) or name,
                    found=type(op).__name__,
                    allowed="Conv2d, Linear, Scale, Add, Flatten and Delay between neurons",
                    remedy="run the passes first",
                )

    def _spikes(self, name: str) -> bool:
        return self.graph.edge(name).domain <= SPIKE

    def _heard(self, name: str) -> _Heard:
        node = self.graph.producer(name)
        if node is None or (isinstance(node.op, Neuron) and node.op.fires):
            return _Heard(name)
        if isinstance(node.op, Flatten):
            return self._heard(node.inputs[0])
        if isinstance(node.op, Delay):
            steps = node.op.steps
            if not isinstance(steps, int):
                steps = np.broadcast_to(steps, node.output.shape).ravel()
            return self._heard(node.inputs[0]).later(steps)
        raise CError(
            "a synapse of the C program hears spikes",
            where=node.origin or name,
            found=f"{type(node.op).__name__} ({node.output})",
            remedy="run the passes first",
        )

    def _place(self, node: Node) -> Place:
        """That of a convolution in front of it, else of its own shape, else of what it hears."""
        shape = node.output.shape
        arms = list(self._synapses(node.inputs[0]))
        for arm, _, _ in arms:
            if arm is not None and isinstance(arm.op, Conv2d):
                return _own_place(arm.output.shape)
        if len(shape) != 3:
            for arm, name, _ in arms:
                if (arm is None or isinstance(arm.op, Scale)) and self._heard(name).name in (
                    self.places
                ):
                    return self.places[self._heard(name).name]
        return _own_place(shape)

    def _layer(self, node: Node) -> Layer:
        op, place = node.op, self.places[node.name]
        assert isinstance(op, Neuron)
        if op.fixed is None or (not op.fires and self.graph.consumers(node.name)):
            raise CError(
                "a neuron has no form in whole numbers",
                where=node.origin or node.name,
                found="real-valued membrane" if op.fixed is None else "an integrator others read",
                remedy=QUANTIZE if op.fixed is None else "read the integrator on the host",
            )
        arms, bias = [], np.zeros(1, np.int64)
        for synapse, heard, delay in self._synapses(node.inputs[0]):
            arms.append(self._arm(place, synapse, self._heard(heard).later(delay)))
            if isinstance(synapse.op if synapse else None, Conv2d | Linear):
                assert synapse is not None
                own = self._bias(synapse, delay)
                bias = bias + (own if isinstance(synapse.op, Conv2d) else _flat(own, place))
        fraction, limit = op.fixed.fraction_bits, op.fixed.limit
        b = self.bounds[node.name]
        current = (int(np.floor(b.current[0])), int(np.ceil(b.current[1])))
        held = [_units(node, w, a, place, 1 << fraction) for w, a in _numbers(op)]
        initial, threshold, amount = held
        taken = int(np.abs(amount).max()) if op.reset == "subtract" else 0
        edges = [np.clip(v * (1 << fraction), -limit, limit) for v in b.membrane]
        low = int(np.floor(min(edges[0], 0, initial.min()))) - taken
        high = int(np.ceil(max(edges[1], 0, initial.max()))) + taken
        shift, unit = fraction, 1 << fraction
        coarse = not op.leaks and all(not (a[a != NEVER] % unit).any() for a in held)
        if coarse and max(-low, high) < limit:  # then nothing clips, and weights are fine enough
            shift, low, high = 0, low // unit, -(-high // unit)
            threshold, amount = (np.where(a == NEVER, a, a // unit) for a in (threshold, amount))
        self._require(node, op, current, fraction, max(-low, high))
        return Layer(
            node.name,
            place,
            op,
            tuple(arms),
            self.lines.get(node.name),
            bias,
            threshold,
            amount,
            shift,
            (min(current[0], int(bias.min())), max(current[1], int(bias.max()))),
            (low, high),
        )

    def _require(
        self, node: Node, op: Neuron, current: tuple[int, int], fraction: int, membrane: int
    ) -> None:
        """Raise where 32 bits do not hold what a neuron computes."""
        largest = float(max(-current[0], current[1])) * (1 << fraction)
        if not max(largest, membrane) <= _LARGEST:
            raise CError(
                "the C program computes in 32 bits",
                where=node.origin or node.name,
                found=f"sums of up to {largest:g}, membranes of up to {membrane:g}",
                allowed=f"{_LARGEST}",
                remedy="use fewer inputs or smaller weights (fewer bits)",
            )
        if op.fixed and op.fixed.decay_bits > 24:
            raise CError("a decay of the C program has at most 24 bits", where=node.name)

    def _bias(self, synapse: Node, delay: int) -> Ints:
        op = synapse.op
        assert isinstance(op, Conv2d | Linear)
        if op.bias is None:
            return np.zeros(1, np.int64)
        if delay and bool(op.bias.any()):
            raise CError(
                "a delayed current has a bias, which would begin late as well",
                where=synapse.origin or synapse.name,
                remedy="put the delay in front of the layer",
            )
        return _whole(synapse, "bias", op.bias)

    def _arm(self, place: Place, synapse: Node | None, heard: _Heard) -> Arm:
        line = self.places[heard.name]
        own, late = (heard.delay, None) if isinstance(heard.delay, int) else (0, None)
        if not isinstance(heard.delay, int):
            own = int(heard.delay.min())
            late = (heard.delay.astype(np.int64) - own)[stored(line)]
            if late.max() > 255:
                raise CError("delays of the C program differ by at most 255 steps")
        longest = own + (int(late.max()) if late is not None else 0)
        self.kept[heard.name] = max(self.kept[heard.name], longest + 1)
        name = synapse.name if synapse else heard.name
        base = Arm(name, "points", self.lines[heard.name], own, np.ones(1, np.int64), late)
        if synapse is None or isinstance(synapse.op, Scale):
            source = None if line == place else _bits_of(line)[_back(line)][stored(place)]
            if synapse is None:
                return replace(base, source=source)
            assert isinstance(synapse.op, Scale)
            factor = _whole(synapse, "weight", synapse.op.factor)
            shape = synapse.output.shape
            return replace(base, source=source, weight=_spread(factor, shape, place))
        op = synapse.op
        base = replace(base, kind="rows")
        if isinstance(op, Conv2d):
            w = _whole(synapse, "weight", op.weight)
            out, inner, kh, kw = w.shape
            rows = w.reshape(op.groups, out // op.groups, inner, kh, kw).transpose(3, 4, 0, 2, 1)
            return replace(
                base,
                weight=rows.reshape(kh * kw, op.groups * inner, out // op.groups),
                kernel=(kh, kw),
                stride=op.stride,
                padding=op.padding,
                dilation=op.dilation,
                groups=op.groups,
            )
        assert isinstance(op, Linear)
        kernel, pixels, order = (line[1], line[2]), line[1] * line[2], stored(place)
        kept = _whole(synapse, "weight", op.kept)
        if op.run == 1 and pixels > 1:  # a file may have written out what all places share
            places = kept.reshape(len(kept), line[0], pixels)
            kept = places[:, :, 0] if (places == places[:, :, :1]).all() else kept
        if pixels > 1 and kept.shape[1] == line[0]:
            return replace(
                base,
                weight=kept.T[None][:, :, order],
                kernel=kernel,
                shared=True,
                sliced=place[1:] != (1, 1),
            )
        w = op.spread(kept).T[stored(line)][:, order]
        return replace(
            base,
            weight=w.reshape(kernel[0] * kernel[1], line[0], -1),
            kernel=kernel,
            sliced=place[1:] != (1, 1),
        )


def _own_place(shape: tuple[int, ...]) -> Place:
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (int(np.prod(shape)), 1, 1)


def _bits_of(line: Place) -> Ints:
    """The bit that holds each place of a line, in its order in memory."""
    pixel = 8 * -(-line[0] // 8)
    return (np.arange(line[1] * line[2])[:, None] * pixel + np.arange(line[0])).ravel()


def _back(line: Place) -> Ints:
    """Where each place of the graph's order lies in memory."""
    return np.argsort(stored(line))


def _numbers(op: Neuron) -> Iterator[tuple[str, Array]]:
    yield "initial membrane", np.array(op.initial)
    yield "threshold", op.threshold if op.fires else np.array(np.inf)
    yield "reset amount", op.amount if op.reset == "subtract" else np.array(0.0)


def _units(node: Node, what: str, values: Array, place: Place, unit: int) -> Ints:
    whole = _whole(node, what, np.where(np.isposinf(values), 0.0, values) * unit)
    return _spread(np.where(np.isposinf(values), NEVER, whole), node.output.shape, place)


def _spread(values: Ints, shape: tuple[int, ...], place: Place) -> Ints:
    """One number, one for each channel, or one for each place in memory: the least that says it."""
    full = np.broadcast_to(values, shape).ravel()[stored(place)].reshape(-1, place[0])
    if (full == full.flat[0]).all():
        return full.ravel()[:1]
    return full[0] if (full == full[:1]).all() else full


def _flat(bias: Ints, place: Place) -> Ints:
    """The bias of a linear layer, one for each output."""
    return bias if bias.size == 1 else _spread(bias, bias.shape, place)


def _whole(node: Node, what: str, values: Array) -> Ints:
    if not bool((np.rint(values) == values).all()) or float(np.abs(values).max(initial=0)) > 2**31:
        raise CError(
            f"a {what} is not a whole number of 32 bits",
            where=node.origin or node.name,
            found=f"{values.min():g} to {values.max():g}",
            remedy=QUANTIZE,
        )
    return values.astype(np.int64)
