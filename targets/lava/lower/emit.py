"""Lower a scheduled integer graph to Lava processes.

Layout: our (C, H, W) is Lava's (W, H, C). Lava convolves where torch correlates, so kernels are
flipped. Neurons fire on ``>=`` here and on strict ``>`` there; both compare whole numbers (or
64ths), so the threshold moves by one unit and nothing else changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import Convolution, require_choice
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.proofs.ranges import Bounds, bound_neurons
from purespike.compiler.wording import QUANTIZE
from purespike.targets.lava.lower.between_samples import silence
from purespike.targets.lava.lower.layout import EmitError, integers, to_lava_shape
from purespike.targets.lava.lower.schedule import Schedule, incoming
from purespike.targets.lava.lower.synapses import emit_bias, emit_synapse
from purespike.targets.lava.program.program import (
    Connection,
    Lif,
    Process,
    Program,
    SoftIf,
    Source,
    Sparse,
)
from purespike.targets.spec import LOIHI2

NEVER = 131071  # the highest threshold: an integrator below it never fires


def emit(
    graph: Graph, plan: Schedule, frames: NDArray[Any], *, conv: Convolution = "fast"
) -> Program:
    """The Lava program of a graph for a batch of samples, back to back.

    Args:
        graph: An integer graph with one spike input.
        plan: Its schedule.
        frames: Input spikes (T, B, *shape).
        conv: ``fast`` or ``stock``: which model computes convolutions.

    Returns:
        A program that records the spikes of every firing layer and the membranes of integrators.

    Raises:
        EmitError: If something has no exact form in Lava; the message names the layer.
        UsageError: If there is no such model.
    """
    require_choice("conv", Convolution, conv)
    if len(graph.inputs) != 1 or not graph.inputs[0].domain <= SPIKE:
        raise EmitError(
            "the chip must receive exactly one input of spikes",
            found=", ".join(map(str, graph.inputs)),
            remedy="run the host encoder first",
        )
    source = graph.inputs[0]
    if frames.shape != (graph.steps, *frames.shape[1:2], *source.shape) or not frames.size:
        raise EmitError(
            "the input has the wrong shape",
            where=source.name,
            found=str(frames.shape),
            allowed=f"(T, B, ...) = ({graph.steps}, B, {', '.join(map(str, source.shape))})",
        )
    if not source.domain.holds(frames):
        raise EmitError(
            "the input is not a spike train",
            where=source.name,
            found=f"values {frames.min():g} to {frames.max():g}",
            allowed="0 and 1",
        )
    bounds = bound_neurons(graph, current_limit=LOIHI2.current_limit)
    processes: list[Process] = [
        Source(source.name, to_lava_shape(source.shape), _frames(frames, plan.gap))
    ]
    wires: list[Connection] = []
    uses: dict[str, int] = {}
    for node in graph.nodes:
        if not isinstance(node.op, Neuron):
            continue
        synapses = incoming(graph, node)
        biases = [b for s in synapses if (b := getattr(s.op, "bias", None)) is not None]
        bias = _to_int(sum(biases, start=np.zeros(1)), node)
        if node.op.current_decay and bias.any():
            added = emit_bias(node, bias)
            processes += added[0]
            wires += added[1]
            bias = np.zeros(1, np.int64)
        processes.append(_neuron(graph, node, node.op, bias, plan, bounds[node.name]))
        if node.name in plan.silenced:
            added = silence(graph, node, node.op, plan.gap, plan.depth[node.name])
            processes += added[0]
            wires += added[1]
        for synapse in synapses:
            # A process has one delay and one place: each further use of a synapse is a copy of it.
            copy = uses[synapse.name] = uses.get(synapse.name, 0) + 1
            name = synapse.name if copy == 1 else f"{synapse.name}.copy{copy}"
            added = emit_synapse(graph, synapse, name, plan.delays[node.name, synapse.name])
            processes += added[0]
            wires += added[1]
            last = added[0][-1]
            shape = to_lava_shape(node.output.shape)
            wires.append(
                Connection(last.name, node.name, shape if isinstance(last, Sparse) else "")
            )
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    return Program(
        processes=tuple(processes),
        connections=tuple(wires),
        steps=(graph.steps + plan.gap) * frames.shape[1] + plan.latency,
        record=tuple(n.name for n in neurons if isinstance(n.op, Neuron) and n.op.fires),
        record_v=tuple(n.name for n in neurons if isinstance(n.op, Neuron) and not n.op.fires),
        conv=conv,
    )


def from_lava(x: NDArray[Any], steps: int, samples: int, depth: int, gap: int = 0) -> Array:
    """A recording (steps, *Lava shape) as (T, B, *shape) in logical time."""
    starts = depth + np.arange(samples) * (steps + gap)
    split = x[np.arange(steps)[:, None] + starts]
    axes = (0, 1, *range(split.ndim - 1, 1, -1))
    return split.transpose(axes).astype(np.float64)


def _frames(x: NDArray[Any], gap: int) -> NDArray[np.uint8]:
    """(T, B, C, H, W) -> (B * T, W, H, C); with gaps after each sample, a silent sample first."""
    axes = (1, 0, *range(x.ndim - 1, 1, -1))
    moved = x.transpose(axes).astype(np.uint8)
    if gap:
        moved = np.pad(moved, [(1, 0), (0, gap)] + [(0, 0)] * (moved.ndim - 2))
    return np.ascontiguousarray(moved.reshape(-1, *moved.shape[2:]))


def _neuron(
    graph: Graph, node: Node, op: Neuron, bias: NDArray[np.int64], plan: Schedule, bounds: Bounds
) -> Lif | SoftIf:
    if op.initial:
        raise EmitError(
            "Lava resets the membrane to zero between samples",
            where=graph.origin(node.name),
            found=f"initial membrane {op.initial:g}",
            remedy="fold the initial membrane into the threshold, or train without one",
        )
    shape = to_lava_shape(node.output.shape)
    common: dict[str, Any] = {"bias": _spread(bias, node)}
    common["dv"] = round((1.0 - op.decay) * 4096) if op.decay else 4095
    common["du"] = 4095 - round(op.current_decay * 4096)
    # dv = 4095 keeps 1/4096 of the membrane: nothing, below 4096 / 64 weights.
    if op.decay == 0.0 and max(map(abs, bounds.membrane)) >= 64:
        if op.current_decay:
            raise EmitError(
                "a memoryless neuron of this size would remember in Lava",
                where=graph.origin(node.name),
                found=f"membrane {bounds.membrane[0]:g} to {bounds.membrane[1]:g} weights, and a "
                "synaptic current, so that it cannot be reset at every step",
                allowed="below 64",
                remedy="train the neuron without a synaptic current, or let its membrane leak",
            )
        common |= {"reset_interval": 1, "reset_offset": 0}  # at every step
    elif op.decay or op.current_decay or node.name in plan.silenced:
        interval, offset = graph.steps + plan.gap, 1 + plan.depth[node.name]
        common |= {"reset_interval": interval, "reset_offset": offset}
    if not op.fires:
        if bounds.membrane[1] > NEVER:
            raise EmitError(
                "the readout could fire",
                where=graph.origin(node.name),
                found=f"membrane up to {bounds.membrane[1]:g} weights",
                allowed=f"{NEVER}",
                remedy="use fewer time steps or a smaller readout",
            )
        return Lif(node.name, shape, vth=NEVER, **common)
    vth = _spread(_strict(graph, node, op), node)
    if op.reset == "subtract" and op.decay:  # a memoryless neuron forgets what any reset leaves
        amount = _spread(_to_int(op.amount, node), node)
        return SoftIf(node.name, shape, vth=vth, amount=amount, **common)
    return Lif(node.name, shape, vth=vth, **common)


def _strict(graph: Graph, node: Node, op: Neuron) -> NDArray[np.int64]:
    """The whole vth for which ``v > vth`` is ``v >= threshold`` on the values v can take."""
    units = op.threshold * 64
    if not op.leaks:  # v is a multiple of 64 units
        return (np.ceil(units / 64) - 1).astype(np.int64)
    vth = (units - 1) / 64
    if not bool((vth == np.rint(vth)).all()):
        raise EmitError(
            "Lava cannot compare with this threshold",
            where=graph.origin(node.name),
            found=f"{op.threshold}",
            allowed="k + 1/64 for whole k, in a leaky neuron",
            remedy=QUANTIZE,
        )
    return vth.astype(np.int64)


def _spread(x: NDArray[Any], node: Node) -> Any:
    """One number where all are equal, else the full array in Lava's layout."""
    if x.size == 1 or bool((x == x.flat[0]).all()):
        return int(x.flat[0])
    full = np.broadcast_to(x, node.output.shape)
    return np.ascontiguousarray(full.transpose(*range(full.ndim - 1, -1, -1)))


def _to_int(x: Array, node: Node) -> NDArray[np.int64]:
    """Whole numbers that broadcast to the layer: a bias (C,) of a convolution becomes (C, 1, 1)."""
    if x.ndim == 1 and x.size > 1 and len(node.output.shape) == 3:
        x = x.reshape(-1, 1, 1)
    return integers(x, node)
