"""Empty the delays between two samples: hold the neurons before them silent in the gap.

Resetting a layer does not reach spikes that are under way to it. So each neuron whose spikes are
delayed gets, in every step between the samples, a current so low that it cannot fire whatever
arrives: after as many steps as the longest delay, nothing is under way. The next sample resets the
membranes. The current comes from a clock of stock neurons with a bias and a periodic reset, which
fire in the steps of the gap and never else. See docs/decisions/0005.
"""

from __future__ import annotations

import math

import numpy as np

from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.proofs.ranges import current_interval
from purespike.targets.lava.lower.layout import EmitError, to_lava_shape
from purespike.targets.lava.program.program import Connection, Lif, Process, Sparse
from purespike.targets.spec import LOIHI2

LARGEST = 127  # of an inhibitory weight here


def silence(
    graph: Graph, node: Node, op: Neuron, gap: int, depth: int
) -> tuple[list[Process], list[Connection]]:
    """The clock of a neuron and its inhibitory synapses.

    Args:
        graph: The integer graph.
        node: The node of the neuron.
        op: The neuron.
        gap: Steps between samples.
        depth: Of the neuron.

    Raises:
        EmitError: If the inhibition does not fit beside the other currents.
    """
    least = inhibition(graph, node, op)
    units = math.ceil(least / LARGEST)
    weight = math.ceil(least / units)
    _check(graph, node, op, gap, units * weight)
    clock, name = f"{node.name}.clock", f"{node.name}.silence"
    period, size = graph.steps + gap, int(np.prod(node.output.shape))
    step = np.repeat(np.arange(gap), units)
    # With bias 1, unit j has counted T + j + 1 in step j of the gap; a reset starts each sample.
    processes: list[Process] = [
        Lif(
            clock,
            (gap * units,),
            vth=graph.steps + step,
            bias=1,
            reset_interval=period,
            reset_offset=depth,  # its synapse takes the step that it is ahead of the neuron
        ),
        Sparse(
            name,
            np.full(size * gap * units, -weight),
            rows=np.repeat(np.arange(size), gap * units),
            columns=np.tile(np.arange(gap * units), size),
            size=(size, gap * units),
        ),
    ]
    wires = [
        Connection(clock, name),
        Connection(name, node.name, to_lava_shape(node.output.shape)),
    ]
    return processes, wires


def inhibition(graph: Graph, node: Node, op: Neuron) -> int:
    """The least current that keeps a neuron below its threshold, whatever else arrives.

    A neuron that resets to zero ends each step below its threshold, so it suffices that the
    membrane cannot rise; one that subtracts may end above it, and has to come down first. What is
    left of a synaptic current counts as arriving; once it is below zero it stays there.
    """
    ceiling = LOIHI2.current_limit + 1.0  # more is refused below, however much it is
    interval = current_interval(graph, node.inputs[0])
    arrives = max(float(interval[1].max()) if interval else ceiling, 1.0)
    current = membrane = 0.0
    low, high = float(op.threshold.min()), float(op.threshold.max())
    for _ in range(graph.steps):
        current = min(op.current_decay * current + arrives, ceiling)
        membrane = min(op.decay * membrane + current, ceiling)
        membrane = max(min(membrane, high), membrane - float(op.amount.min()))
    least = op.current_decay * current + arrives
    if op.reset == "subtract":
        least += max(membrane - low, 0.0) + 1.0
    return math.ceil(least)


def _check(graph: Graph, node: Node, op: Neuron, gap: int, inhibition: int) -> None:
    # On the chip a bias joins behind the current, unless there is one that fades.
    interval = current_interval(graph, node.inputs[0], biased=op.current_decay > 0)
    lowest = min(float(interval[0].min()) if interval else -math.inf, 0.0)
    current = 0.0
    for step in range(graph.steps + gap):
        current = op.current_decay * current + lowest - (inhibition if step >= graph.steps else 0)
    if not current >= -LOIHI2.current_limit:
        raise EmitError(
            "the delayed spikes of this layer cannot be stopped between samples",
            where=graph.origin(node.name),
            found=f"an inhibition of {inhibition} beside currents down to {lowest:g}",
            allowed=f"a current of -{LOIHI2.current_limit} or more",
            remedy="use smaller weights or fewer time steps, or a reset to zero",
        )
