"""NIR as other tools read it: what each of them can run, and under which conventions.

NIR leaves open where a membrane that equals its threshold fires, what a spike resets, and how long
a step is; its readers differ, and take arrays as they come. `for_reader` writes what one of them
computes as the graph does, and refuses what it would compute otherwise, or not at all. Versions
that were read and run: SpikingJelly 2.0, snnTorch 1.0, Norse 1.1, sinabs 3.1, nir 1.0.8.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Conv2d, Neuron
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.compiler.wording import Advice
from purespike.targets.nir.emit import to_nir
from purespike.targets.nir.errors import NirError

EXACT = 1 << 24  # up to which float32 holds every whole number
_PLAIN = frozenset({"Input", "Output", "Affine", "Linear", "Conv2d", "Flatten"})
_LAYER = ("weight", "bias", "scale")
_NEURON = (
    "threshold",
    "v_threshold",
    "v_reset",
    "v_leak",
    "tau",
    "r",
    "tau_mem",
    "tau_syn",
    "w_in",
)


@dataclass(frozen=True)
class Reader:
    """A tool that reads NIR.

    Attributes:
        title: Its name.
        how: The line of Python that reads the file, which is called ``graph`` there.
        kinds: Nodes that it reads.
        dt: Seconds per step that it takes.
        at: Whether a membrane that equals its threshold fires.
        reset: What a spike does.
        single: Whether samples have to be run one by one, without a batch axis.
    """

    title: str
    how: str
    kinds: frozenset[str]
    dt: float
    at: bool
    reset: str = "zero"
    single: bool = False


READERS = {
    "spikingjelly": Reader(
        "SpikingJelly",
        "spikingjelly.activation_based.nir_exchange.import_from_nir(graph, dt=1.0)",
        _PLAIN | {"IF", "LIF"},
        1.0,
        at=True,
    ),
    "snntorch": Reader(
        "snnTorch",
        "snntorch.import_nir.import_from_nir(graph)",
        _PLAIN | {"LIF", "CubaLIF"},
        1e-4,
        at=False,
        single=True,
    ),
    "norse": Reader(
        "Norse",
        "norse.torch.from_nir(graph, dt=1e-3)",
        _PLAIN | {"IF", "LIF"},
        1e-3,
        at=False,
        single=True,
    ),
    "sinabs": Reader(
        "sinabs",
        "sinabs.nir.from_nir(graph, batch_size=B)",
        (_PLAIN - {"Linear"}) | {"IF"},
        1e-3,
        at=True,
        reset="subtract",
    ),
}


def for_reader(graph: Graph, name: str) -> nir.NIRGraph:
    """A NIR graph for one of `READERS`; arrays are float32, conventions stand in the metadata.

    An integrator at an output stays on the host: no reader has its node. The output is then the
    current that it would add up.

    Raises:
        NirError: If the tool would compute something else, or cannot read it; with the place.
    """
    reader = READERS[name]
    graph, summed = _without_readouts(replace(graph, dt=reader.dt))
    for node in graph.nodes:
        _check(graph, node, reader)
    made = to_nir(graph)
    said = json.loads(made.metadata["purespike"])
    thresholds = {
        record["node"]: node.op.threshold
        for record, node in zip(said["nodes"], graph.nodes, strict=True)
        if "node" in record and isinstance(node.op, Neuron)
    }
    for label, node in list(made.nodes.items()):
        kind = type(node).__name__
        if kind == "Linear" and kind not in reader.kinds:
            zeros = np.zeros(len(node.weight))
            made.nodes[label] = node = nir.Affine(node.weight, zeros)
            kind = "Affine"
        if kind not in reader.kinds:
            _refuse(reader, f"node {label}", kind, "nodes " + ", ".join(sorted(reader.kinds)))
        if reader.at and label in thresholds:
            node.v_threshold = np.broadcast_to(thresholds[label], node.v_threshold.shape)
        for field in (*_LAYER, *_NEURON):
            value = getattr(node, field, None)
            if isinstance(value, np.ndarray):
                setattr(node, field, _single(value, label))
    made.metadata = {
        "reader": reader.title,
        "read_with": reader.how,
        "dt": reader.dt,
        "steps": graph.steps,
        "reset_mechanism": reader.reset,
        "fires": "at" if reader.at else "above",
        "if_r": "step",
        "outputs_to_sum": json.dumps(summed),
    }
    return made


def reader_bytes(made: nir.NIRGraph) -> bytes:
    """The file."""
    buffer = io.BytesIO()
    nir.write(buffer, made)
    return buffer.getvalue()


def _without_readouts(graph: Graph) -> tuple[Graph, list[int]]:
    """The graph without integrators that only add up, and at which outputs they were."""
    outputs, summed = list(graph.outputs), []
    for k, name in enumerate(outputs):
        node = graph.producer(name)
        op = node.op if node else None
        if node is None or not isinstance(op, Neuron) or op.fires:
            continue
        if op.decay != 1 or op.current_decay or op.initial:
            raise NirError(
                "a readout that forgets has no node in this tool's reader",
                where=f"%{name} (module {graph.origin(name)})",
                found=op.details(),
                remedy=Advice("write NIR's own conventions: {reader}"),
            )
        outputs[k] = node.inputs[0]
        summed.append(k)
    kept = [n for n in graph.nodes if n.name not in set(graph.outputs) - set(outputs)]
    return graph.rebuilt(kept, tuple(outputs)), summed


def _check(graph: Graph, node: Node, reader: Reader) -> None:
    """Raise unless the tool computes what the node means."""
    where = f"%{node.name} (module {graph.origin(node.name)})"
    op = node.op
    if isinstance(op, Conv2d) and op.groups != 1:  # they take the weight for all input channels
        _refuse(reader, where, f"{op.groups} groups", "convolutions without groups")
    if not isinstance(op, Neuron):
        return
    resets = "never" if op.reset == "subtract" and not op.amount.any() else op.reset
    same = op.reset != "subtract" or np.array_equal(
        np.broadcast_to(op.amount, node.output.shape),
        np.broadcast_to(op.threshold, node.output.shape),
    )
    if resets != reader.reset or not same:
        found = op.details() + ("" if same else ", by another amount")
        _refuse(reader, where, found, f"a reset: {reader.reset}, by the threshold")
    if op.initial:
        _refuse(
            reader, where, f"an initial membrane of {op.initial:g}", "a membrane that starts at 0"
        )
    if np.unique(op.threshold).size != 1:
        _refuse(reader, where, "thresholds that differ", "one threshold for a layer")
    if op.fixed is None:
        return
    low, high = bound_neurons(graph, current_limit=np.inf)[node.name].membrane
    if op.leaks:
        _refuse(reader, where, "a leak that rounds as the chip's", "a leak in real numbers")
    if max(-low, high) >= EXACT:
        _refuse(reader, where, f"membranes of {low:g} to {high:g}", "what float32 holds exactly")
    if reader.title == "sinabs" and low < -float(op.threshold.max()):
        _refuse(
            reader, where, f"membranes of {low:g}", "none below minus the threshold, where it stops"
        )


def _refuse(reader: Reader, where: str, found: str, allowed: str) -> None:
    raise NirError(
        f"{reader.title} would not compute this as the network does",
        where=where,
        found=found,
        allowed=allowed,
        remedy=Advice("write NIR's own conventions, which say it: {reader}"),
    )


def _single(values: Any, label: str) -> Any:
    if values.dtype.kind in "iu" and np.abs(values).max(initial=0) > EXACT:
        raise PurespikeError("a number does not fit float32", where=f"node {label}")
    return np.ascontiguousarray(values, np.float32)
