"""Run the passes one after the other, hold each to its promise, and keep the record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.divergence import Divergence, first_divergence
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.fold_constants import fold_constants
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales, unfolded
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.merge_equal import merge_equal, merged
from purespike.compiler.passes.quantize.calibrate import Method, calibrate
from purespike.compiler.passes.quantize.groups import scale_groups
from purespike.compiler.passes.quantize.quantize import fit_scales, fitting_notes, quantize
from purespike.compiler.passes.quantize.readout import readout_notes
from purespike.compiler.passes.quantize.rounding import choose_rounding
from purespike.compiler.passes.quantize.scales import Grid, Scaling
from purespike.compiler.passes.remove_dead import remove_dead, removed
from purespike.compiler.passes.split_host import split_host
from purespike.compiler.passes.strip_auxiliary import describe, strip_auxiliary
from purespike.compiler.proofs.counts import Counts, dense_census, total_counts
from purespike.compiler.proofs.ranges import bound_neurons


class PassError(PurespikeError):
    """A pass broke the graph or its promise."""


@dataclass(frozen=True)
class Promise:
    """What a pass promises about the main outputs on the probe.

    Attributes:
        kind: ``same`` is bit-equal, ``close`` within ``tolerance``, ``rewrites meaning`` is
            measured and reported, not bounded.
        tolerance: Largest absolute change of an output; there is no default for ``close``.
    """

    kind: str
    tolerance: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} ({self.tolerance:g})" if self.kind == "close" else self.kind


SAME = Promise("same")
REWRITES = Promise("rewrites meaning")


def close(tolerance: float) -> Promise:
    """Outputs may move by ``tolerance`` at most."""
    return Promise("close", tolerance)


@dataclass(frozen=True)
class Pass:
    """A named rewrite, its promise, and what to note about what it did."""

    name: str
    rewrite: Callable[[Graph], Graph]
    promise: Promise
    notes: Callable[[Graph, Graph], tuple[str, ...]] = lambda before, after: ()
    # What an edge's values are multiplied by (quantization): outputs are compared in real units.
    scales: Callable[[Graph], Mapping[str, float]] = lambda before: {}


@dataclass(frozen=True)
class LedgerLine:
    """What one pass did, measured on the probe."""

    name: str
    promise: Promise
    nodes_before: int
    nodes_after: int
    counts_before: Counts  # per sample and time step, every spike present
    counts_after: Counts
    deviation: float | None  # largest absolute change of an output; None on a short probe
    agreement: float | None  # share of equal spikes over all layers that both graphs have, if any
    layers: Mapping[str, float]  # the same by layer
    divergence: Divergence | None
    notes: tuple[str, ...] = ()
    # Integer = scale * real number, by synapse and neuron; only quantization has any.
    scales: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Compiled:
    """The graph after every pass that was kept, by pass name; ``captured`` is the first."""

    stages: dict[str, Graph]
    ledger: tuple[LedgerLine, ...]

    @property
    def graph(self) -> Graph:
        """The last stage."""
        return list(self.stages.values())[-1]


def standard_passes(
    *,
    grid: Grid | None = None,
    host_encoder: bool = False,
    calibration: Array | None = None,
    method: Method | None = None,
) -> tuple[Pass, ...]:
    """The passes in order.

    Args:
        grid: The integers of the chip.
        host_encoder: Declares that an analog input is encoded on the host.
        calibration: Training inputs (T, B, *shape), on which biases and thresholds are rounded
            together, and which choose the scales by spike agreement; None rounds to the nearest.
        method: How scales are chosen; None is ``agreement`` where there are calibration inputs,
            else ``max``, the scales that just hold the largest weights.
    """
    grid = grid or Grid()
    how: Method = method or ("max" if calibration is None else "agreement")

    @lru_cache(maxsize=1)  # asked for by the pass and by the ledger
    def free(graph: Graph) -> dict[str, Scaling]:
        return calibrate(graph, calibration, replace(grid, fit_membranes=False), how)

    @lru_cache(maxsize=1)
    def scales(graph: Graph) -> dict[str, Scaling]:
        return fit_scales(graph, free(graph), grid) if grid.fit_membranes else free(graph)

    def to_integers(graph: Graph) -> Graph:
        if calibration is None:
            return quantize(graph, grid, scales(graph))
        rounded = choose_rounding(graph, calibration, grid, scales(graph))
        after = quantize(graph, grid, scales(graph), rounded)
        if grid.fit_membranes:  # a bias that rounds up may break the proof: then the nearest one
            groups = scale_groups(graph)
            broken = {groups.get(name) for name in _saturating(after)}
            kept = {name: op for name, op in rounded.items() if groups[name] not in broken}
            after = after if kept == rounded else quantize(graph, grid, scales(graph), kept)
        return after

    def costs(before: Graph, after: Graph) -> tuple[str, ...]:
        """What it costs that membranes and readouts stay where they must."""
        fitted: tuple[str, ...] = ()
        if grid.fit_membranes:
            fitted = fitting_notes(before, free(before), scales(before), after)
        return (*fitted, *readout_notes(before, after, grid))

    def one_each(graph: Graph) -> dict[str, float]:
        """Scales of whole layers; outputs are among them, channels with their own are not."""
        return {name: s for name, s in scales(graph).items() if isinstance(s, float)}

    return (
        Pass("strip_auxiliary", strip_auxiliary, SAME, describe),
        Pass("fuse_batchnorm", fuse_batchnorm, close(1e-9)),
        Pass("fold_scales", fold_scales, close(1e-9), unfolded),
        Pass("fold_constants", fold_constants, close(1e-9)),
        Pass("lower_gates", lower_gates, SAME),
        Pass("merge_equal", merge_equal, SAME, merged),
        # Shorter sums are rounded otherwise in real numbers.
        Pass("remove_dead", remove_dead, close(1e-9), removed),
        Pass("split_host", lambda g: split_host(g, host_encoder=host_encoder), SAME),
        Pass(
            "quantize",
            to_integers,
            REWRITES,
            costs,
            scales=one_each,
        ),
    )


def _saturating(graph: Graph) -> set[str]:
    bounds = bound_neurons(graph, current_limit=np.inf)
    return {name for name, b in bounds.items() if b.verdict == "saturates"}


def compile_graph(
    graph: Graph,
    passes: Sequence[Pass],
    probe: Array,
    progress: Callable[[str], None] = lambda name: None,
    *,
    keep: Collection[str] | None = None,
) -> Compiled:
    """Apply ``passes`` in order; verify, run and compare after each.

    Args:
        graph: The captured graph; its main outputs are compared.
        passes: What to do.
        probe: Input (T, B, *shape) that both graphs run on. Fewer than the graph's T steps compare
            the beginning of each run, which suits large networks: the spikes of every layer, since
            a readout is read at the last step. Each ledger line then says so.
        progress: Called with the name of each pass before it starts.
        keep: Stages that the result holds beside the last one; None is all. Passes that change
            weights leave a copy of them all, so a large network is compiled without old stages.

    Raises:
        PassError: If a pass leaves an ill-formed graph or breaks its promise.
        PurespikeError: What a pass itself refuses.
    """
    verify(graph)
    stages = {"captured": graph}
    ledger: list[LedgerLine] = []
    trace = _probed(graph, probe)
    for p in passes:
        progress(p.name)
        after = p.rewrite(graph)
        try:
            verify(after)
            _same_interface(graph, after)
            after_trace = trace if after is graph else _probed(after, probe)
        except PurespikeError as e:
            raise PassError(
                f"pass {p.name} left an ill-formed graph: {e.message}",
                where=e.where,
                found=e.found,
                allowed=e.allowed,
            ) from e
        line = _compare(p, graph, trace, after, after_trace, probe)
        moved = line.deviation
        if moved is None:  # readouts are read at the last step: spikes alone can show a change
            moved = float(line.agreement not in (None, 1.0))
        if p.promise.kind != "rewrites meaning" and not moved <= p.promise.tolerance:
            raise PassError(
                f"pass {p.name} broke its promise: {p.promise}",
                where=str(line.divergence or "no spike differs"),
                found=f"outputs moved by {moved:g}",
                allowed=f"{p.promise.tolerance:g}",
                remedy="this is a defect of the compiler or a tie at a threshold: please report",
            )
        ledger.append(line)
        if keep is not None:
            stages = {name: g for name, g in stages.items() if name in keep}
        stages[p.name] = graph = after
        trace = after_trace
    return Compiled(stages, tuple(ledger))


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


def _probed(graph: Graph, probe: Array) -> Trace:
    """What is compared of a run: neurons and outputs."""
    neurons = (n.name for n in graph.nodes if isinstance(n.op, Neuron))
    return run(_beginning(graph, len(probe)), probe, record={*graph.outputs, *neurons}, lean=True)


def _beginning(graph: Graph, steps: int) -> Graph:
    """The graph for its first steps: no step depends on a later one."""
    return replace(graph, steps=steps) if 0 < steps < graph.steps else graph


def _compare(p: Pass, before: Graph, a: Trace, after: Graph, b: Trace, probe: Array) -> LedgerLine:
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
        counts_before=total_counts(dense_census(before).values()),
        counts_after=total_counts(dense_census(after).values()),
        deviation=None if short else _deviation(before, a, after, b, scales),
        agreement=sum(equal.values()) / spikes if spikes else None,
        layers={n: equal[n] / a.values[n].size for n in firing},
        divergence=_divergence(before, a, after, b, probe, firing, scales),
        notes=(*p.notes(before, after), *(partly if short else ())),
        scales=scales,
    )


def _divergence(
    before: Graph,
    a: Trace,
    after: Graph,
    b: Trace,
    probe: Array,
    names: list[str],
    scales: Mapping[str, float],
) -> Divergence | None:
    """The first spike that differs; for its membranes both graphs run again."""
    start = _beginning(before, len(probe))
    first = first_divergence(start, a, b, names)
    if first is None:
        return None

    def recorded(graph: Graph) -> Trace:
        node = graph.producer(first.node)
        assert node is not None
        names = {node.name, node.inputs[0]}
        return run(_beginning(graph, len(probe)), probe, record=names)

    a, b = recorded(before), recorded(after)
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
        # Not `max`, which would drop what is no number.
        moved = float(np.maximum(moved, np.abs(u - v / unit).max(initial=0.0)))
    return moved


def _main_outputs(graph: Graph) -> list[str]:
    nodes = {name: graph.producer(name) for name in graph.outputs}
    return [name for name, node in nodes.items() if node is None or node.role != "auxiliary"]
