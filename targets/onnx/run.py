"""Running a golden model: the second opinion on what the interpreter computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import Neuron
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.metadata import metadata
from purespike.targets.onnx.neuron import fixed_neuron
from purespike.targets.onnx.read import read_onnx
from purespike.targets.onnx.scan import step_graph, wrap
from purespike.targets.onnx.taps import tapped

Executor = Literal["onnxruntime", "reference"]
Feeds = Mapping[str, NDArray[Any]]
Run = Callable[[Feeds], dict[str, NDArray[Any]]]


def run_onnx(
    model: ModelProto | str | Path,
    graph: Graph,
    x: NDArray[Any] | Mapping[str, NDArray[Any]],
    *,
    executor: Executor = "onnxruntime",
    threads: int = 1,
) -> Trace:
    """Run a golden model for the T steps of a sample and record every neuron at every step.

    The file's own nodes run; taps are only added to them where it has none.

    Args:
        model: A model of this target in step or sequence form, or the path of its file.
        graph: The graph that it was written from.
        x: Input (T, B, *shape), or one such array for each input by name.
        executor: ``onnxruntime``, or ``reference``: the evaluator of the onnx package, in Python.
        threads: Threads of onnxruntime; 0 lets it choose.

    Returns:
        As the interpreter's trace, float64 (T, B, *shape): the values of all neurons and outputs,
        and the membranes in the interpreter's units (``2**-fraction_bits`` of a weight).

    Raises:
        OnnxError: If the file is not legal or not of this graph, if the input does not fit, or
            if the executor is missing or fails.
    """
    if not isinstance(model, ModelProto):
        model = read_onnx(model)
    facts = metadata(model)
    inputs = _inputs(graph, x)
    states = {
        s["before"]: np.full((_batch(inputs), *s["shape"]), s["initial"], s["dtype"])
        for s in facts["states"]
    }
    if facts["T"] != graph.steps:
        raise OnnxError(
            "the file is of another graph", found=f"T = {facts['T']}", allowed=f"T = {graph.steps}"
        )
    step = _observed(model, graph, facts)
    run = _executor(step, executor, threads)
    if facts["form"] == "sequence":
        raw = run(inputs | states)
    else:
        raw = _stepwise(run, inputs, states)
    return _trace(raw, graph, facts["membrane_units"])


def _observed(model: ModelProto, graph: Graph, facts: Mapping[str, Any]) -> ModelProto:
    step = tapped(step_graph(model.graph), graph)
    observed = ModelProto()
    observed.CopyFrom(model)
    if facts["form"] == "sequence":
        step = wrap(step, [s["before"] for s in facts["states"]], graph.steps)
    observed.graph.CopyFrom(step)
    return observed


def _stepwise(run: Run, inputs: Feeds, states: Feeds) -> dict[str, NDArray[Any]]:
    steps: list[dict[str, NDArray[Any]]] = []
    for t in range(len(next(iter(inputs.values())))):
        made = run({name: array[t] for name, array in inputs.items()} | dict(states))
        states = {s: made.pop(s.removesuffix("_in") + "_out") for s in states}
        steps.append(made)
    return {name: np.stack([s[name] for s in steps]) for name in steps[0]}


def _executor(model: ModelProto, executor: str, threads: int) -> Run:
    names = [v.name for v in model.graph.output]
    if executor == "onnxruntime":
        call = _onnxruntime(model, threads)
    elif executor == "reference":
        call = ReferenceEvaluator(model).run
    else:
        raise OnnxError("unknown executor", found=repr(executor), allowed="onnxruntime, reference")

    def run(feeds: Feeds) -> dict[str, NDArray[Any]]:
        try:
            return dict(zip(names, call(names, dict(feeds)), strict=True))
        except Exception as e:  # each executor has its own error types
            raise OnnxError(f"{executor} failed on the model", found=_line(e)) from e

    return run


def _onnxruntime(model: ModelProto, threads: int) -> Callable[..., list[NDArray[Any]]]:
    try:
        import onnxruntime
    except ImportError as e:
        raise OnnxError(
            "onnxruntime is not installed", found=_line(e), remedy="pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = threads
    options.log_severity_level = 4  # errors come as exceptions; their echo on stderr is noise
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as e:  # onnxruntime's error types share no public base class
        raise OnnxError(
            "onnxruntime does not accept the model",
            found=_line(e),
            remedy=f"this is onnxruntime {onnxruntime.__version__}; tested versions stand in "
            "constraints.txt",
        ) from e
    run: Callable[..., list[NDArray[Any]]] = session.run
    return run


def _trace(raw: Mapping[str, NDArray[Any]], graph: Graph, units: Mapping[str, int]) -> Trace:
    values: dict[str, NDArray[np.float64]] = {}
    membranes: dict[str, NDArray[np.float64]] = {}
    currents: dict[str, NDArray[np.float64]] = {}
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    for name in dict.fromkeys((*(n.name for n in neurons), *graph.outputs)):
        values[name] = raw[name].astype(np.float64)
    for node in neurons:
        op, fixed = fixed_neuron(node)
        unit = units[node.name]
        if not op.fires:
            values[node.name] /= unit
        counts = (1 << fixed.fraction_bits) // unit
        membranes[node.name] = raw[f"{node.name}_v"].astype(np.float64) * counts
        if op.current_decay:
            currents[node.name] = raw[f"{node.name}_u"].astype(np.float64) * counts
    return Trace(values, membranes, currents)


def _inputs(
    graph: Graph, x: NDArray[Any] | Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[np.uint8]]:
    given = x if isinstance(x, Mapping) else {graph.inputs[0].name: x}
    if set(given) != {e.name for e in graph.inputs}:
        raise OnnxError(
            "the inputs are not those of the graph",
            found=", ".join(given),
            allowed=", ".join(e.name for e in graph.inputs),
        )
    arrays = {}
    for edge in graph.inputs:
        array = np.asarray(given[edge.name])
        if array.ndim < 2 or (len(array), *array.shape[2:]) != (graph.steps, *edge.shape):
            raise OnnxError(
                "an input has the wrong shape",
                where=f"%{edge.name}",
                found=str(array.shape),
                allowed=f"(T, B, *shape) = ({graph.steps}, B, {', '.join(map(str, edge.shape))})",
            )
        if not edge.domain.holds(array.astype(np.float64)):
            raise OnnxError(
                "an input carries a value outside its domain",
                where=f"%{edge.name}",
                found=f"{array.min():g} to {array.max():g}",
                allowed=str(edge.domain),
            )
        arrays[edge.name] = array.astype(np.uint8)
    if len({a.shape[1] for a in arrays.values()}) != 1:
        raise OnnxError("the inputs differ in batch size")
    return arrays


def _batch(inputs: Feeds) -> int:
    return int(next(iter(inputs.values())).shape[1])


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
