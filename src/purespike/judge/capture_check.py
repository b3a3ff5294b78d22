"""Is the data what it is said to be, and the graph what the module computes?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.ops import Neuron, TimeMean
from purespike.compiler.rules.finding import EXECUTORS, SPIKE_RUN, Finding, verdict
from purespike.judge.fast import execute
from purespike.targets.agreement import Mismatch, compare

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-6  # both sides compute in float64; only the order of sums may differ


def wrong_inputs(edge: Edge, x: NDArray[Any]) -> list[Finding]:
    """PS002 with the first value of the test inputs (T, B, *shape) that is none of its domain."""
    # Bytes and truth values are compared as they are: a copy in float64 is eight times as large.
    if edge.domain.holds(x if x.dtype.itemsize == 1 else np.asarray(x, dtype=np.float64)):
        return []
    bad = np.array([not edge.domain.holds(np.asarray([v], np.float64)) for v in np.unique(x)])
    index = tuple(int(i) for i in np.argwhere(np.isin(x, np.unique(x)[bad]) | np.isnan(x))[0])
    return [
        Finding(
            SPIKE_RUN,
            edge.name,
            "FAIL",
            f"{float(x[index]):g} at step {index[0]}, sample {index[1]}, {index[2:]}",
            limit="0 or 1" if str(edge.domain) == "spike" else str(edge.domain),
            remedy="encode the input as spikes (bit-plane, rate, latency or events)",
        )
    ]


def check_capture(
    model: nn.Module, graph: Graph, x: NDArray[Any]
) -> tuple[Finding, list[Mismatch]]:
    """PS010: the captured graph against the module itself, both in float64, on x (T, B, *shape).

    Tracing sees one run of the forward on no real tensor; what a module does otherwise, or behind
    the tracer's back, shows here.

    Returns:
        The finding about the outputs, and for the ledger the spikes of every neuron layer.
    """
    import torch  # here alone: a network from a file is judged without

    from purespike.trainer.capture.precision import InFloat64
    from purespike.trainer.capture.weights import settled_copy

    module = settled_copy(model).double()
    seen: dict[str, list[Array]] = {}
    firing = {n.name: n.origin for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires}
    for path, part in module.named_modules():
        if path in firing.values():
            part.register_forward_hook(_note(seen, path))
    with torch.no_grad(), InFloat64():
        result: Any = module(torch.from_numpy(np.asarray(x, dtype=np.float64)))
    main = result["main"] if isinstance(result, Mapping) else result
    theirs: Array = main.numpy()
    trace = execute(graph, x, {*graph.outputs, *firing})
    whole = {k: v[0] if len(v) == 1 else np.stack(v) for k, v in seen.items() if _alike(v)}
    layers = {name: whole[origin] for name, origin in firing.items() if origin in whole}
    layers = {n: v for n, v in layers.items() if v.shape == trace.values[n].shape}
    ours = trace.values[graph.outputs[0]]
    last = graph.producer(graph.outputs[0])
    if last is not None and isinstance(last.op, TimeMean) and theirs.ndim == ours.ndim:
        theirs = theirs.mean(0)  # the readout (`capture.readout`), which the module leaves to us
    ours = ours if theirs.ndim == ours.ndim else ours[-1]
    same = ours.shape == theirs.shape
    off = float(np.abs(ours - theirs).max(initial=0.0)) if same else np.inf
    finding = verdict(
        EXECUTORS,
        "torch: captured graph",
        off <= TOLERANCE * max(1.0, float(np.abs(theirs).max(initial=0.0))),
        f"outputs differ by {off:.3g} at most over {x.shape[1]} samples",
        limit=f"{TOLERANCE:g}",
        remedy="the forward does more than its trace shows (state, hooks, arithmetic inside a "
        "layer), or a sum ties with a threshold: write it with plain layers, neurons and gates",
    )
    return finding, compare(trace, layers, {})


def _alike(calls: list[Array]) -> bool:
    """Could they be one sequence, made in one call or step by step?"""
    return len({v.shape for v in calls}) == 1


def _note(seen: dict[str, list[Array]], path: str) -> Callable[..., None]:
    from torch import Tensor

    def hook(module: nn.Module, arguments: object, output: object) -> None:
        output = output[0] if isinstance(output, tuple) else output  # (spikes, state)
        if isinstance(output, Tensor):
            seen.setdefault(path, []).append(output.numpy())

    return hook
