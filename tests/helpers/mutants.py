"""Faults put into purespike on purpose: the published list. Each must be noticed.

A mutant exchanges one function for a wrong one. ``seen by`` says which comparison has to notice:

- ``executors``: the interpreter against ONNX Runtime, the numpy script of the bundle, and the
  network read back from its NIR file, spikes and membranes of every neuron;
- ``passes``: every pass, run before and after, spikes of every neuron and outputs.

`docs/proofs.md` lists them with what was measured.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal
from unittest import mock

import numpy as np
from onnx import TensorProto

from purespike.compiler import pipeline
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
    TimeMean,
)
from purespike.targets.bundle import golden_network, replay
from purespike.targets.onnx import emit as onnx_emit
from purespike.targets.onnx import neuron as onnx_neuron

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """A fault, where it sits, and which comparison has to notice it."""

    name: str
    where: str
    seen_by: Literal["executors", "passes"]
    patch: Patch


def _method(owner: Any, name: str, make: Callable[[Any], Any]) -> Patch:
    """Exchange ``owner.name`` for ``make(old)``."""
    return lambda: mock.patch.object(owner, name, make(getattr(owner, name)))


# The neuron of the interpreter.


def _neuron(**wrong: Any) -> Patch:
    def step(self: Neuron, state: Array, *inputs: Array) -> tuple[Array, Array]:
        if self.fixed is None or self.current_decay:
            return original(self, state, *inputs)
        (x,) = inputs
        shift = wrong.get("shift", self.fixed.fraction_bits)
        unit, limit = 1 << self.fixed.fraction_bits, self.fixed.limit
        decay = self.decay
        if 0 < decay < 1:
            decay += wrong.get("decay", 0) / 2**self.fixed.decay_bits
        kept = state * decay
        rounding = wrong.get("rounding", np.trunc)
        current = x * (1 << shift)
        if "wrap" in wrong:
            half = 1 << wrong["wrap"]
            current = (current + half) % (2 * half) - half
        v = rounding(kept) * (not wrong.get("forgets", False)) + current
        if wrong.get("clip", True):
            v = np.clip(v, -limit, limit)
        if wrong.get("floor", False):
            v = np.maximum(v, 0.0)
        if not self.fires:
            return v, v / unit
        theta = self.threshold * unit + wrong.get("threshold", 0) * unit
        spikes = ((v > theta) if wrong.get("strict", False) else (v >= theta)).astype(float)
        reset = {"zero": wrong.get("zero", "zero"), "subtract": wrong.get("subtract", "subtract")}
        kind = reset[self.reset]
        if kind == "none":
            return v, spikes
        if kind == "zero":
            return np.where(spikes > 0, 0.0, v), spikes
        amount = self.amount + wrong.get("amount", 0)
        return v - spikes * amount * unit, spikes

    original = Neuron.step
    return lambda: mock.patch.object(Neuron, "step", step)


NEURON = {
    "> for >=": {"strict": True},
    "threshold + 1": {"threshold": 1},
    "threshold - 1": {"threshold": -1},
    "hard reset becomes soft": {"zero": "subtract"},
    "soft reset becomes hard": {"subtract": "zero"},
    "hard reset left out": {"zero": "none"},
    "soft reset takes 1 more": {"amount": 1},
    "saturation left out": {"clip": False},
    "current wraps at 20 bits": {"wrap": 20},
    "shift of 5 for 6": {"shift": 5},
    "decay + 1/4096": {"decay": 1},
    "leak rounds down": {"rounding": np.floor},
    "leak rounds to nearest": {"rounding": np.rint},
    "membrane forgotten": {"forgets": True},
    "membrane never below zero": {"floor": True},
}

# The other ops of the interpreter: what goes in is changed, or what comes out.


def _field(owner: Any, change: Callable[[Any], Any]) -> Patch:
    """One step of ``owner`` runs with the parameters ``change(op)`` in place of its own."""

    def make(old: Any) -> Any:
        return lambda self, state, *inputs: old(replace(self, **change(self)), state, *inputs)

    return _method(owner, "step", make)


def _around(owner: Any, change: Callable[..., tuple[Array, ...]]) -> Patch:
    """One step of ``owner`` runs with ``change(*inputs)`` as its inputs."""

    def make(old: Any) -> Any:
        return lambda self, state, *inputs: old(self, state, *change(*inputs))

    return _method(owner, "step", make)


def _bumped(weight: Array, by: int) -> Array:
    changed = weight.copy()
    changed.flat[changed.size // 2] += by
    return changed


def _gate(kind: str, other: str) -> Patch:
    def make(old: Any) -> Any:
        def step(self: Gate, state: None, *inputs: Array) -> Any:
            return old(replace(self, kind=other) if self.kind == kind else self, state, *inputs)

        return step

    return _method(Gate, "step", make)


def _swapped_iand() -> Patch:
    def make(old: Any) -> Any:
        def step(self: Gate, state: None, *inputs: Array) -> Any:
            return old(self, state, *(inputs[::-1] if self.kind == "iand" else inputs))

        return step

    return _method(Gate, "step", make)


def _rolled_groups(op: Conv2d) -> dict[str, Any]:
    return {"weight": np.roll(op.weight, 1, axis=0)} if op.groups > 1 else {}


def _shifted(*inputs: Array) -> tuple[Array, ...]:
    (x,) = inputs
    return (np.roll(x, 1, axis=3),)


def _channels_last(*inputs: Array) -> tuple[Array, ...]:
    (x,) = inputs
    moved = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    return (moved.reshape(len(x), -1),)


def _late_by_one() -> Patch:
    """A delay gives what arrived one step after it should."""

    def make(old: Any) -> Any:
        def read(self: Delay, state: Array) -> Array:
            return state[1] if len(state) > 1 else old(self, state)

        return read

    return _method(Delay, "read", make)


def _short_of_one(*inputs: Array) -> tuple[Array, ...]:
    return inputs[:-1]


OPS: dict[str, tuple[str, Patch]] = {
    "OR becomes AND": ("Gate", _gate("or", "and")),
    "AND becomes OR": ("Gate", _gate("and", "or")),
    "XOR becomes OR": ("Gate", _gate("xor", "or")),
    "IAND with its inputs exchanged": ("Gate", _swapped_iand()),
    "convolution weight + 1": (
        "Conv2d",
        _field(Conv2d, lambda op: {"weight": _bumped(op.weight, 1)}),
    ),
    "convolution weight - 1": (
        "Conv2d",
        _field(Conv2d, lambda op: {"weight": _bumped(op.weight, -1)}),
    ),
    "kernel flipped": (
        "Conv2d",
        _field(Conv2d, lambda op: {"weight": op.weight[:, :, ::-1, ::-1]}),
    ),
    "kernel transposed": (
        "Conv2d",
        _field(Conv2d, lambda op: {"weight": op.weight.swapaxes(2, 3)}),
    ),
    "channels of groups shifted": ("Conv2d", _field(Conv2d, _rolled_groups)),
    "image shifted by a pixel": ("Conv2d", _around(Conv2d, _shifted)),
    "bias left out": ("Conv2d", _field(Conv2d, lambda op: {"bias": None})),
    "linear weight + 1": (
        "Linear",
        _field(Linear, lambda op: {"weight": _bumped(op.weight, 1)}),
    ),
    "linear rows shifted": (
        "Linear",
        _field(Linear, lambda op: {"weight": np.roll(op.weight, 1, axis=0)}),
    ),
    "one-to-one weight + 1": (
        "Scale",
        _field(Scale, lambda op: {"factor": op.factor + 1}),
    ),
    "flattened channels last": ("Flatten", _around(Flatten, _channels_last)),
    "max pool becomes min pool": (
        "MaxPool2d",
        _method(
            MaxPool2d,
            "step",
            lambda old: lambda self, state, x: (None, 1 - old(self, state, 1 - x)[1]),
        ),
    ),
    "delay one step short": ("Delay", _late_by_one()),
    "a sum forgets its last input": ("Add", _around(Add, _short_of_one)),
}

# What only a captured network has, and the passes that take it away.


def _pass(name: str, change: Callable[[Graph], Graph]) -> Patch:
    """The graph that a pass leaves is changed before it is judged."""

    def standard(*args: Any, **options: Any) -> pipeline.Pipeline:
        passes = original(*args, **options)
        p = passes[name]
        return passes.replaced(name, replace(p, rewrite=lambda g: change(p.rewrite(g))))

    original = pipeline.standard_pipeline
    return lambda: mock.patch("helpers.random_graphs.standard_pipeline", standard)


def _first(graph: Graph, kind: type, change: Callable[[Any], Any]) -> Graph:
    """The first node of a kind with another op."""
    nodes: list[Node] = list(graph.nodes)
    for k, node in enumerate(nodes):
        if isinstance(node.op, kind):
            nodes[k] = replace(node, op=change(node.op))
            return graph.rebuilt(nodes)
    return graph


def _last_fires(graph: Graph, change: Callable[[Neuron], Neuron]) -> Graph:
    nodes = list(graph.nodes)
    for k in reversed(range(len(nodes))):
        op = nodes[k].op
        if isinstance(op, Neuron) and op.fires:
            nodes[k] = replace(nodes[k], op=change(op))
            return graph.rebuilt(nodes)
    return graph


def _gates_wrong(graph: Graph) -> Graph:
    """Every threshold that a gate was lowered to is one lower."""
    nodes = [
        replace(n, op=replace(n.op, threshold=n.op.threshold - 1.0))
        if isinstance(n.op, Neuron) and n.op.decay == 0 and n.name.startswith("gate")
        else n
        for n in graph.nodes
    ]
    return graph.rebuilt(nodes)


def _inhibition_lost(graph: Graph) -> Graph:
    nodes = [
        replace(n, op=Scale(np.abs(n.op.factor)))
        if isinstance(n.op, Scale) and n.name.startswith("gate")
        else n
        for n in graph.nodes
    ]
    return graph.rebuilt(nodes)


def _affine(change: Callable[[BatchNorm], Any]) -> Patch:
    return _method(BatchNorm, "affine", lambda old: change)


def _conv(**change: Any) -> Callable[[Graph], Graph]:
    return lambda g: _first(
        g, Conv2d, lambda op: replace(op, **{k: f(op) for k, f in change.items()})
    )


PASSES: dict[str, tuple[str, Patch]] = {
    "fused without eps": (
        "fuse_batchnorm",
        _affine(lambda n: (n.gamma / np.sqrt(n.variance), n.beta - n.mean * n.gamma)),
    ),
    "fused without the mean": (
        "fuse_batchnorm",
        _affine(lambda n: (n.gamma / np.sqrt(n.variance + n.eps), n.beta)),
    ),
    "fused with the sign of gamma lost": (
        "fuse_batchnorm",
        _affine(lambda n: (np.abs(n.gamma), n.beta - n.mean * np.abs(n.gamma))),
    ),
    "a pass moves a weight by 1": (
        "fold_scales",
        _pass("fold_scales", _conv(weight=lambda op: _bumped(op.weight, 1))),
    ),
    "a pass loses a bias": ("fold_scales", _pass("fold_scales", _conv(bias=lambda op: None))),
    "a pass flips a kernel": (
        "fold_scales",
        _pass("fold_scales", _conv(weight=lambda op: op.weight[:, :, ::-1])),
    ),
    "a pass exchanges output channels": (
        "fold_scales",
        _pass("fold_scales", _conv(weight=lambda op: np.roll(op.weight, 1, axis=0))),
    ),
    "a pass raises a threshold by 1": (
        "fold_scales",
        _pass(
            "fold_scales",
            lambda g: _last_fires(g, lambda op: replace(op, threshold=op.threshold + 1.0)),
        ),
    ),
    "a pass changes a reset": (
        "fold_scales",
        _pass(
            "fold_scales",
            lambda g: _last_fires(
                g,
                lambda op: replace(op, reset="subtract" if op.reset == "zero" else "zero"),
            ),
        ),
    ),
    "gates fire one spike early": ("lower_gates", _pass("lower_gates", _gates_wrong)),
    "gates inhibit nothing": ("lower_gates", _pass("lower_gates", _inhibition_lost)),
    "quantized thresholds are 1 too high": (
        "quantize",
        _pass(
            "quantize",
            lambda g: _last_fires(g, lambda op: replace(op, threshold=op.threshold + 1.0)),
        ),
    ),
    "average pool of the wrong size": (
        "AvgPool2d",
        _method(
            AvgPool2d,
            "step",
            lambda old: lambda self, state, x: (None, old(self, state, x)[1] * 2),
        ),
    ),
    "mean over T + 1 steps": (
        "TimeMean",
        _field(TimeMean, lambda op: {"steps": op.steps + 1}),
    ),
}

# The emitters.


def _onnx_parameter(by: int) -> Patch:
    def make(old: Any) -> Any:
        def parameter(body: Any, name: str, field: str, op: Neuron, unit: int) -> Any:
            moved = replace(op, threshold=op.threshold + by) if field == "threshold" else op
            return old(body, name, field, moved, unit)

        return parameter

    return _method(onnx_neuron, "_parameter", make)


EMITTERS: dict[str, tuple[str, Patch]] = {
    "ONNX: threshold + 1": ("targets/onnx", _onnx_parameter(1)),
    "ONNX: no range proof before counting in weights": (
        "targets/onnx",
        _method(onnx_neuron, "_never_saturates", lambda old: lambda *args: True),
    ),
    "ONNX: gates all become OR": (
        "targets/onnx",
        lambda: mock.patch.dict(
            onnx_emit._EMIT,
            {Gate: lambda body, graph, node: onnx_emit._chain(body, "Or", node, TensorProto.BOOL)},
        ),
    ),
    "bundle: resets left out": (
        "targets/golden_network",
        _method(
            golden_network,
            "_neuron",
            lambda old: (
                lambda graph, node, op, put: (
                    {**old(graph, node, op, put), "reset": "none"}
                    if op.fires
                    else old(graph, node, op, put)
                )
            ),
        ),
    ),
    "bundle: kernels flipped": (
        "targets/replay",
        _method(
            replay,
            "conv2d",
            lambda old: lambda x, w, *geometry: old(x, w[:, :, ::-1], *geometry),
        ),
    ),
}


def _all() -> Iterator[Mutant]:
    for name, wrong in NEURON.items():
        yield Mutant(name, "Neuron", "executors", _neuron(**wrong))
    for name, (where, patch) in OPS.items():
        yield Mutant(name, where, "executors", patch)
    for name, (where, patch) in PASSES.items():
        yield Mutant(name, where, "passes", patch)
    for name, (where, patch) in EMITTERS.items():
        yield Mutant(name, where, "executors", patch)


MUTANTS = {m.name: m for m in _all()}
