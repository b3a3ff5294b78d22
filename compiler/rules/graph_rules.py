"""The rules that a graph and a run of it decide. Each returns all findings, kept and broken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import (
    SYNAPSES,
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Levels,
    MaxPool2d,
    Neuron,
    Relu,
    TimeMean,
)
from purespike.compiler.passes.fold_scales.pooling import pool_remedy, why_pooled
from purespike.compiler.passes.split_host import NO_SPIKES
from purespike.compiler.proofs.counts import Counts
from purespike.compiler.proofs.currents import is_current
from purespike.compiler.proofs.domains import prove_domains
from purespike.compiler.proofs.ranges import Bounds
from purespike.compiler.proofs.witness import find_witnesses
from purespike.compiler.rules.finding import (
    ARITHMETIC,
    AUXILIARY,
    BOUNDARY,
    CURRENT_RANGE,
    MEMBRANE_RANGE,
    OPERATIONS,
    RULES,
    SPIKE_DOMAIN,
    SPIKE_RUN,
    Finding,
    verdict,
)
from purespike.compiler.wording import Advice

_REMEDY: dict[type, str] = {
    Add: "join spikes with a logical gate, such as purespike.nn.Or(), instead of ADD",
    Levels: "run unroll_levels: a level activation becomes a neuron for each level",
    Relu: "replace the ReLU by a spiking neuron",
    AvgPool2d: "pool spikes with max pooling (an OR) or a strided convolution, or average right "
    "before a layer that the average can be folded into",
    BatchNorm: "put the batch norm directly after a convolution or linear layer",
    TimeMean: "average over time after the last linear layer only",
    Gate: "run lower_gates",
    MaxPool2d: "max pool spikes, after the neuron",
}


def chip_nodes(graph: Graph) -> Iterator[Node]:
    """What runs on the chip."""
    return (n for n in graph.nodes if n.role != "host")


def place(node: Node) -> str:
    """How a finding names a node: by its path, with the module where the path does not show it."""
    if not node.origin or node.name.startswith(node.origin):
        return node.name
    return f"{node.name} (module {node.origin})"


def check_domains(graph: Graph, *, budget: int = 256, seed: int = 0) -> Iterator[Finding]:
    """PS001 at every synapse of the chip: the proved domain of what it receives.

    Where that is not a spike, the finding carries an input on which a run shows it, if one is found
    among ``budget`` tries; without one it fails all the same.
    """
    proved = prove_domains(graph)
    synapses = [n for n in chip_nodes(graph) if isinstance(n.op, SYNAPSES)]
    wrong = [n.inputs[0] for n in synapses if not proved[n.inputs[0]] <= SPIKE]
    search = find_witnesses(graph, wrong, seed=seed, budget=budget) if wrong else None
    for node in synapses:
        source = node.inputs[0]
        domain = proved[source]
        current = domain <= SPIKE and is_current(graph, source)
        finding = verdict(
            SPIKE_DOMAIN,
            place(node),
            domain <= SPIKE and not current,
            # Weights of 0 and 1 can make a current look like spikes: say what it is.
            f"{'a current' if current else domain} from {_culprit(graph, source)}"
            + (f", which no neuron fired: {domain}" if current else ""),
            limit="spikes of a neuron, a gate or the input" if current else "spike",
            remedy=_remedy(graph, source, node),
        )
        if search and not domain <= SPIKE:
            witness = search.found.get(source)
            shown = (
                f"witness: {witness}" if witness else f"no witness found in {search.tries} tries"
            )
            data = witness.data() if witness else None
            finding = replace(finding, measured=f"{finding.measured}; {shown}", witness=data)
        yield finding


def check_run(graph: Graph, trace: Trace) -> Iterator[Finding]:
    """PS002 at every synapse of the chip: the values it received, with a witness if not 0 or 1."""
    for node in chip_nodes(graph):
        if not isinstance(node.op, SYNAPSES):
            continue
        source = node.inputs[0]
        values = trace.values[source]
        wrong = (values != 0) & (values != 1)
        measured = f"{values.size} values, all 0 or 1"
        if wrong.any():
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            measured = f"{values[index]:g} at step {index[0]}, sample {index[1]}, {index[2:]}"
        yield verdict(
            SPIKE_RUN,
            place(node),
            not wrong.any(),
            measured,
            limit="0 or 1",
            remedy=_remedy(graph, source),
        )


def _culprit(graph: Graph, name: str) -> str:
    node = graph.producer(name)
    return f"{graph.origin(name)} ({type(node.op).__name__})" if node else f"input {name}"


def _remedy(graph: Graph, name: str, reader: Node | None = None) -> str:
    node = graph.producer(name)
    while node is not None and isinstance(node.op, Flatten | Delay):
        name = node.inputs[0]
        node = graph.producer(name)
    if node is None:
        return NO_SPIKES
    if isinstance(node.op, SYNAPSES):
        padded = reader is not None and isinstance(reader.op, Conv2d) and any(reader.op.padding)
        return "put a spiking neuron between the two layers" + (
            ", or leave out the padding of the second convolution: then both become one"
            if padded and isinstance(node.op, Conv2d)
            else ""
        )
    advice = _advice(graph, node, "make it spike")
    if advice not in _REMEDY.values() and isinstance(node.op, AvgPool2d):
        return f"at {graph.origin(name)}: {advice}"
    return f"{advice} at {graph.origin(name)}"


def _advice(graph: Graph, node: Node, otherwise: str) -> str:
    """What to do about an operation that is left: of a pool, what stands in its way."""
    conflict = pool_remedy(graph, node) if isinstance(node.op, AvgPool2d) else ""
    return conflict or _REMEDY.get(type(node.op), otherwise)


def check_operations(graph: Graph) -> Iterator[Finding]:
    """PS004 at every node of the chip: what it is, what it reads and who reads it."""
    for node in chip_nodes(graph):
        fault = _fault(graph, node)
        name = type(node.op).__name__
        yield verdict(
            OPERATIONS,
            place(node),
            not fault,
            f"{name} {fault}".strip() + _obstacle(graph, node),
            limit="Conv2d, Linear, one-to-one synapse, sum into a neuron, neuron, flatten, delay",
            remedy=_FAULT_REMEDY.get(fault.split(":")[0])
            or _advice(graph, node, "use an operation that the compiler can lower"),
        )


def _obstacle(graph: Graph, node: Node) -> str:
    """Why an average pool was not folded into the layer behind it."""
    stays = isinstance(node.op, AvgPool2d) and pool_remedy(graph, node)
    return f": {why_pooled(graph, node)}" if stays else ""


_LEGAL = (*SYNAPSES, Add, Neuron, Flatten, Delay)
_FAULT_REMEDY = {
    "is read by no neuron": "end it in a neuron, or in an integrator as readout: in a NIR file "
    "an I or LI node, in a torch module a mean over time behind it (purespike.nn.TimeMean())",
    "reads a current": "put a spiking neuron in front of it",
    "reads no current": "let a synapse carry it into the dendrite (run lower_gates)",
}


def _fault(graph: Graph, node: Node) -> str:
    """What keeps a node off the chip; empty if nothing does.

    Currents exist between a synapse and its neuron only: they are summed there, and nowhere else.
    """
    op = node.op
    if not isinstance(op, _LEGAL):
        return "has no place on the chip"
    readers = graph.consumers(node.name)
    if isinstance(op, Add) and not all(isinstance(r.op, Neuron | Add) for r in readers):
        return "of spikes feeds what is not a neuron"
    if isinstance(op, (*SYNAPSES, Add)) and (node.name in graph.outputs or not readers):
        return "is read by no neuron"
    for name in node.inputs:
        source = graph.producer(name)
        current = source is not None and isinstance(source.op, (*SYNAPSES, Add))
        if isinstance(op, Flatten | Delay) and current:
            return f"reads a current: {graph.origin(name)}"
        foreign = source is None or isinstance(source.op, Neuron | Flatten | Delay)
        host = source is not None and source.role == "host"
        if isinstance(op, Neuron | Add) and (foreign or host):
            return f"reads no current: {graph.origin(name)}"
    return ""


def check_auxiliary(graph: Graph, notes: tuple[str, ...]) -> Iterator[Finding]:
    """PS003: what the slice removed, and that no auxiliary node is left."""
    left = [graph.origin(n.name) for n in graph.nodes if n.role == "auxiliary"]
    removed = sum(note.startswith("removed ") for note in notes)
    yield verdict(
        AUXILIARY,
        "whole network",
        not left,
        f"{removed} modules removed, left: {', '.join(left) or 'none'}",
        limit="none left",
        remedy="run strip_auxiliary",
    )


def check_boundary(graph: Graph, census: Mapping[str, Counts]) -> Iterator[Finding]:
    """PS011: the chip's inputs and the encoder's share of all multiply-accumulates."""
    host = [n for n in graph.nodes if n.role == "host"]
    share = sum(census[n.name].mac for n in host)
    inside = [e for e in graph.inputs if e.domain <= SPIKE]
    measured = f"{len(inside)} spike input(s); arg max of the readout on the host"
    if host:
        names = ", ".join(dict.fromkeys(n.origin or n.name for n in host))
        measured = f"declared encoder on the host: {names} ({share:g} MAC per sample)"
    readers = [r for e in graph.inputs if e not in inside for r in graph.consumers(e.name)]
    yield verdict(
        BOUNDARY,
        "inputs and outputs",
        all(r.role == "host" for r in readers),
        measured,
        limit="spikes, or a declared encoder",
        remedy=NO_SPIKES,
    )


def check_arithmetic(
    graph: Graph, census: Mapping[str, Counts], *, leak_multiplies: bool
) -> Iterator[Finding]:
    """PS005 at every node of the chip; ``leak_multiplies`` allows the multiply of a leak."""
    for node in chip_nodes(graph):
        counts = census[node.name]
        leak = counts.mul if isinstance(node.op, Neuron) and leak_multiplies else 0
        bad = counts.mac + counts.mul - leak + counts.unknown
        finding = verdict(
            ARITHMETIC,
            place(node),
            bad == 0,
            f"MAC {counts.mac:g}, MUL {counts.mul:g}, unknown {counts.unknown:g}{_leak(node)}"
            + (" (mixed precision: numbers meet weights)" if counts.mac else ""),
            limit="0" if not leak else "0 (leak excepted)",
            unit="operations per sample",
            remedy=Advice("use integrate-and-fire neurons, or a policy that allows it: {leaky}")
            if isinstance(node.op, Neuron)
            else _advice(graph, node, _remedy(graph, node.inputs[0])),
        )
        yield replace(finding, excused="the leak of neurons") if leak and not bad else finding


def _leak(node: Node) -> str:
    """How a neuron leaks, if it does: by a factor that a shift (and a subtraction) could apply?

    Loihi multiplies either way, so the verdict is the same; on other hardware it matters.
    """
    if not isinstance(node.op, Neuron):
        return ""
    decays = sorted({d for d in (node.op.decay, node.op.current_decay) if d not in (0.0, 1.0)})
    words = [f"{d:.6g}, {_SHIFT if _is_shift(d) else 'no power of two'}" for d in decays]
    return f"; leak {' and '.join(words)}" if words else ""


_SHIFT = "which a shift could apply"


def _is_shift(decay: float) -> bool:
    """Is it 2^-k, or 1 - 2^-k?"""
    return any(np.frexp(x)[0] == 0.5 for x in (decay, 1 - decay))


def check_ranges(
    graph: Graph, bounds: Mapping[str, Bounds], *, current_limit: int, membrane_limit: float
) -> Iterator[Finding]:
    """PS006 and PS007 at every neuron."""
    for node in chip_nodes(graph):
        if not isinstance(node.op, Neuron):
            continue
        b = bounds[node.name]
        where = place(node)
        yield verdict(
            CURRENT_RANGE,
            where,
            b.verdict in ("proved", "saturates"),
            f"{b.current[0]:g} to {b.current[1]:g}",
            limit=f"+-{current_limit}",
            unit="weights per step",
            remedy="use fewer inputs or smaller weights (fewer bits); no files are written before",
        )
        # An integrator that saturates would change the readout; a firing neuron clips exactly as
        # the chip does, in every executor.
        clips = b.verdict == "saturates"
        yield verdict(
            MEMBRANE_RANGE,
            where,
            b.verdict == "proved" or (clips and node.op.fires),
            f"{b.membrane[0]:g} to {b.membrane[1]:g}"
            + (" (saturates exactly as the chip does)" if clips else ""),
            limit=f"+-{membrane_limit:g}",
            unit="weights",
            remedy="use fewer time steps or smaller weights",
        )


def refusal(error: Refusal) -> Finding:
    """A refusal as a finding of the rule that it protects."""
    (rule,) = (r for r in RULES if r.id == error.rule)
    measured = error.message + (f": {error.found}" if error.found else "")
    return Finding(rule, error.where, "FAIL", measured, limit=error.allowed, remedy=error.remedy)
