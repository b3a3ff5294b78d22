"""A smaller network on which the same two executors still differ.

Delta debugging (Zeller and Hildebrandt, 2002) on the graph: whatever can be taken away or made
plainer is, as long as the mismatch stays, until nothing more can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import islice
from typing import Any

import numpy as np

from helpers.differential import PASSES, Mismatch, Outcome, compare, execute
from helpers.random_graphs import Sample
from helpers.slicing import families, sliced
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Node
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import SYNAPSES, Add, Conv2d, Gate, Neuron, TimeMean
from purespike.compiler.ir.verify import verify

MOST = 2000  # networks that are tried
NO_NETWORK = (PurespikeError, ValueError, IndexError, KeyError)  # what is left is none
Candidate = Callable[[], Sample]


def again(sample: Sample, seen: Mismatch) -> Mismatch | None:
    """Does a network show the same mismatch: the same two, and the same kind of error?"""
    outcome = Outcome()
    if not sample.graph.outputs or not any(isinstance(n.op, Neuron) for n in sample.graph.nodes):
        return None  # nothing is left to compare
    read = (sample.graph.producer(i) for n in sample.graph.nodes if isinstance(n.op, Gate)
            for i in n.inputs)  # fmt: skip
    if any(node is not None and isinstance(node.op, (*SYNAPSES, Add)) for node in read):
        return None  # a current of 0 and 1 passes for spikes until `quantize` refuses it
    try:
        verify(sample.graph)
        if seen.between[1] == PASSES:
            outcome = compare(sample, ())
        else:
            names = [n for n in seen.between if n != "interpreter"]
            execute(sample.graph, sample.x, names, outcome)
    except NO_NETWORK:
        return None
    same = (m for m in outcome.mismatches if (m.between, m.error) == (seen.between, seen.error))
    return next(same, None)


def shrunk(sample: Sample, seen: Mismatch, most: int = MOST) -> tuple[Sample, str]:
    """The smallest network found that shows the mismatch, and what is said of it there.

    Args:
        sample: A network that shows it.
        seen: What `differential.compare` said of it.
        most: How many networks are tried at most.
    """
    if seen.between[1] != PASSES:
        sample = Sample(seen.graph, seen.x, sample.whole)
    said, tried, smaller = seen.said, 0, True
    been = {_key(sample)}
    while smaller:
        smaller = False
        for step in STEPS:
            at, candidates = 0, step(sample)
            while (candidate := next(candidates, None)) is not None and tried < most:
                at, tried = at + 1, tried + 1
                if found := _tried(candidate, seen, been):
                    sample, said, smaller = *found, True
                    been.add(_key(sample))
                    at -= 1  # what came before was in vain
                    candidates = islice(step(sample), at, None)
    return sample, said


def _tried(candidate: Candidate, seen: Mismatch, been: set[bytes]) -> tuple[Sample, str] | None:
    try:
        made = candidate()
        if _key(made) not in been and (found := again(made, seen)):
            return made, found.said
        made = _aligned(made)
    except NO_NETWORK:
        return None
    found = again(made, seen) if _key(made) not in been else None
    return (made, found.said) if found else None


def _aligned(s: Sample) -> Sample:
    """With the last neuron's threshold where its membrane is in the first step.

    What is taken away in front of it moves the membrane, and a fault may show at the threshold
    alone.
    """
    for k, node in enumerate(s.graph.nodes):
        if node.name in s.graph.outputs and isinstance(node.op, Neuron) and node.op.fires:
            current = run(s.graph, s.x, record=[node.inputs[0]]).values[node.inputs[0]][0]
            reached = float(current.max()) + node.op.initial
            if reached > 0:
                return _op(s, k, threshold=np.array(reached))
    raise ValueError("no threshold can be met")


def _key(sample: Sample) -> bytes:
    """What tells samples apart."""
    arrays = [a for n in sample.graph.nodes for a in n.op.arrays().values()]
    content = b"".join(np.ascontiguousarray(a).tobytes() for a in (sample.x, *arrays))
    return hashlib.sha256(repr((str(sample.graph), sample.x.shape)).encode() + content).digest()


# Steps: each yields smaller networks, the boldest first.


def _samples(s: Sample) -> Iterator[Candidate]:
    for k in range(s.x.shape[1] if s.x.shape[1] > 1 else 0):
        yield lambda k=k: replace(s, x=s.x[:, k : k + 1])


def _starts(s: Sample) -> Iterator[Candidate]:
    """Leave out what comes before an edge of spikes, which becomes the input."""
    for node in reversed(s.graph.nodes):
        if node.output.domain <= SPIKE and not node.op.delays:
            yield lambda node=node: _from(s, node)


def _from(s: Sample, first: Node) -> Sample:
    known = {first.name}
    for _ in s.graph.nodes:
        known |= {n.name for n in s.graph.nodes if known & {*n.inputs}}
    readers = [n for n in s.graph.nodes if n.name in known and n.name != first.name]
    outputs = tuple(o for o in s.graph.outputs if o in known - {first.name})
    if not outputs:
        raise ValueError("nothing is left")
    x = run(s.graph, s.x, record=[first.name]).values[first.name]
    edge = replace(first.output, domain=SPIKE)
    graph = replace(s.graph, inputs=(edge,), nodes=(), outputs=outputs)
    return replace(s, graph=graph.rebuilt(readers), x=np.asarray(x, np.float64))


def _ends(s: Sample) -> Iterator[Candidate]:
    """Leave out what comes after a neuron, which becomes the output; or one of the outputs."""
    for node in s.graph.nodes:
        if isinstance(node.op, Neuron) and s.graph.outputs != (node.name,):
            yield lambda node=node: _to(s, node.name)
    for name in s.graph.outputs if len(s.graph.outputs) > 1 else ():
        yield lambda name=name: _to(s, *(o for o in s.graph.outputs if o != name))


def _to(s: Sample, *outputs: str) -> Sample:
    kept = s.graph.ancestors(outputs)
    return replace(s, graph=s.graph.rebuilt([n for n in s.graph.nodes if n.name in kept], outputs))


def _bypasses(s: Sample) -> Iterator[Candidate]:
    """Leave out a node; or one input of a sum or a gate."""
    for k, node in enumerate(s.graph.nodes):
        for read in dict.fromkeys(node.inputs):
            if s.graph.edge(read).shape == node.output.shape and node.name not in s.graph.outputs:
                yield lambda k=k, read=read: _without(s, k, read)
        if isinstance(node.op, Add | Gate) and len(node.inputs) > 2:
            for i in range(len(node.inputs)):
                reads = (*node.inputs[:i], *node.inputs[i + 1 :])
                yield lambda k=k, reads=reads: _with(s, k, inputs=reads)


def _without(s: Sample, k: int, read: str) -> Sample:
    gone = s.graph.nodes[k].name
    nodes = [
        replace(n, inputs=tuple(read if i == gone else i for i in n.inputs))
        for n in s.graph.nodes
        if n.name != gone
    ]
    return _to(replace(s, graph=s.graph.rebuilt(nodes)), *s.graph.outputs)


def _with(s: Sample, k: int, **change: Any) -> Sample:
    nodes = list(s.graph.nodes)
    nodes[k] = replace(nodes[k], **change)
    return _to(replace(s, graph=s.graph.rebuilt(nodes)), *s.graph.outputs)


def _steps(s: Sample) -> Iterator[Candidate]:
    steps = s.graph.steps
    for fewer in dict.fromkeys((1, 2, steps // 2, steps - 1)):
        if 0 < fewer < steps:
            yield lambda n=fewer: _lasting(s, s.x[:n])
            yield lambda n=fewer: _lasting(s, s.x[-n:])


def _lasting(s: Sample, x: Array) -> Sample:
    nodes = [
        replace(n, op=TimeMean(len(x))) if isinstance(n.op, TimeMean) else n for n in s.graph.nodes
    ]
    return replace(s, graph=replace(s.graph, steps=len(x)).rebuilt(nodes), x=x)


def _sizes(s: Sample) -> Iterator[Candidate]:
    shape = s.graph.inputs[0].shape
    for axis in range(1, len(shape)):
        for kept in _parts(shape[axis]):
            places = [np.arange(n) for n in shape[1:]]
            places[axis - 1] = kept
            yield lambda places=tuple(places): _smaller(s, {}, places)
    for members in families(s.graph).values():
        for kept in _parts(s.graph.edge(members[0]).shape[0]):
            yield lambda m=members, kept=kept: _smaller(s, dict.fromkeys(m, kept), ())


def _parts(count: int) -> Iterator[Any]:
    """Halves of so many places, and all but one."""
    every = np.arange(count)
    if count > 1:
        yield from (every[: count // 2], every[count // 2 :])
    for left_out in range(count if 2 < count < 13 else 0):
        yield every[every != left_out]


def _smaller(s: Sample, channels: dict[str, Any], places: tuple[Any, ...]) -> Sample:
    graph, x = sliced(s.graph, s.x, channels, places)
    return replace(s, graph=graph, x=x)


PLAIN: dict[str, Any] = {
    "bias": None, "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1,
    "initial": 0.0, "current_decay": 0.0, "decay": 1.0, "reset": "zero", "steps": 1, "below": None,
}  # fmt: skip


def _plainer(s: Sample) -> Iterator[Candidate]:
    for k, node in enumerate(s.graph.nodes):
        for f in fields(node.op):
            value = getattr(node.op, f.name)
            if f.name not in PLAIN or value is PLAIN[f.name]:
                continue
            if isinstance(value, np.ndarray) or value != PLAIN[f.name]:
                yield lambda k=k, f=f: _op(s, k, **{f.name: PLAIN[f.name]})
        if isinstance(node.op, Conv2d) and node.op.weight.shape[2:] != (1, 1):
            h, w = node.op.weight.shape[2:]
            middle = node.op.weight[:, :, h // 2 : h // 2 + 1, w // 2 : w // 2 + 1]
            yield lambda k=k, w=middle: _op(s, k, weight=w, padding=(0, 0), dilation=(1, 1))


def _op(s: Sample, k: int, **change: Any) -> Sample:
    return _with(s, k, op=replace(s.graph.nodes[k].op, **change))


def _numbers(s: Sample) -> Iterator[Candidate]:
    """Parameters that are one number for all, zero in parts, or nearer to zero."""
    for k, node in enumerate(s.graph.nodes):
        for name, a in node.op.arrays().items():
            least = 0 if name in ("weight", "bias", "factor") else 1
            for smaller in _simpler(a, least):
                yield lambda k=k, name=name, a=smaller: _op(s, k, **{name: a})


def _simpler(a: Array, least: int) -> Iterator[Array]:
    if least and a.size > 1:
        for value in (a.min(), a.max()):
            yield np.full_like(a, value)
    if least and a.size > 1 and bool((a == a.flat[0]).all()):
        yield np.array(a.flat[0])
    yield from _zeroed(a, least)
    for make in (np.sign(a), np.trunc(a / 8), np.trunc(a / 2), a - np.sign(a), np.trunc(a)):
        made = np.where(np.isfinite(a), np.maximum(make, least) if least else make, a)
        if bool((made != a).any()):
            yield made


def _zeroed(a: Array, least: int = 0) -> Iterator[Array]:
    """With halves, quarters, ... of what is not zero set to zero."""
    places = np.flatnonzero(np.isfinite(a) & (a != least))
    part = len(places)
    while part:
        for start in range(0, len(places), part):
            made = a.copy()
            made.flat[places[start : start + part]] = least
            yield made
        part //= 2


def _inputs(s: Sample) -> Iterator[Candidate]:
    for x in _zeroed(s.x):
        yield lambda x=x: replace(s, x=x)


STEPS = (_samples, _ends, _starts, _steps, _bypasses, _sizes, _plainer, _inputs, _numbers)
