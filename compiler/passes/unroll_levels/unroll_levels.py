"""Make spikes of level activations: a neuron for each level, each with a copy of each synapse.

A count is a thermometer: ``s = sum over d of [m >= t_d]``, so D neurons that see the same current
send what one level activation sends, and ``W s = sum of W b_d``: additions only. In real numbers
outputs move by rounding, since sums are added up in another order; where nothing is rounded, as
in the chip's integers, all is equal bit for bit.

Cases:
1. Without memory (decay 0, or samples of one step): D neurons of decay 0 with the thresholds
   ``t_d``, on one current.
2. With memory: D neurons that are never reset, on one current that also carries what the spikes of
   all of them take off, a step later: ``-decay * amount`` through one-to-one synapses. Proof: let
   m(t) be the membrane before the reset, ``m(t) = decay * (m(t-1) - amount * s(t-1)) + x(t)``, and
   v_d that of neuron d, ``v_d(t) = decay * v_d(t-1) + x(t) - decay * amount * sum_e b_e(t-1)``.
   Both begin as x(0). If v_d(t-1) = m(t-1) for all d, then ``sum_e b_e(t-1) = s(t-1)``, hence
   v_d(t) = m(t). All membranes are one number, in the chip's rounding too.
3. Levels below zero (ternary spikes): neurons on the negated current, with synapses of negated
   weights, whose spikes count as -1. Theirs is -m: what takes off m adds to it.
4. A convolution, linear layer or factor that reads counts: one copy for each spike train, which are
   added up; the copies share their weights, and the first one has the bias. A level scale or the
   sign of case 3 goes into the weights.
5. Flattens, delays, average pools and means over time of counts: of each train.
6. A sum of counts, whose D may differ: the trains of all of them.
7. Max pooling of one activation's counts, none below zero: each train's, an OR, since the maximum
   reaches d where one of the counts does.
8. Counts that reach a neuron without a synapse: their spikes, or one-to-one synapses of what each
   is worth. Counts as an output: the same, into an integrator without memory.
9. More levels than allowed, a maximum of sums, of factors that are not above 0 or of counts below
   zero, and products with counts: refused.
10. The end of an encoder on the host, behind an analog input: one layer of neurons with a channel
    for each level, since the chip has one input. What reads it has its weights once for each.
    With memory over several steps: refused. Levels that are the host's already (role ``host``: an
    input of many bits, which its first layer reads beside the chip) stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Shape
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    Flatten,
    Levels,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.ir.rewrite import counts, rewritten
from purespike.compiler.passes.fold_scales.pooling import max_pool, pool_into_neurons
from purespike.compiler.passes.unroll_levels.synapses import one_to_one, waiting, weighed
from purespike.compiler.passes.unroll_levels.trains import (
    LINEAR,
    LevelsError,
    Train,
    find_trains,
    numbered,
    refused,
)
from purespike.compiler.proofs.currents import is_current
from purespike.compiler.wording import Advice

LIMIT = 16


def unroll_levels(graph: Graph, limit: int = LIMIT) -> Graph:
    """The graph with spikes for counts; the same object where there is no level activation.

    Args:
        graph: One whose batch norms, pools and factors are folded as far as they can be.
        limit: How many levels an activation may have, those below zero included.

    Raises:
        LevelsError: Case 9.
    """
    if not any(isinstance(n.op, Levels) and n.role != "host" for n in graph.nodes):
        return graph
    for node in graph.nodes:
        if isinstance(node.op, Levels) and node.role != "host" and node.op.levels > limit:
            raise LevelsError(
                "a level activation has more levels than a layer may be copied for",
                where=graph.origin(node.name),
                found=f"{node.op.levels} levels, so {node.op.levels} neurons for each value",
                allowed=f"{limit} levels",
                remedy=Advice("allow more ({levels}), or train with fewer"),
            )
    trains = find_trains(graph)
    nodes = [new for node in graph.nodes for new in _Unrolled(graph, trains).of(node)]
    return rewritten(graph.rebuilt(nodes), (max_pool, pool_into_neurons))


def unroll_network(graph: Graph, limit: int = LIMIT) -> Graph:
    """`unroll_levels` of a network to deploy, whose counts over several steps nobody would add up.

    Raises:
        LevelsError: Case 9, or counts as an output: a readout is read at the last step.
    """
    for name in graph.outputs:
        if graph.steps > 1 and not graph.edge(name).domain <= SPIKE and counts(graph, name):
            raise LevelsError(
                "the network ends in counts of each step, and a readout is read at the last one",
                where=graph.origin(name),
                found=f"{graph.edge(name)}, {graph.steps} steps",
                allowed="spikes, a mean over time, or a layer and a mean over time",
                remedy="average over time at the end: purespike.nn.TimeMean()",
            )
    return unroll_levels(graph, limit)


def unrolled(before: Graph, after: Graph) -> tuple[str, ...]:
    """What was unrolled, by module path, and what it costs in neurons."""
    return tuple(
        f"unrolled {before.origin(n.name)}: {n.op.levels} level{'s' * (n.op.levels > 1)}, "
        f"{n.op.levels * int(np.prod(n.output.shape))} neurons for {int(np.prod(n.output.shape))}"
        + (" values" if not n.op.decay else " multi-spike neurons")
        for n in before.nodes
        if isinstance(n.op, Levels) and n.role != "host"
    )


class _Unrolled:
    """The nodes that take a node's place."""

    def __init__(self, graph: Graph, trains: dict[str, tuple[Train, ...]]) -> None:
        self.graph, self.trains = graph, trains

    def of(self, node: Node) -> Iterator[Node]:
        if isinstance(node.op, Levels) and node.role != "host":
            yield from self._levels(node, node.op)
        elif isinstance(node.op, Conv2d | Linear) and node.inputs[0] in self.trains:
            yield from self._copied(node, node.op)
        elif isinstance(node.op, Neuron | Add) and node.name not in self.trains:
            yield from self._fed(node)
        elif isinstance(node.op, (*LINEAR, MaxPool2d)) and node.name in self.trains:
            if isinstance(node.op, MaxPool2d):
                self._require_one(node)
            for own, source in zip(
                self.trains[node.name], self.trains[node.inputs[0]], strict=True
            ):
                shape = own.shape(node.output.shape)
                op = waiting(node.op, source, node.output.shape)
                yield _like(node, own.name, op, (source.name,), shape)
        elif node.name not in self.trains:
            if any(i in self.trains and not self._is_train(i) for i in node.inputs):
                raise refused(self.graph, node, f"{type(node.op).__name__} of counts")
            yield node
        counts = node.name in self.trains and not self._is_train(node.name)
        if counts and node.name in self.graph.outputs:
            yield from self._counted(node)

    def _is_train(self, name: str) -> bool:
        """Is what an edge carries one train of spikes still, under its own name?"""
        return [t.name for t in self.trains[name]] == [name]

    def _levels(self, node: Node, op: Levels) -> Iterator[Node]:  # cases 1 to 3
        if self.trains[node.name][0].signs is not None:
            yield from _encoded(node, op, self.trains[node.name][0])
            return
        names = [t.name for t in self.trains[node.name]]
        above, below = names[: len(op.thresholds)], names[len(op.thresholds) :]
        remembers = op.decay > 0 and self.graph.steps > 1
        for side, thresholds, sign in ((above, op.thresholds, 1.0), (below, op.below, -1.0)):
            if not side or thresholds is None:
                continue
            stem = f"{node.name}.arriving" + ("" if sign > 0 else "-")
            current, made = self._current(node, stem, sign)
            yield from made
            if remembers:
                taken = []
                for k, name in enumerate(names):
                    late = f"{node.name}.late{k + 1}"
                    if sign > 0:
                        yield _like(node, late, Delay(1), (name,))
                    weight = -op.decay * op.amount * sign * (1 if name in above else -1)
                    taken.append(f"{stem}.reset{k + 1}")
                    yield _like(node, taken[-1], Scale(weight), (late,))
                yield _like(node, stem, Add(), (*current, *taken))
                current = (stem,)
            elif len(current) > 1:
                yield _like(node, stem, Add(), current)
                current = (stem,)
            for name, threshold in zip(side, thresholds, strict=True):
                neuron = Neuron(threshold, decay=0.0)
                if remembers:  # case 2: never reset by itself
                    neuron = Neuron(threshold, op.decay, "subtract", np.zeros(()))
                yield _like(node, name, neuron, current)

    def _current(self, node: Node, stem: str, sign: float) -> tuple[tuple[str, ...], list[Node]]:
        """The edges that add up to the current of a level activation, and what has to be made."""
        (source,) = node.inputs
        if sign > 0:
            return self._terms(node, stem, source)
        made: list[Node] = []
        done: dict[str, str] = {}

        def negated(name: str) -> str:
            if name in done:
                return done[name]
            maker = self.graph.producer(name)
            mine = f"{stem}.{name}"
            if name in self.trains:
                terms, extra = self._terms(node, mine, name, sign)
                made.extend(extra)
                if len(terms) == 1:
                    return terms[0]
                new: tuple[Op, tuple[str, ...]] = (Add(), terms)
            elif maker is None or not is_current(self.graph, name):
                new = (Scale(np.asarray(-1.0)), (name,))
            elif isinstance(maker.op, Scale):
                new = (Scale(-maker.op.factor), maker.inputs)
            elif isinstance(maker.op, Conv2d | Linear):
                bias = None if maker.op.bias is None else -maker.op.bias
                new = (reweighted(maker.op, np.negative, bias), maker.inputs)
            else:
                new = (maker.op, tuple(negated(i) for i in maker.inputs))
            draft = _like(node, mine, *new, shape=self.graph.edge(name).shape)
            if isinstance(draft.op, Conv2d | Linear) and draft.inputs[0] in self.trains:
                made.extend(self._copied(draft, draft.op))
            else:
                made.append(draft)
            done[name] = mine
            return mine

        return (negated(source),), made

    def _copied(self, node: Node, op: Conv2d | Linear) -> Iterator[Node]:  # case 4
        trains = self.trains[node.inputs[0]]
        shape = self.graph.edge(node.inputs[0]).shape
        same: dict[bytes, Conv2d | Linear] = {}
        names = []
        for k, train in enumerate(trains):
            key = repr((train.worth.tolist(), train.signs)).encode()
            if key not in same:
                found = weighed(op, train, shape)
                if found is None:
                    raise refused(
                        self.graph, node, "a convolution of counts whose factor varies in a channel"
                    )
                same[key] = found
            copy = same[key]
            if k == 0 and op.bias is not None:
                copy = reweighted(copy, lambda w: w, op.bias)
            names.append(numbered(node.name, k, len(trains)))
            yield _like(node, names[-1], copy, (train.name,))
        if len(trains) > 1:
            yield _like(node, node.name, Add(), tuple(names))

    def _terms(
        self, node: Node, stem: str, name: str, sign: float = 1.0
    ) -> tuple[tuple[str, ...], list[Node]]:
        """The spikes of an edge of counts, through a synapse where one is not worth 1 (case 8)."""
        if name not in self.trains:
            return (name,), []
        names: list[str] = []
        made: list[Node] = []
        for k, train in enumerate(self.trains[name]):
            if train.plain and sign == 1:
                names.append(train.name)
            else:
                names.append(f"{stem}.level{k + 1}")
                made.append(self._delivered(node, names[-1], name, train, sign))
        return tuple(names), made

    def _delivered(self, node: Node, name: str, counts: str, train: Train, sign: float) -> Node:
        op = one_to_one(train, sign, self.graph.edge(counts).shape)
        if op is None:
            raise refused(self.graph, node, "a factor of an encoder that varies within a channel")
        return _like(node, name, op, (train.name,), self.graph.edge(counts).shape)

    def _fed(self, node: Node) -> Iterator[Node]:  # case 8
        inputs: list[str] = []
        for k, name in enumerate(node.inputs):
            names, made = self._terms(node, f"{node.name}.term{k}", name)
            yield from made
            inputs += names
        if isinstance(node.op, Neuron) and len(inputs) > 1:
            yield _like(node, f"{node.name}.sum", Add(), tuple(inputs))
            inputs = [f"{node.name}.sum"]
        yield replace(node, inputs=tuple(inputs))

    def _counted(self, node: Node) -> Iterator[Node]:  # case 8
        names = []
        for k, train in enumerate(self.trains[node.name]):
            names.append(f"{node.name}.count{k + 1}")
            yield self._delivered(node, names[-1], node.name, train, 1.0)
        if len(names) > 1:
            yield _like(node, f"{node.name}.count", Add(), tuple(names))
            names = [f"{node.name}.count"]
        integrator = Neuron(np.asarray(np.inf), 0.0, "none")
        yield _like(node, node.name, integrator, tuple(names))

    def _require_one(self, node: Node) -> None:  # case 7
        """Refuse the maximum of anything but one activation's counts."""
        source = self.graph.producer(node.inputs[0])
        while source is not None and isinstance(source.op, Flatten | Delay | MaxPool2d | Scale):
            if isinstance(source.op, Scale) and not bool((source.op.factor > 0).all()):
                raise refused(self.graph, node, "the maximum of counts times a factor below zero")
            source = self.graph.producer(source.inputs[0])
        if source is None or not isinstance(source.op, Levels):
            raise refused(self.graph, node, "the maximum of sums of counts")
        if source.op.below is not None:
            raise refused(self.graph, node, "the maximum of counts below zero")


