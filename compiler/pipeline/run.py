"""Run the passes one after the other, hold each to its promise, and keep the record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.divergence import Divergence, first_divergence
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.interpret import Execute, Trace, lean
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.ir.part import run_part
from purespike.compiler.ir.verify import verify
from purespike.compiler.pipeline.changes import changed_nodes
from purespike.compiler.pipeline.contract import Compiled, LedgerLine, Pass, PassError
from purespike.compiler.proofs.counts import Counts, dense_census, total_counts


def compile_graph(
    start: Graph | Compiled,
    passes: Iterable[Pass],
    probe: NDArray[Any],
    progress: Callable[[str], None] = lambda name: None,
    *,
    keep: Collection[str] | None = None,
    watch: Callable[[str, Graph], None] | None = None,
    execute: Execute = lean,
) -> Compiled:
    """Apply ``passes`` in order; verify, run and compare after each.

    Args:
        start: The captured graph, whose main outputs are compared, or what to go on with.
        passes: What to do: a `Pipeline`, or any part of one.
        probe: Input (T, B, *shape) that both graphs run on. Fewer than the graph's T steps compare
            the beginning of each run, which suits large networks: the spikes of every layer, since
            a readout is read at the last step. Each ledger line then says so.
        progress: Called with the name of each pass before it starts.
        keep: Stages that the result holds beside the last one; None is all. Passes that change
            weights leave a copy of them all, so a large network is compiled without old stages.
        watch: Shown the captured graph, and what each pass made, before that is held to anything.
        execute: Runs the graphs on the probe; the interpreter by itself takes longest.

    Raises:
        PassError: If a pass leaves an ill-formed graph or breaks its promise.
        PurespikeError: What a pass itself refuses.
    """
    passes = tuple(passes)
    if isinstance(start, Compiled):
        graph, stages, ledger = start.graph, dict(start.stages), list(start.ledger)
    else:
        graph, stages, ledger = start, {"captured": start}, []
        if watch is not None:
            watch("captured", graph)
    del start  # a large network is not held beside its successors
    _require_names(["captured", *(line.name for line in ledger), *(p.name for p in passes)])
    verify(graph)
    trace, counts = _probed(graph, probe, execute), _counts(graph)
    for p in passes:
        progress(p.name)
        after = p.rewrite(graph)
        if not isinstance(after, Graph):
            raise PassError(
                f"pass {p.name} returned no graph", found=type(after).__name__, allowed="a Graph"
            )
        if watch is not None:
            watch(p.name, after)
        after_trace = trace if after is graph else _checked(p, graph, after, probe, execute)
        after_counts = counts if after is graph else _counts(after)
        line = _compare(p, graph, trace, after, after_trace, probe, counts=(counts, after_counts))
        _require_promise(p, line)
        ledger.append(line)
        if keep is not None:
            stages = {name: g for name, g in stages.items() if name in keep}
        stages[p.name] = graph = after
        trace, counts = after_trace, after_counts
    return Compiled(stages, tuple(ledger))


def _require_names(names: list[str]) -> None:
    """Stages and ledger lines are told apart by the names of their passes."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PassError(
            "two passes have one name",
            found=", ".join(twice),
            allowed="a name for each, and not captured",
        )


def _checked(p: Pass, before: Graph, after: Graph, probe: NDArray[Any], execute: Execute) -> Trace:
    """The run of what a pass made; raises PassError if it is ill-formed."""
    try:
        verify(after)
        _same_interface(before, after)
        return _probed(after, probe, execute)
    except PurespikeError as e:
        raise PassError(
            f"pass {p.name} left an ill-formed graph: {e.message}",
            where=e.where,
            found=e.found,
            allowed=e.allowed,
        ) from e


def _require_promise(p: Pass, line: LedgerLine) -> None:
    moved = line.deviation
    if moved is None:  # readouts are read at the last step: spikes alone can show a change
        moved = float(line.agreement not in (None, 1.0))
    if p.promise.kind != "rewrites meaning" and not moved <= p.promise.tolerance:
        raise PassError(
            f"pass {p.name} broke its promise: {p.promise}",
            where=str(line.divergence or "no spike differs"),
            found=f"outputs moved by {moved:g}",
            allowed=f"{p.promise.tolerance:g}",
            remedy="this is a defect of the pass or a tie at a threshold: if the pass is not your "
            "own, please report this",
        )


