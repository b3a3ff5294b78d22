"""Remove neurons that can never fire, for any input, and the weights that only they need.

The proof: until its first spike a membrane obeys ``v <- decay * v + x`` with x at most the sum of
the positive weights (times the most their inputs can carry) plus the bias. If that recursion stays
below the threshold for all T steps, there is no first spike.

Cases:
1. Channels (or single neurons of a vector) that convolutions and linear layers feed and read: gone,
   with their rows, their thresholds and the columns that read them.
2. A whole layer that never fires, in front of a layer that shares a sum with others: the sum goes
   on without it, and its bias joins another layer's.
3. A whole layer that is all that the next one hears stays: without it the network has no input.
4. Channels that one-to-one synapses, grouped convolutions, gates, pools, delays or an output tie to
   others stay.
The reasons of 3 and 4 are noted. What can be proved dead only without the removed is found in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Op, Shape
from purespike.compiler.ir.ops import SYNAPSES, Add, Conv2d, Flatten, Linear, Neuron
from purespike.compiler.ir.rewrite import Match, applied, only_reader
from purespike.compiler.passes.fold_constants import drop_layer
from purespike.compiler.proofs.ranges import current_interval

Mask = NDArray[np.bool_]
_MARGIN = 1e-9  # of rounding, in sums of real numbers
_UNDERSTOOD = {"threshold", "decay", "reset", "amount", "initial", "fixed"}


def remove_dead(graph: Graph) -> Graph:
    """The graph with cases 1 and 2 applied until none applies."""
    while True:
        for node, dead in _silent(graph):
            match = _layer_gone(graph, node) if dead.all() else _sliced(graph, node, ~dead)
            if isinstance(match, tuple):
                graph = applied(graph, match)
                graph = _still_read(graph, node.name)
                break
        else:
            return graph


def removed(before: Graph, after: Graph) -> tuple[str, ...]:
    """What went, and what stayed although it never fires, by module path."""
    notes = []
    for node in before.nodes:
        kept = after.producer(node.name)
        if not isinstance(node.op, Neuron):
            continue
        if kept is None:
            notes.append(f"removed {before.origin(node.name)}: it never fires, for any input")
        elif kept.output.shape != node.output.shape:
            old, new = node.output.shape[0], kept.output.shape[0]
            notes.append(
                f"removed {old - new} of {old} channels of {before.origin(node.name)} that never "
                "fire, for any input"
            )
    for node, dead in _silent(after):
        found = _layer_gone(after, node) if dead.all() else _sliced(after, node, ~dead)
        if isinstance(found, str):
            which = "which never fires" if dead.all() else f"of which {dead.sum()} never fire"
            notes.append(f"left {after.origin(node.name)}, {which}: {found}")
    return tuple(notes)


def _silent(graph: Graph) -> Iterator[tuple[Node, Mask]]:
    """Layers with channels that provably never fire, and which."""
    for node in graph.nodes:
        if isinstance(node.op, Neuron) and node.op.fires:
            dead = never_fires(graph, node, node.op)
            if dead.any():
                yield node, dead


def never_fires(graph: Graph, node: Node, op: Neuron) -> Mask:
    """For each channel (the first axis): can it be shown that no input makes it fire?"""
    nothing = np.zeros(node.output.shape[0], dtype=bool)
    known = all(f.name in _UNDERSTOOD or getattr(op, f.name) == f.default for f in fields(type(op)))
    interval = current_interval(graph, node.inputs[0])
    if type(op) is not Neuron or not known or interval is None:
        return nothing
    unit = 2**op.fixed.fraction_bits if op.fixed else 1
    high = np.broadcast_to(interval[1], node.output.shape)
    threshold = np.broadcast_to(op.threshold, node.output.shape)
    top = np.full(node.output.shape, float(op.initial))
    highest = np.full(node.output.shape, -np.inf)
    for _ in range(graph.steps):
        kept = top * op.decay
        if op.fixed:  # rounds towards zero: a negative membrane is lifted, by less than a unit
            kept = np.where(kept < 0, kept + 1 / unit, kept)
        top = kept + high
        highest = np.maximum(highest, top)
    below = highest + _MARGIN * np.maximum(1.0, np.abs(highest)) < threshold
    silent: Mask = below.reshape(len(below), -1).all(axis=1)
    return silent


def _sliced(graph: Graph, node: Node, keep: Mask) -> Match | str:  # case 1
    if node.name in graph.outputs:
        return "it is an output"
    swaps: dict[str, list[Node]] = {}
    stack = [(node.inputs[0], node)]
    while stack:
        name, parent = stack.pop()
        part = graph.producer(name)
        if part is None or only_reader(graph, name) is not parent:
            return f"something else reads what {graph.origin(name)} makes"
        if isinstance(part.op, Add):
            stack += [(i, part) for i in part.inputs]
        elif isinstance(part.op, Linear) or (isinstance(part.op, Conv2d) and part.op.groups == 1):
            bias = None if part.op.bias is None else part.op.bias[keep]
            swaps[name] = [
                replace(part, op=replace(part.op, weight=part.op.weight[keep], bias=bias))
            ]
        else:
            return f"one-to-one or grouped synapses feed it ({graph.origin(name)})"
    columns = _columns(graph, node, keep)
    if isinstance(columns, str):
        return columns
    assert isinstance(node.op, Neuron)
    shape = node.output.shape
    op = replace(
        node.op,
        threshold=_rows(node.op.threshold, keep, shape),
        amount=_rows(node.op.amount, keep, shape),
    )
    return swaps | columns | {node.name: [replace(node, op=op)]}, {}


def _rows(parameter: Array, keep: Mask, shape: Shape) -> Array:
    """The parameter of the channels that stay."""
    own = parameter.ndim == len(shape) and parameter.shape[0] == len(keep)
    return parameter[keep] if own else parameter


def _columns(graph: Graph, node: Node, keep: Mask) -> dict[str, list[Node]] | str:
    """The layers that read the neurons, without what reads the dead ones."""
    found: dict[str, list[Node]] = {}
    for reader, op in _readers(graph, node):
        if isinstance(op, Conv2d) and op.groups == 1:
            narrow: Op = replace(op, weight=op.weight[:, keep])
        elif isinstance(op, Linear):
            size = op.weight.shape[1] // len(keep)
            narrow = replace(op, weight=op.weight[:, np.repeat(keep, size)])
        else:
            return f"{type(op).__name__} ties its channels to others ({graph.origin(reader.name)})"
        found[reader.name] = [replace(reader, op=narrow)]
    return found


def _readers(graph: Graph, node: Node) -> Iterator[tuple[Node, Op]]:
    """What reads a layer, looking through flattens."""
    for reader in graph.consumers(node.name):
        if isinstance(reader.op, Flatten) and reader.name not in graph.outputs:
            yield from _readers(graph, reader)
        else:
            yield reader, reader.op


def _layer_gone(graph: Graph, node: Node) -> Match | str:  # case 2
    if node.name in graph.outputs:
        return "it is an output"
    reason = "nothing reads it"
    for reader, op in _readers(graph, node):
        add = only_reader(graph, reader.name)
        if not isinstance(op, SYNAPSES) or add is None or not isinstance(add.op, Add):
            reason = f"it is all that {graph.origin(reader.name)} hears"
            continue
        if add.inputs.count(reader.name) == 1:
            match = drop_layer(graph, add, reader)
            if match is not None:
                return match
        reason = f"no other layer could take the bias of {graph.origin(reader.name)}"
    return reason


def _still_read(graph: Graph, name: str) -> Graph:
    """The graph without the layer, if nothing reads it any more, and what only it needed."""
    node = graph.producer(name)
    if node is None or any(True for _ in _readers(graph, node)):
        return graph
    needed = graph.ancestors(graph.outputs)
    kept = [n for n in graph.nodes if n.name in needed]
    return graph.rebuilt(kept)