def _encoded(node: Node, op: Levels, train: Train) -> Iterator[Node]:  # case 10
    """The current as many times as there are levels, and one layer of neurons on it."""
    shape, signs = node.output.shape, train.signs
    assert signs is not None
    if len(shape) == 1:
        one = np.eye(train.channels)[:, None] * signs[:, None]  # (C, K, C)
        copies: Op = Linear(one.reshape(-1, train.channels))
    else:
        copies = Conv2d(np.tile(signs, train.channels).reshape(-1, 1, 1, 1), groups=shape[0])
    every = [*op.thresholds, *(() if op.below is None else op.below)]
    places = np.stack([np.broadcast_to(t, shape) for t in every], axis=1)  # (C, K, ...)
    threshold = places.reshape(train.shape(shape))
    first = threshold.reshape(len(threshold), -1)[:, :1]
    if bool((threshold.reshape(len(threshold), -1) == first).all()):
        threshold = first.reshape(-1, *(1,) * (len(shape) - 1))
    yield _like(node, f"{node.name}.arriving", copies, node.inputs, train.shape(shape))
    neuron = Neuron(threshold, decay=0.0)
    yield _like(node, train.name, neuron, (f"{node.name}.arriving",), train.shape(shape))


def _like(
    node: Node, name: str, op: Op, inputs: tuple[str, ...], shape: Shape | None = None
) -> Node:
    """A node in the place of ``node``, with a shape that a delay may ask for before it is typed."""
    edge = Edge(name, node.output.shape if shape is None else shape, SPIKE)
    return replace(node, op=op, inputs=inputs, output=edge)