def _same_interface(before: Graph, after: Graph) -> None:
    """Raise unless both take the same input for as long and give main outputs of one shape."""

    def interface(graph: Graph) -> str:
        outputs = ", ".join(str(graph.edge(o).shape) for o in _main_outputs(graph))
        inputs = ", ".join(map(str, graph.inputs))
        return f"T = {graph.steps}, inputs {inputs}, outputs {outputs}"

    if interface(before) != interface(after):
        raise PassError(
            "inputs, outputs or steps have changed",
            found=interface(after),
            allowed=interface(before),
        )


def _probed(graph: Graph, probe: NDArray[Any], execute: Execute) -> Trace:
    """What is compared of a run: neurons and outputs."""
    neurons = (n.name for n in graph.nodes if isinstance(n.op, Neuron))
    return execute(_beginning(graph, len(probe)), probe, {*graph.outputs, *neurons})


def _beginning(graph: Graph, steps: int) -> Graph:
    """The graph for its first steps: no step depends on a later one."""
    return replace(graph, steps=steps) if 0 < steps < graph.steps else graph


def _counts(graph: Graph) -> Counts:
    return total_counts(dense_census(graph).values())


def _compare(
    p: Pass,
    before: Graph,
    a: Trace,
    after: Graph,
    b: Trace,
    probe: NDArray[Any],
    *,
    counts: tuple[Counts, Counts],
) -> LedgerLine:
    steps = len(probe)
    firing = [
        n.name
        for n in before.nodes
        if isinstance(n.op, Neuron) and n.op.fires and _comparable(n, after.producer(n.name))
    ]
    spikes = sum(a.values[n].size for n in firing)
    scales = p.scales(before)
    equal = {n: int((a.values[n] == b.values[n]).sum()) for n in firing}
    short = steps < before.steps
    partly = (f"spikes compared on the first {steps} of {before.steps} steps, readouts not",)
    return LedgerLine(
        name=p.name,
        promise=p.promise,
        nodes_before=len(before.nodes),
        nodes_after=len(after.nodes),
        counts_before=counts[0],
        counts_after=counts[1],
        deviation=None if short else _deviation(before, a, after, b, scales),
        agreement=sum(equal.values()) / spikes if spikes else None,
        layers={n: equal[n] / a.values[n].size for n in firing},
        divergence=_divergence(before, a, after, b, probe, firing, scales),
        notes=(*p.notes(before, after), *(partly if short else ())),
        scales=scales,
        changes=changed_nodes(before, after),
    )


def _divergence(
    before: Graph,
    a: Trace,
    after: Graph,
    b: Trace,
    probe: NDArray[Any],
    names: list[str],
    scales: Mapping[str, float],
) -> Divergence | None:
    """The first spike that differs; for its membranes that layer of both graphs runs again."""
    start = _beginning(before, len(probe))
    first = first_divergence(start, a, b, names)
    if first is None:
        return None
    steps = first.step + 1  # what comes later has no part in it

    def recorded(graph: Graph, trace: Trace) -> Trace:
        node = graph.producer(first.node)
        assert node is not None
        fired = {n: v[:steps] for n, v in trace.values.items() if graph.edge(n).domain <= SPIKE}
        known = {graph.inputs[0].name: probe[:steps], **fired}
        return run_part(_beginning(graph, steps), {node.name, node.inputs[0]}, known)

    a, b = recorded(before, a), recorded(after, b)
    start = _beginning(before, steps)
    return first_divergence(start, a, b, [first.node], after=after, scales=scales)


def _comparable(before: Node, after: Node | None) -> bool:
    """Whether a layer is still there, and still of that size (remove_dead takes channels)."""
    return after is not None and after.output.shape == before.output.shape


def _deviation(
    before: Graph, a: Trace, after: Graph, b: Trace, scales: Mapping[str, float]
) -> float:
    """Largest change of an output: of spikes at every step, of a readout at the last one."""
    moved = 0.0
    for x, y in zip(_main_outputs(before), _main_outputs(after), strict=True):
        spiking = all(g.edge(o).domain <= SPIKE for g, o in ((before, x), (after, y)))
        u, v = (a.values[x], b.values[y]) if spiking else (a.values[x][-1], b.values[y][-1])
        unit = 1.0 if spiking else scales.get(y, 1.0)
        # Not `max`, which would drop what is not a number.
        moved = float(np.maximum(moved, np.abs(u - v / unit).max(initial=0.0)))
    return moved


def _main_outputs(graph: Graph) -> list[str]:
    nodes = {name: graph.producer(name) for name in graph.outputs}
    return [name for name, node in nodes.items() if node is None or node.role != "auxiliary"]
