"""A sequential integer network as a netx file, which Lava then runs spike for spike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.files.writing import write_file
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Conv2d, Flatten, Linear, Neuron
from purespike.compiler.ir.verify import verify
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.compiler.wording import QUANTIZE
from purespike.targets.netx.document import DECAY, NEVER, Document, Field
from purespike.targets.netx.errors import NetxError
from purespike.targets.netx.synapse import survives
from purespike.targets.nir.document import JSON, canonical
from purespike.targets.spec import LOIHI2

FORMAT = 1
ALLOWED = "a chain of convolution or linear layer, neuron, and flattening between the two"


def write_netx(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a sequential integer network; the same graph gives the same bytes, all or nothing.

    ``lava.lib.dl.netx.hdf5.Network(net_config=path, reset_interval=T, reset_offset=1)`` then runs
    it, T steps per sample, back to back, with spikes put into ``inp``; layer k answers k + 1 steps
    later. A readout (a neuron that never fires) has the highest threshold: read its ``v``, in 64ths
    of a weight. Where the first layer is linear and the input an image, netx does not flatten it:
    put ``x.reshape(-1)`` in.

    Args:
        graph: An integer graph of one input of spikes and a chain of layers.
        path: The file.

    Raises:
        NetxError: If netx cannot say the graph, with the reason and the module.
        OutputError: If the file cannot be written; then what stood at ``path`` is still there.
        IRError: If the graph is not well formed.
    """
    content = to_document(graph).to_bytes()
    write_file(Path(path), content)


def to_document(graph: Graph) -> Document:
    """The graph as the plain content of a netx file; see `write_netx`."""
    verify(graph)
    if len(graph.inputs) != 1 or not graph.inputs[0].domain <= SPIKE:
        raise NetxError(
            "a netx network has one input of spikes",
            found=", ".join(map(str, graph.inputs)),
            remedy="run the host encoder first",
        )
    source = graph.inputs[0]
    layers: list[dict[str, Field]] = [{"type": "input", "shape": _ints(source.shape)}]
    notes: list[JSON] = []
    for node, neuron in _chain(graph):
        if isinstance(node.op, Conv2d | Linear) and neuron is not None:
            layers.append(_layer(graph, node, node.op, neuron))
            notes += [_note(node), _note(neuron)]
        else:
            layers.append({"type": "flatten"})
            notes.append(_note(node))
    _check_ranges(graph)
    simulation = {"Ts": np.array(1), "tSample": np.array(graph.steps)}
    document = Document(tuple(layers), simulation)
    metadata = canonical(
        {
            "format": FORMAT,
            "input": source.name,
            "domain": [source.domain.lo, source.domain.hi, source.domain.step],
            "dt": graph.dt,
            "nodes": notes,
            "sha256": document.digest(),
        }
    )
    return replace(document, metadata=metadata)


def _chain(graph: Graph) -> Iterator[tuple[Node, Node | None]]:
    """(synapse, its neuron) and (flatten, None), in order; anything else is refused."""
    before = graph.inputs[0].name
    nodes = list(graph.nodes)
    while nodes:
        node = nodes.pop(0)
        chained = node.inputs == (before,)
        if not chained or len(graph.consumers(before)) != 1:
            reads = f"{type(node.op).__name__}({', '.join('%' + i for i in node.inputs)})"
            _refuse(
                graph,
                node,
                "netx chains layers: each reads the one before and nothing else",
                found=_readers(graph, before) if chained else reads,
                remedy="export NIR, ONNX or the Lava program instead: they carry branches",
            )
        if node.role != "main":
            _refuse(graph, node, "netx has layers on the chip only", found=f"role {node.role}")
        if isinstance(node.op, Flatten):
            source = graph.edge(before)
            after = nodes[0].op if nodes else None
            if len(source.shape) != 3 or not isinstance(after, Linear):
                _refuse(
                    graph, node, "netx flattens (C, H, W) before a dense layer", found=str(source)
                )
            before = node.name
            yield node, None
            continue
        neuron = nodes.pop(0) if nodes else None
        if not isinstance(node.op, Conv2d | Linear):
            _refuse(graph, node, "netx has no such layer", found=type(node.op).__name__)
        spikes = neuron is not None and isinstance(neuron.op, Neuron)
        alone = len(graph.consumers(node.name)) == 1
        if neuron is None or not spikes or neuron.inputs != (node.name,) or not alone:
            _refuse(
                graph,
                node,
                "in netx each synapse feeds one neuron of its own",
                found=_readers(graph, node.name),
                remedy="export NIR, ONNX or the Lava program instead: they carry "
                + ("sums" if alone else "branches"),
            )
        before = neuron.name
        yield node, neuron
    if graph.outputs != (before,) or graph.producer(before) is None:
        raise NetxError(
            "the output of a netx network is its last neuron",
            found=", ".join("%" + n for n in graph.outputs),
            allowed=f"%{before}",
        )


def _readers(graph: Graph, name: str) -> str:
    reads = ", ".join(f"%{n.name}" for n in graph.consumers(name)) or "nothing"
    return f"%{name} goes to {reads}"


