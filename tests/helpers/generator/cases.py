"""The numbered cases of the passes' docstrings, and how it is seen that a network reached one.

`LINES`: a line of the pass that only this case runs. `RULES`: a rule of it that matched.
`PROPERTIES`: what holds of the stages and the ledger of a compiled network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from helpers.generator.reach import Passed, Property
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import SYNAPSES, Add, BatchNorm, Delay, Gate, Neuron, Scale

_FOLD = "passes/fold_scales/fold_scales.py"
_POOL = "passes/fold_scales/pooling.py"
_COMPOSE = "passes/fold_scales/composing.py"
_DELAYS = "passes/fold_scales/move_delays.py"
_FUSE = "passes/fuse_batchnorm.py"
_UNROLL = "passes/unroll_levels/unroll_levels.py"
_QUANT = "passes/quantize/quantize.py"
_SCALES = "passes/quantize/scales.py"
_CALIB = "passes/quantize/calibrate.py"
_ROUND = "passes/quantize/rounding.py"

# (pass, case): (file, text of the line, function)
LINES: dict[tuple[str, str], tuple[str, str, str]] = {
    ("strip_auxiliary", "4"): ("passes/strip_auxiliary.py", "op=Neuron(**{f.name", ""),
    ("fuse_batchnorm", "1"): (_FUSE, "fused = replace(before", ""),
    ("fuse_batchnorm", "4"): (_FUSE, "return swaps, {norm.name: add.name}", ""),
    ("fuse_batchnorm", "5"): (_FUSE, "return _swapped(graph, before, norm, shift)", ""),
    ("fuse_batchnorm", "6"): (_FUSE, "    return found", "_fuse"),
    ("fuse_batchnorm", "6, behind a pool"): (_FUSE, "return _swapped(graph, norm, reader", ""),
    ("fuse_batchnorm", "7"): (_FUSE, "op = Conv2d(factor.reshape(-1, 1, 1, 1), bias", ""),
    ("fold_scales", "4, two factors"): (_FOLD, "node.op.factor * inner.op.factor", ""),
    ("fold_scales", "4, a pool"): (_FOLD, 'f"{reader.name}.first", reader.op', ""),
    ("fold_scales", "5, the whole map"): (_POOL, "op = Linear.shared(share", ""),
    ("fold_scales", "5, windows"): (_POOL, "op = Linear(_unpool(", ""),
    ("fold_scales", "9, before a layer"): (_FOLD, 'f"{reader.name}.current", _divided', ""),
    ("fold_scales", "9, after a layer"): (_FOLD, "current = replace(layer, op=_divided", ""),
    ("fold_scales", "9, goes on"): (_FOLD, 'f"{reader.name}.step", reader.op', ""),
    ("fold_scales", "9, of spikes or a sum"): (_FOLD, 'f"{node.name}.current", Scale(share)', ""),
    ("fold_scales", "12"): (_POOL, "op.padding), float(value), 1.0)", ""),
    ("move_delays", "1"): (_DELAYS, "late = draft(layer, node.name, layer.op", ""),
    ("move_delays", "4, convolution"): (_DELAYS, "silent: Op = replace(", ""),
    ("move_delays", "4, linear"): (_DELAYS, "silent, carry = Linear(np.zeros", ""),
    ("composing", "2, linear layers"): (_COMPOSE, "both = linear_in_a_row(node.op, inner.op)", ""),
    ("composing", "2, with groups"): (_COMPOSE, "weight = _kernel(_dense(outer)", ""),
    ("composing", "2, with a bias"): (_COMPOSE, "sums = _dense(outer).weight.sum", ""),
    ("fold_constants", "4, a bias goes over"): (
        "passes/fold_constants.py", "both = bias if other.op.bias is None", "",
    ),
    ("lower_gates", "5"): ("passes/lower_gates.py", "Scale(np.asarray(1.0)), (source,))", ""),
    ("split_host", "1"): ("passes/split_host.py", "return graph  # case 1", ""),
    ("split_host", "2"): ("passes/split_host.py", "host.add(node.name)", ""),
    ("hold_integers", "2"): ("passes/hold_integers.py", "yield from _always(", ""),
    ("unroll_levels", "1"): (_UNROLL, "neuron = Neuron(threshold, decay=0.0)", "_levels"),
    ("unroll_levels", "2"): (_UNROLL, '"subtract", np.zeros(()))', ""),
    ("unroll_levels", "3"): (_UNROLL, "done: dict[str, str] = {}", ""),
    ("unroll_levels", "4"): (_UNROLL, "names.append(numbered(node.name, k", ""),
    ("unroll_levels", "5"): (_UNROLL, "op = waiting(node.op, source", ""),
    ("unroll_levels", "6"): ("passes/unroll_levels/trains.py", "return tuple(t for i in", ""),
    ("unroll_levels", "7"): (_UNROLL, "if source.op.below is not None:", ""),
    ("unroll_levels", "8"): (_UNROLL, 'f"{node.name}.term{k}", name)', ""),
    ("unroll_levels", "8, an output"): (_UNROLL, "integrator = Neuron(np.asarray(np.inf)", ""),
    ("unroll_levels", "10"): (_UNROLL, "copies = Conv2d(np.tile(signs", ""),
    ("quantize", "1, whole"): (_SCALES, "return 1.0 if limit >= 1.0 else None", ""),
    ("quantize", "1, a power of two"): (_SCALES, "while scale > 1.0 and _whole(rest", ""),
    ("quantize", "2"): (_SCALES, "scale = np.minimum(wanted, limit)  # case 2", ""),
    ("quantize", "3"): (_SCALES, "(1 + aside), scale)  # case 3", ""),
    ("quantize", "3, by neuron"): (_QUANT, "threshold = np.ceil(real - slack", ""),
    ("quantize", "4"): (_QUANT, "below = np.rint(real - unit) - fires_at(real)", ""),
    ("quantize", "4, parts"): (_SCALES, "parts = threshold // int(np.gcd", ""),
    ("quantize", "6"): (_SCALES, "return (shape[0], *(1,) * (len(shape) - 1))", ""),
    ("quantize", "7"): (_QUANT, "fitted |= dict.fromkeys((n.name for n in nodes), scale)", ""),
    ("calibrate", "1"): (_CALIB, "total = total + differ.mean(axis=by)  # case 1", ""),
    ("calibrate", "2"): (_CALIB, "np.square(y[-1] / scale - real[-1])", ""),
    ("calibrate", "3"): (_CALIB, "return exact", "_best"),
    ("calibrate", "4"): (_CALIB, "return scales  # case 4", ""),
    ("rounding", "1"): (_ROUND, "return [nothing, *(np.rint(self.missing)", ""),
    ("rounding", "3"): (_ROUND, "return [nothing]", ""),
    ("rounding", "4"): (_ROUND, "return found if self._stays_below(found)", ""),
    ("rounding", "5, recurrent"): (_ROUND, "return {}", "choose_rounding"),
}  # fmt: skip

RULES: dict[tuple[str, str], tuple[str, str]] = {
    ("fold_scales", "1"): (_FOLD, "_scale_after"),
    ("fold_scales", "2"): (_FOLD, "_scale_before"),
    ("fold_scales", "3"): (_FOLD, "_scale_of_sum"),
    ("fold_scales", "4"): (_FOLD, "_scale_of_spikes"),
    ("fold_scales", "6"): (_POOL, "pool_into_conv"),
    ("fold_scales", "7"): (_POOL, "conv_into_pool"),
    ("fold_scales", "7, a sum"): (_POOL, "sum_into_pool"),
    ("fold_scales", "8"): (_POOL, "pool_into_neurons"),
    ("fold_scales", "10"): (_POOL, "max_pool"),
    ("fold_scales", "11"): (_POOL, "conv_into_flatten"),
    ("fold_scales", "13"): (_DELAYS, "delay_before_layer"),
    ("fold_scales", "13, in a row"): (_FOLD, "_in_a_row_before_delay"),
    ("fold_scales", "14"): ("passes/fold_scales/on_currents.py", "pointwise_on_current"),
    ("move_delays", "3"): (_DELAYS, "delay_before_sum"),
    ("composing", "1"): (_COMPOSE, "layer_of_sum"),
    ("composing", "2"): (_COMPOSE, "layer_of_layer"),
    ("composing", "3"): (_COMPOSE, "maximum_of_neurons"),
    ("fold_constants", "1, a factor of one"): ("passes/fold_constants.py", "_one"),
    ("fold_constants", "1, a bias of zeros"): ("passes/fold_constants.py", "_zero_bias"),
    ("fold_constants", "2"): ("passes/fold_constants.py", "in_a_row"),
    ("fold_constants", "3"): ("passes/fold_constants.py", "_side_by_side"),
    ("fold_constants", "4"): ("passes/fold_constants.py", "_no_weights"),
}


def _noted(name: str, part: str) -> Property:
    return lambda r: any(part in note for note in r.notes[name])


def _gates(kind: str, inputs: Iterable[int] = range(9)) -> Property:
    return lambda r: any(
        isinstance(n.op, Gate) and n.op.kind == kind and len(n.inputs) in inputs
        for n in r.stages["unroll_levels"].nodes
    )


def _reads(graph: Graph, node: Node, kind: type) -> bool:
    behind = [graph.producer(i) for i in node.inputs]
    return any(n is not None and isinstance(n.op, kind) for n in behind)


def _any(stage: str, kind: type, holds: Callable[[Graph, Node], bool]) -> Property:
    return lambda r: any(
        isinstance(n.op, kind) and holds(r.stages[stage], n) for n in r.stages[stage].nodes
    )


def _equal_synapses(result: Passed) -> bool:
    """Two that read one edge and have the same weights, and are still two."""
    seen = [(n.inputs, type(n.op), *(a.tobytes() for a in n.op.arrays().values()))
            for n in result.stages["merge_equal"].nodes if isinstance(n.op, SYNAPSES)]  # fmt: skip
    return len(set(seen)) < len(seen)


def _equal_outputs(result: Passed) -> bool:
    """Two neurons that read one current and are equal, one an output."""
    graph = result.stages["merge_equal"]
    made = [graph.producer(o) for o in graph.outputs]
    ops = [(n.op.details(), n.op.arrays().values()) for n in graph.nodes
           if isinstance(n.op, Neuron) and n not in made]  # fmt: skip
    return any(
        n is not None and any(
            n.op.details() == text
            and all(map(np.array_equal, n.op.arrays().values(), arrays))
            for text, arrays in ops
        )
        for n in made
    )  # fmt: skip


def _late_readers(graph: Graph, node: Node) -> bool:
    order = [n.name for n in graph.nodes]
    return any(i in order and order.index(i) > order.index(node.name) for i in node.inputs)


PROPERTIES: dict[tuple[str, str], Property] = {
    ("strip_auxiliary", "1"): _noted("strip_auxiliary", "removed net."),
    ("strip_auxiliary", "2"): _noted("strip_auxiliary", "shared, kept"),
    ("fuse_batchnorm", "2"): _any("captured", BatchNorm, lambda g, n: _reads(g, n, BatchNorm)),
    ("move_delays", "2"): _any("captured", Delay, lambda g, n: _reads(g, n, Scale)),
    ("lower_gates", "1"): _gates("or"),
    ("lower_gates", "2"): _gates("and"),
    ("lower_gates", "3"): _gates("iand"),
    ("lower_gates", "4, of two"): _gates("xor", [2]),
    ("lower_gates", "4, of three"): _gates("xor", [3]),
    ("merge_equal", "1"): _noted("merge_equal", "merged "),
    ("merge_equal", "2"): _equal_synapses,
    ("merge_equal", "3"): _equal_outputs,
    ("merge_equal", "4"): _any("merge_equal", Delay, _late_readers),
    ("remove_dead", "1"): _noted("remove_dead", " channels of "),
    ("remove_dead", "2"): _noted("remove_dead", ": it never fires"),
    ("remove_dead", "3"): _noted("remove_dead", "it is all that"),
    ("remove_dead", "4, gates and pools"): _noted("remove_dead", "ties its channels"),
    ("remove_dead", "4, synapses"): _noted("remove_dead", "one-to-one or grouped"),
    ("remove_dead", "4, an output"): _noted("remove_dead", "it is an output"),
    ("hold_integers", "1"): lambda r: any(n.name.endswith(".part2") for n in r.graph.nodes),
    ("quantize", "5"): lambda r: any(
        isinstance(n.op, Neuron) and n.op.decay not in (0.0, 1.0) and n.op.decay * 16 % 1 != 0
        for n in r.graph.nodes
    ),
    ("rounding", "2"): _any("remove_dead", Add, lambda g, n: _reads(g, n, Scale)),
}

# Cases that are refusals: `reach.raises` finds those by itself.
REFUSED = {
    ("strip_auxiliary", "3"), ("fuse_batchnorm", "3"), ("fuse_batchnorm", "8"),
    ("split_host", "3"), ("split_host", "4"), ("unroll_levels", "9"),
}  # fmt: skip
# Cases that are counted by another module's, or that nothing can tell from another.
ELSEWHERE = {
    ("fold_scales", "15"): "composing",
}
# What no network of these sizes, or no network at all, brings about: (message, why).
UNREACHED = {
    "the graph has no edge %...": "asked for by name, by whoever uses a graph",
    "unknown rounding": "of a frontend's helper (`rounded_levels`): no graph holds a rounding",
    "the scale of a level activation is not a number above 0": "the same",
    "a threshold on this grid is not a float64": "the same",
    "the levels of a rounding do not begin at 0 or below and end above": "the same",
}
