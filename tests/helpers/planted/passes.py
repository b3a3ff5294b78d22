"""Faults of the passes, and of what only a captured network has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from helpers.planted.planting import (
    Listed,
    Patch,
    behind,
    bumped,
    first,
    giving,
    method,
    stepping,
    taking,
)
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import AvgPool2d, BatchNorm, Conv2d, Linear, Neuron, Scale, TimeMean
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.compiler.passes import (
    fold_constants,
    hold_integers,
    merge_equal,
    remove_dead,
)
from purespike.compiler.passes.fold_scales import fold_scales, move_delays, pooling
from purespike.compiler.passes.quantize import quantize
from purespike.compiler.passes.quantize.quantize import by_row
from purespike.compiler.passes.unroll_levels import unroll_levels
from purespike.compiler.proofs.ranges import current_interval


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


def _no_shift(made: tuple[Array, Array]) -> tuple[Array, Array]:
    return made[0], 0 * made[1]


def _rolled(made: tuple[Array, Array]) -> tuple[Array, Array]:
    return np.roll(made[0], 1), np.roll(made[1], 1)


def taking_scaled() -> Patch:
    """A factor reaches the weights, and the bias stays."""

    def make(old: Any) -> Any:
        def wrong(op: Any, factor: Array, shift: Array | None = None) -> Any:
            made = old(op, factor, shift)
            return made if shift is not None or op.bias is None else replace(made, bias=op.bias)

        return wrong

    return method(fold_scales, "scaled", make)


def _scaled_the_wrong_way(old: Any) -> Any:
    def wrong(graph: Graph, node: Node) -> Any:
        match = old(graph, node)
        if match is not None:
            (made,) = match[0][node.name]
            factor = made.op.threshold / node.op.threshold
            op = replace(made.op, threshold=node.op.threshold / factor)
            match[0][node.name] = [replace(made, op=op)]
        return match

    return wrong


def _summed(old: Any) -> Any:
    return lambda self, weight: weight * self.factor


def _maximum_is_and(graph: Graph) -> Graph:
    nodes = [
        replace(n, op=replace(n.op, threshold=n.op.threshold + 1.0))
        if isinstance(n.op, Neuron) and n.name.startswith("max")
        else n
        for n in graph.nodes
    ]
    return graph.rebuilt(nodes)


def _never(layer: Node) -> bool:
    return False


def _first_bias_lost(old: Any) -> Any:
    return lambda op, inner: old(op, replace(inner, bias=None))


def behind_added() -> Patch:
    """Of two layers of one geometry only the first is left."""

    def make(old: Any) -> Any:
        def wrong(graph: Graph, node: Node) -> Any:
            match = old(graph, node)
            if match is not None:
                kept = [n for made in match[0].values() for n in made if n.name != node.name]
                match[0].update({n.name: [graph.producer(n.name)] for n in kept})
            return match

        return wrong

    return method(fold_constants, "_side_by_side", make)


def _xor_is_or(graph: Graph) -> Graph:
    nodes = [
        replace(n, op=Scale(0 * n.op.factor))
        if isinstance(n.op, Scale) and n.op.factor.ndim == 0 and float(n.op.factor) == -2.0
        and n.name.startswith("gate")
        else n
        for n in graph.nodes
    ]  # fmt: skip
    return graph.rebuilt(nodes)


def _by_operation_alone(old: Any) -> Any:
    def wrong(graph: Graph) -> dict[str, str]:
        leader, seen = old(graph), {}
        for node in graph.nodes:
            if isinstance(node.op, Neuron):
                key = (node.output.shape, node.op.details())
                leader[node.name] = leader[seen.setdefault(key, node.name)]
        return leader

    return wrong


def _dead_too_soon(graph: Graph, node: Node, op: Neuron) -> Any:
    """Looks at one step alone."""
    interval = current_interval(graph, node.inputs[0])
    if interval is None or type(op) is not Neuron or not op.fires:
        return np.zeros(node.output.shape[0], dtype=bool)
    below = np.broadcast_to(interval[1], node.output.shape) < op.threshold
    return below.reshape(len(below), -1).all(axis=1)


def _raised(op: Neuron) -> Neuron:
    return replace(op, threshold=op.threshold + 1.0) if op.fires else op


def _where(graph: Graph, part: str, kind: Any, change: Callable[[Any], Any]) -> Graph:
    """Nodes of a kind whose name has a part get another op."""
    nodes = [replace(n, op=change(n.op)) if isinstance(n.op, kind) and part in n.name else n
             for n in graph.nodes]  # fmt: skip
    return graph.rebuilt(nodes)


def _zeroed(op: Scale) -> Scale:
    return Scale(0 * op.factor)


def _weightless(op: Any) -> Any:
    return reweighted(op, lambda w: 0 * w, op.bias)


def _sign_lost(old: Any) -> Any:
    return lambda op, train, counts: old(op, replace(train, worth=np.abs(train.worth)), counts)


def _unsigned(op: Any) -> Any:
    return reweighted(op, np.abs, op.bias)


def _unbiased(op: Any) -> Any:
    return reweighted(op, lambda w: w, None)


def _rounding_of_weights(rounding: Any) -> Patch:
    """A layer whose weights have fractions at its scale is cut off."""

    def make(old: Any) -> Any:
        def wrong(op: Any, scale: Any, grid: Any) -> Any:
            made = old(op, scale, grid)
            if isinstance(op, Scale):
                return Scale(np.clip(rounding(op.factor * scale / 2), -127, 127))
            by = by_row(scale, 4 if isinstance(op, Conv2d) else 2)
            return reweighted(op, lambda w: rounding(w * by * 0.99), made.bias)

        return wrong

    return method(quantize, "_synapse", make)


def _rounding_of_thresholds() -> Patch:
    def make(old: Any) -> Any:
        def wrong(op: Neuron, scale: Any, grid: Any) -> Neuron:
            made = old(op, scale, grid)
            if not op.fires or made.leaks:
                return made
            return replace(made, threshold=np.maximum(1.0, np.floor(op.threshold * scale - 0.5)))

        return wrong

    return method(quantize, "_neuron", make)


def _amount_moved(op: Neuron) -> Neuron:
    return replace(op, amount=op.amount + 1.0)


def _each_neuron(graph: Graph, change: Callable[[Neuron], Neuron]) -> Graph:
    nodes = [replace(n, op=change(n.op)) if isinstance(n.op, Neuron) else n for n in graph.nodes]
    return graph.rebuilt(nodes)


def _affine(change: Callable[[BatchNorm], Any]) -> Patch:
    return method(BatchNorm, "affine", lambda old: change)


def _conv(**change: Any) -> Callable[[Graph], Graph]:
    return lambda g: first(
        g, Conv2d, lambda op: replace(op, **{k: f(op) for k, f in change.items()})
    )


PASSES: Listed = {
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
        behind("fold_scales", _conv(weight=lambda op: bumped(op.weight, 1))),
    ),
    "a pass loses a bias": ("fold_scales", behind("fold_scales", _conv(bias=lambda op: None))),
    "a pass flips a kernel": (
        "fold_scales",
        behind("fold_scales", _conv(weight=lambda op: op.weight[:, :, ::-1])),
    ),
    "a pass exchanges output channels": (
        "fold_scales",
        behind("fold_scales", _conv(weight=lambda op: np.roll(op.weight, 1, axis=0))),
    ),
    "a pass raises a threshold by 1": (
        "fold_scales",
        behind(
            "fold_scales",
            lambda g: _last_fires(g, lambda op: replace(op, threshold=op.threshold + 1.0)),
        ),
    ),
    "a pass changes a reset": (
        "fold_scales",
        behind(
            "fold_scales",
            lambda g: _last_fires(
                g,
                lambda op: replace(op, reset="subtract" if op.reset == "zero" else "zero"),
            ),
        ),
    ),
    "gates fire one spike early": ("lower_gates", behind("lower_gates", _gates_wrong)),
    "gates inhibit nothing": ("lower_gates", behind("lower_gates", _inhibition_lost)),
    "quantized thresholds are 1 too high": (
        "quantize",
        behind(
            "quantize",
            lambda g: _last_fires(g, lambda op: replace(op, threshold=op.threshold + 1.0)),
        ),
    ),
    "average pool of the wrong size": (
        "AvgPool2d",
        method(
            AvgPool2d,
            "step",
            lambda old: lambda self, state, x: (None, old(self, state, x)[1] * 2),
        ),
    ),
    "mean over T + 1 steps": (
        "TimeMean",
        stepping(TimeMean, lambda op: {"steps": op.steps + 1}),
    ),
    "fused with the shift lost": ("fuse_batchnorm", giving(BatchNorm, "affine", _no_shift)),
    "fused with two channels exchanged": ("fuse_batchnorm", giving(BatchNorm, "affine", _rolled)),
    "a factor is folded into the weights alone": ("fold_scales", taking_scaled()),
    "a threshold is multiplied by what divides it": (
        "fold_scales",
        method(fold_scales, "_scale_before", _scaled_the_wrong_way),
    ),
    "an average is a sum": ("fold_scales", method(pooling._Windows, "share", _summed)),
    "a maximum of spikes is an AND": (
        "fold_scales",
        behind("fold_scales", _maximum_is_and),
    ),
    "a mean over time divides by T + 1": (
        "fold_scales",
        taking(fold_scales, "_divided", 1, lambda steps: steps + 1),
    ),
    "a bias begins too early": ("fold_scales", method(move_delays, "_biased", lambda old: _never)),
    "two layers in a row lose the first bias": (
        "fold_constants",
        method(fold_constants, "linear_in_a_row", _first_bias_lost),
    ),
    "layers side by side: one is dropped": ("fold_constants", behind_added()),
    "gates: XOR never looks for both": ("lower_gates", behind("lower_gates", _xor_is_or)),
    "equal operations on unlike inputs are merged": (
        "merge_equal",
        method(merge_equal, "_leaders", _by_operation_alone),
    ),
    "neurons that fire once are called dead": (
        "remove_dead",
        method(remove_dead, "never_fires", lambda old: _dead_too_soon),
    ),
    "levels: thresholds rise by 1": (
        "unroll_levels",
        behind("unroll_levels", lambda g: first(g, Neuron, _raised)),
    ),
    "levels: a spike takes nothing off": (
        "unroll_levels",
        behind("unroll_levels", lambda g: _where(g, ".reset", Scale, _zeroed)),
    ),
    "levels: one copy of a layer is lost": (
        "unroll_levels",
        behind("unroll_levels", lambda g: _where(g, ".level2", Conv2d | Linear, _weightless)),
    ),
    "levels: counts below zero count above": (
        "unroll_levels",
        method(unroll_levels, "weighed", _sign_lost),
    ),
    "scales: a weight's sign is lost": (
        "quantize",
        behind("quantize", lambda g: first(g, Conv2d | Linear, _unsigned)),
    ),
    "quantized weights are cut off, not rounded": ("quantize", _rounding_of_weights(np.trunc)),
    "quantized biases are lost": (
        "quantize",
        behind("quantize", lambda g: first(g, Conv2d | Linear, _unbiased)),
    ),
    "quantized thresholds round down": ("quantize", _rounding_of_thresholds()),
    "the reset amount stays in real numbers' scale": (
        "quantize",
        behind("quantize", lambda g: _last_fires(g, _amount_moved)),
    ),
    "the first membrane is lost": (
        "quantize",
        behind("quantize", lambda g: _each_neuron(g, lambda op: replace(op, initial=0.0))),
    ),
    "wide weights are split and one part is lost": (
        "hold_integers",
        giving(hold_integers, "split", lambda parts: parts[:-1] if len(parts) > 1 else parts),
    ),
}
