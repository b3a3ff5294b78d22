"""What simulate.py compares with: other simulators, and the convolutions of a network alone.

The float simulators run the layers of the integer graph: the same weights, thresholds and hard
reset, one thread, without gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Add, Conv2d, Flatten, Linear, Neuron, Scale

torch.set_num_threads(1)
torch.set_grad_enabled(False)
Action = Callable[[], object]


def _synapses(graph: Graph) -> Iterable[tuple[str, nn.Module]]:
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Conv2d) and op.groups == 1:
            w = torch.tensor(op.weight).float().contiguous(memory_format=torch.channels_last)
            layer: Any = nn.Conv2d(w.shape[1], len(w), w.shape[2:], op.stride, op.padding)
        elif isinstance(op, Linear):
            w = torch.tensor(op.weight).float()
            layer = nn.Linear(w.shape[1], len(w))
        else:
            continue
        layer.weight.data = w
        bias = np.zeros(len(w)) if op.bias is None else op.bias
        layer.bias.data = torch.tensor(bias).float()
        yield node.name, layer


def _neuron(kind: str, threshold: float) -> Any:
    if kind == "SpikingJelly":
        from spikingjelly.activation_based import neuron

        return neuron.IFNode(v_threshold=threshold, v_reset=0.0, step_mode="m")
    if kind == "snnTorch":
        import snntorch

        return snntorch.Leaky(beta=1.0, threshold=threshold, reset_mechanism="zero")
    from norse.torch.functional.iaf import IAFParameters

    return IAFParameters(v_th=torch.tensor(threshold), v_reset=torch.tensor(0.0))


def float_simulator(kind: str, graph: Graph, x: np.ndarray) -> Action:
    """A run of SpikingJelly (multi-step, all T at once), snnTorch or Norse (step by step)."""
    layers: dict[str, Any] = dict(_synapses(graph))
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Neuron) and op.decay > 0 and op.fires:
            layers[node.name] = _neuron(kind, float(np.asarray(op.threshold).flat[0]))
    spikes = torch.tensor(x).float()
    if kind == "SpikingJelly":
        return lambda: _multi_step(graph, layers, spikes)
    return lambda: _step_by_step(kind, graph, layers, spikes)


def _current(values: dict[str, Any], node: Any, layers: dict[str, Any]) -> Any:
    op, read = node.op, [values[i] for i in node.inputs]
    if isinstance(op, Conv2d) and op.groups > 1:  # an OR over a window
        return F.max_pool2d(read[0], op.stride[0])
    if isinstance(op, Conv2d | Linear):
        return layers[node.name](read[0])
    if isinstance(op, Add):  # the OR of two spikes
        return read[0] + read[1] - read[0] * read[1]
    if isinstance(op, Flatten):
        return read[0].flatten(1)
    assert isinstance(op, Scale)
    return read[0]


def _multi_step(graph: Graph, layers: dict[str, Any], x: torch.Tensor) -> dict[str, Any]:
    for layer in layers.values():
        if hasattr(layer, "reset"):
            layer.reset()
    flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    values: dict[str, Any] = {graph.inputs[0].name: flat}
    for node in graph.nodes:
        if not isinstance(node.op, Neuron):
            values[node.name] = _current(values, node, layers)
            continue
        y = values[node.inputs[0]]
        if node.name in layers:
            y = layers[node.name](y.unflatten(0, (len(x), -1))).flatten(0, 1)
        elif not node.op.fires:
            y = y.unflatten(0, (len(x), -1)).cumsum(0)
        values[node.name] = y
    return values


def _step_by_step(kind: str, graph: Graph, layers: dict[str, Any], x: torch.Tensor) -> Any:
    from norse.torch.functional.iaf import IAFFeedForwardState, iaf_feed_forward_step

    state: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for step in x:
        values = {graph.inputs[0].name: step.contiguous(memory_format=torch.channels_last)}
        for node in graph.nodes:
            name = node.name
            if not isinstance(node.op, Neuron):
                values[name] = _current(values, node, layers)
                continue
            current = values[node.inputs[0]]
            held = state.get(name)
            if name in layers and kind == "snnTorch":
                held = torch.zeros_like(current) if held is None else held
                values[name], state[name] = layers[name](current, held)
            elif name in layers:
                held = IAFFeedForwardState(v=torch.zeros_like(current)) if held is None else held
                values[name], state[name] = iaf_feed_forward_step(current, held, layers[name])
            elif not node.op.fires:
                values[name] = state[name] = current if held is None else held + current
            else:
                values[name] = current
    return values


def bare_convolutions(graph: Graph, samples: int, rate: float) -> tuple[Action, Action]:
    """All dense convolutions of all T steps as one batch: in float32, and in int8 by oneDNN."""
    rng = np.random.default_rng(0)
    shapes = {e.name: e.shape for e in graph.edges()}
    floats: list[Action] = []
    bytes_: list[Action] = []
    onednn = torch.ops.onednn
    for node in graph.nodes:
        op = node.op
        if not isinstance(op, Conv2d) or op.groups > 1:
            continue
        x = rng.random((graph.steps * samples, *shapes[node.inputs[0]])) < rate
        w = torch.tensor(op.weight)
        xf = torch.tensor(x).float().contiguous(memory_format=torch.channels_last)
        wf = w.float().contiguous(memory_format=torch.channels_last)
        floats.append(lambda x=xf, w=wf, op=op: F.conv2d(x, w, None, op.stride, op.padding))
        xq = torch.tensor(x).byte().contiguous(memory_format=torch.channels_last)
        scale, zero = torch.ones(len(w)), torch.zeros(len(w), dtype=torch.int32)
        where = (list(op.stride), list(op.padding), [1, 1], 1)
        packed = onednn.qconv_prepack(w.to(torch.int8), scale, 1.0, 0, *where, list(xq.shape))
        bytes_.append(
            lambda x=xq, w=packed, s=scale, z=zero, where=where: onednn.qconv_pointwise(
                x, 1.0, 0, w, s, z, None, *where, 1.0, 0, torch.float32, "none", [], ""
            )
        )
    for exact, quick in zip(floats, bytes_, strict=True):
        if not torch.equal(exact(), quick()):
            raise SystemExit("int8 convolutions differ from float32")
    return (lambda: [f() for f in floats]), (lambda: [f() for f in bytes_])
