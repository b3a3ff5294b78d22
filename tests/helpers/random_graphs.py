"""Random networks by seed, and every comparison that a compiled one must pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.generator.networks import Sample as Sample
from helpers.generator.networks import encoded as encoded
from helpers.generator.networks import network
from helpers.generator.networks import quantized as quantized
from helpers.generator.refused import refused as refused
from helpers.onnx_cases import Case, layout_of, realise
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Gate, MaxPool2d, Neuron
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.pipeline import Compiled, compile_graph, standard_pipeline
from purespike.compiler.scratch import scratch_folder
from purespike.targets.bundle import golden_network, replay
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.run import run_cpu
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx import run_onnx, step_model


def captured(seed: int, *, directed: bool = True, levels: bool = False) -> Sample:
    """The network number ``seed`` as it is captured, always the same (`generator.networks`).

    Residual, membrane-shortcut, gated, recurrent, grouped and pooled blocks, delays by place,
    fading currents, all resets, levels, 2 to 8 bits, odd sizes, 1 to 64 steps. With ``levels`` most
    neurons send counts, which meet in sums and maxima.
    """
    return network(seed, directed=directed, levels=levels)


# Comparisons. Each gives the first difference as text, or nothing.


def compiled(sample: Sample) -> Compiled:
    """Through every pass, each held to its promise and verified."""
    return compile_graph(sample.graph, standard_pipeline(**sample.options()), sample.x)


def pass_alarms(sample: Sample, result: Compiled) -> Iterator[str]:
    """Spikes that a pass changed. Only quantizing what the chip's integers do not hold may."""
    stages = list(result.stages.values())
    for line, before in zip(result.ledger, stages, strict=False):
        exact = line.promise.kind != "rewrites meaning"
        whole = sample.whole and held(before, sample.grid)
        moved = (exact and line.deviation != 0.0) or (
            (exact or whole) and line.agreement not in (1.0, None)
        )  # a mean over time is not an integer, so a readout that has one may move
        if moved:
            yield f"{line.name}: outputs moved by {line.deviation}, {line.divergence}"


def held(graph: Graph, grid: Grid) -> bool:
    """Are all numbers of a network whole already, and within the chip's registers?"""
    limits = {"weight": grid.weight_limit, "factor": grid.weight_limit, "bias": grid.bias_limit / 8,
              "threshold": grid.threshold_limit, "amount": grid.threshold_limit}  # fmt: skip
    return all(
        bool((a == np.rint(a)).all()) and float(np.abs(a).max(initial=0.0)) <= limits[name]
        for node in graph.nodes
        if node.role != "host"
        for name, a in node.op.arrays().items()
        if name in limits
    )


QUICK = ("cpu", "ONNX Runtime", "replay")


def executor_alarms(
    graph: Graph, x: Array, expected: Trace, names: tuple[str, ...] = QUICK
) -> Iterator[tuple[str, str]]:
    """(executor, difference) on an integer graph, spikes and membranes of every neuron."""
    for name in names:
        execute = EXECUTORS[name]
        try:
            text = difference(expected, execute(graph, x, expected), graph)
        except (PurespikeError, ValueError) as e:  # the script in a bundle knows no errors of ours
            text = str(e)
        if text:
            yield name, text


def _onnx(graph: Graph, x: Array, expected: Trace) -> Trace:
    return run_onnx(step_model(graph), graph, x.astype(np.uint8))


def _cpu(graph: Graph, x: Array, expected: Trace) -> Trace:
    """As the commands run it, and with all membranes: without them small neurons are gates."""
    try:
        lean = run_cpu(graph, x, threads=1, membranes=False)
        if said := difference(
            expected, replace(expected, values=expected.values | lean.values), graph
        ):
            raise PurespikeError(f"without membranes: {said}")
        return run_cpu(graph, x, threads=1)
    except CpuError as error:
        if "32 bits" in str(error):  # too few for this network
            return expected
        raise


def _nir(graph: Graph, x: Array, expected: Trace) -> Trace:
    with scratch_folder() as folder:
        write_nir(graph, folder / "model.nir")
        return run(read_nir(folder / "model.nir"), x)


def _replay(graph: Graph, x: Array, expected: Trace) -> Trace:
    """The script that lies in every bundle, on the same samples: it says where it differs."""
    if any(isinstance(n.op, Gate | MaxPool2d) for n in graph.nodes):
        return expected  # it runs what the passes leave
    with scratch_folder() as folder:
        golden_network.write_golden_network(graph, folder)
        arrays: dict[str, Any] = {"inputs": x.astype(np.uint8)}
        for node in graph.nodes:
            if isinstance(node.op, Neuron):
                arrays[f"membranes/{node.name}"] = expected.membranes[node.name].astype(np.int32)
                if node.op.fires:
                    arrays[f"spikes/{node.name}"] = expected.values[node.name].astype(np.uint8)
        np.savez(folder / "golden.npz", **arrays)
        wrong = [str(row) for row in replay.replay(folder) if row.different]
    if wrong:
        raise PurespikeError(wrong[0])
    return expected


EXECUTORS = {"cpu": _cpu, "ONNX Runtime": _onnx, "replay": _replay, "NIR": _nir}


def difference(expected: Trace, found: Trace, graph: Graph) -> str:
    """The first neuron whose spikes or membranes differ."""
    for node in graph.nodes:
        if not isinstance(node.op, Neuron):
            continue
        for what in ("values", "membranes"):
            a, b = getattr(expected, what)[node.name], getattr(found, what)[node.name]
            if a.shape != b.shape or not np.array_equal(a, b):
                return f"{what} of %{node.name}"
    return ""


def integer(seed: int, *, directed: bool = True) -> Sample:
    """A network in integers with wrap, clip, drift and decays at both ends (`onnx_cases`)."""
    case: Case = realise(layout_of(seed))
    if directed:
        return Sample(case.graph, case.x.astype(float), True)
    rng = np.random.default_rng(seed)
    nodes = []
    for node in case.graph.nodes:
        if isinstance(node.op, Neuron) and node.op.fires:
            threshold = np.array(float(rng.integers(1, 300)))
            node = replace(node, op=replace(node.op, threshold=threshold))
        nodes.append(node)
    x = (rng.random(case.x.shape) < 0.3).astype(float)
    return Sample(replace(case.graph, nodes=tuple(nodes)), x, True)