def _layer(graph: Graph, node: Node, op: Conv2d | Linear, neuron: Node) -> dict[str, Field]:
    weight = _integers(graph, node, "weight", op.weight)
    if not survives(weight):
        _refuse(
            graph,
            node,
            "the weights are not exact in a synapse of 8 bits as netx packs it",
            found=f"{int(weight.min())} to {int(weight.max())}",
            allowed="mixed signs: -128 to 127, or even numbers of -256 to 254; one sign: up to 255,"
            " if negative without -1, -2, -4, ... -256 as the lowest; not all zero",
            remedy="export NIR, ONNX or the Lava program instead: they do not pack weights so",
        )
    layer: dict[str, Field] = {
        "type": "conv" if isinstance(op, Conv2d) else "dense",
        "shape": _ints(neuron.output.shape),
        "weight": weight.astype("<i2"),
    }
    if op.bias is not None:
        bias = _integers(graph, node, "bias", op.bias)
        if int(np.abs(bias).max()) > LOIHI2.bias:
            found, allowed = f"{int(bias.min())} to {int(bias.max())}", f"+-{LOIHI2.bias}"
            _refuse(graph, node, "a bias is too large", found=found, allowed=allowed)
        layer["bias"] = bias.astype("<i4")
    if isinstance(op, Conv2d):
        layer |= {k: _ints(getattr(op, k)) for k in ("stride", "padding", "dilation")}
        layer |= {"groups": np.array(op.groups)}
    values = _neuron(graph, neuron)
    return layer | {f"neuron/{k}": v for k, v in values.items()}


def _neuron(graph: Graph, node: Node) -> dict[str, Field]:
    op = node.op
    if not isinstance(op, Neuron):
        raise TypeError(f"%{node.name} is not a neuron")
    if op.fixed != LOIHI2.fixed:
        fixed = f"{op.fixed}"
        _refuse(graph, node, "netx runs in Loihi's fixed point", found=fixed, remedy=QUANTIZE)
    if op.initial:
        _refuse(graph, node, "netx starts at rest", found=f"initial membrane {op.initial:g}")
    if op.reset == "subtract":
        remedy = "train with reset to zero, or export NIR, ONNX or the Lava program"
        _refuse(graph, node, "netx resets to zero only", found="soft reset", remedy=remedy)
    if op.current_decay:
        found = f"current decay {op.current_decay:g}"
        _refuse(graph, node, "netx is written without synaptic currents", found=found)
    decay = round((1 - op.decay) * DECAY)
    return {
        "type": "LOIHI",
        "iDecay": np.array(DECAY),
        # 4096 is no 12-bit number; 4095 forgets all below 4096 counts (see `_check_ranges`)
        "vDecay": np.array(min(decay, DECAY - 1)),
        "vThMant": np.array(_strict(graph, node, op) if op.fires else NEVER),
        "refDelay": np.array(1),
        "gradedSpike": np.array(0),
    }


def _strict(graph: Graph, node: Node, op: Neuron) -> int:
    """The vThMant for which Lava's ``v > vth`` is our ``v >= threshold``."""
    values = np.unique(op.threshold)
    if values.size != 1:
        _refuse(
            graph,
            node,
            "netx has one threshold per layer",
            found=f"{values.size} thresholds, {values[0]:g} to {values[-1]:g}",
            remedy="quantize with one scale per layer",
        )
    step = 1.0 if op.decay in (0.0, 1.0) else 1 / 64  # of what the membrane can be
    vth = float(values[0]) - step
    if not (vth.is_integer() and 0 <= vth <= NEVER):
        _refuse(
            graph,
            node,
            "Loihi cannot compare with this threshold",
            found=f"{values[0]}",
            allowed=f"{step} more than a whole number of 0 to {NEVER}",
            remedy=QUANTIZE,
        )
    return int(vth)


def _check_ranges(graph: Graph) -> None:
    """Where Lava's arithmetic would part from ours."""
    for name, bounds in bound_neurons(graph, current_limit=LOIHI2.current_limit).items():
        node = graph.producer(name)
        if node is None or not isinstance(node.op, Neuron):
            continue
        highest = max(abs(bounds.membrane[0]), abs(bounds.membrane[1]))
        if bounds.verdict == "may wrap":
            found = f"{bounds.current[0]:g} to {bounds.current[1]:g} weights"
            _refuse(graph, node, "the current may wrap around", found=found)
        if node.op.decay == 0.0 and highest >= 64:
            _refuse(
                graph,
                node,
                "a memoryless neuron of this size would remember in Lava",
                found=f"membrane up to {highest:g} weights",
                allowed="below 64",
            )
        if not node.op.fires and bounds.membrane[1] > NEVER:
            found = f"membrane up to {bounds.membrane[1]:g} weights"
            _refuse(graph, node, "the readout could fire", found=found, allowed=f"{NEVER}")


def _note(node: Node) -> dict[str, JSON]:
    """What netx has no field for."""
    note: dict[str, JSON] = {"name": node.name, "origin": node.origin}
    if isinstance(node.op, Neuron):
        note["threshold_shape"] = list(node.op.threshold.shape)
        if node.op.decay == 0.0:
            note["memoryless"] = True
        if not node.op.fires:
            note["readout"] = [str(float(t)) for t in node.op.threshold.ravel()]
    return note


def _integers(graph: Graph, node: Node, what: str, x: Array) -> NDArray[np.int64]:
    whole = np.rint(x).astype(np.int64)
    if not bool((whole == x).all()):
        _refuse(graph, node, f"a {what} is not whole", remedy=QUANTIZE)
    return whole


def _ints(values: tuple[int, ...]) -> NDArray[Any]:
    return np.array(values, "<i8")


def _refuse(
    graph: Graph, node: Node, message: str, *, found: str = "", remedy: str = "", allowed: str = ""
) -> NoReturn:
    where = f"%{node.name} (module {graph.origin(node.name)})"
    allowed = allowed or ALLOWED
    raise NetxError(message, where=where, found=found, remedy=remedy, allowed=allowed)
