"""Faults that an emitter might have, put into the model: the comparison sees each of them.

A differential test that finds nothing is worth as much as its power to find something. Each
mutant is put into every network of a fixed list that it applies to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from helpers.onnx_cases import Case, difference, layout_of, realise
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from purespike.compiler.ir.interpret import Trace, run
from purespike.targets.onnx import run_onnx, step_model

NETWORKS = 60
Mutant = Callable[[GraphProto, np.random.Generator], bool]


def _nodes(graph: GraphProto, kind: str, suffix: str = "") -> list[NodeProto]:
    return [n for n in graph.node if n.op_type == kind and n.name.endswith(suffix)]


def _pick(items: list[NodeProto], rng: np.random.Generator) -> Iterator[NodeProto]:
    """One of the nodes, or none where there is none."""
    if items:
        yield items[int(rng.integers(len(items)))]


def _constant(graph: GraphProto, node: NodeProto, at: int, change: Callable) -> None:
    """Give input ``at`` of ``node`` a constant of its own: the old one, changed."""
    old = next(i for i in graph.initializer if i.name == node.input[at])
    array = numpy_helper.to_array(old)
    new = np.asarray(change(array.copy())).astype(array.dtype)
    name = f"{node.name}/mutant{at}"
    graph.initializer.append(numpy_helper.from_array(new, name))
    node.input[at] = name


def _insert(graph: GraphProto, node: NodeProto, at: int, kind: str, **attributes: object) -> None:
    """Put an operator between ``node`` and its input ``at``."""
    new = helper.make_node(kind, [node.input[at]], [f"{node.name}/inserted"], **attributes)
    node.input[at] = new.output[0]
    graph.node.insert(list(graph.node).index(node), new)


def operator(kind: str, other: str) -> Mutant:
    """Another operator in the place of one."""

    def mutate(graph: GraphProto, rng: np.random.Generator) -> bool:
        for node in _pick(_nodes(graph, kind), rng):
            node.op_type = other
            return True
        return False

    return mutate


def constant(kind: str, at: int, change: Callable, suffix: str = "") -> Mutant:
    """A wrong constant at one input of one node."""

    def mutate(graph: GraphProto, rng: np.random.Generator) -> bool:
        inits = {i.name for i in graph.initializer}
        nodes = [
            n for n in _nodes(graph, kind, suffix) if len(n.input) > at and n.input[at] in inits
        ]
        for node in _pick(nodes, rng):
            _constant(graph, node, at, lambda a: change(a, rng))
            return True
        return False

    return mutate


def wire(kind: str, change: Callable[[NodeProto], bool], suffix: str = "") -> Mutant:
    """Other inputs or attributes of one node."""

    def mutate(graph: GraphProto, rng: np.random.Generator) -> bool:
        return any(change(n) for n in _pick(_nodes(graph, kind, suffix), rng))

    return mutate


def bump(by: int) -> Callable:
    """Add ``by`` to one element."""

    def change(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flat = array.reshape(-1)
        k = int(rng.integers(flat.size))
        if array.dtype == np.int8 and not -128 <= int(flat[k]) + by <= 127:
            flat[k] -= by
        else:
            flat[k] += by
        return array

    return change


def swap_inputs(first: int, second: int) -> Callable[[NodeProto], bool]:
    def change(node: NodeProto) -> bool:
        node.input[first], node.input[second] = node.input[second], node.input[first]
        return True

    return change


def shift_pads(node: NodeProto) -> bool:
    pads = next(a for a in node.attribute if a.name == "pads").ints
    top, left, bottom, right = pads
    pads[:] = [top - 1, left, bottom + 1, right]
    return top > 0


def skip(node: NodeProto) -> bool:
    """The node hands its first input on."""
    node.op_type = "Identity"
    del node.input[1:]
    del node.attribute[:]
    return True


def roll_groups(graph: GraphProto, rng: np.random.Generator) -> bool:
    """Output channels change places across the groups."""
    grouped = [
        n
        for n in _nodes(graph, "ConvInteger")
        if next(a for a in n.attribute if a.name == "group").i > 1
    ]
    for node in _pick(grouped, rng):
        _constant(graph, node, 1, lambda w: np.roll(w, 1, axis=0))
        return True
    return False


def channels_last(graph: GraphProto, rng: np.random.Generator) -> bool:
    for node in _pick(_nodes(graph, "Flatten"), rng):
        _insert(graph, node, 0, "Transpose", perm=[0, 2, 3, 1])
        return True
    return False


def hard_reset_becomes_soft(graph: GraphProto, rng: np.random.Generator) -> bool:
    hard = [n for n in _nodes(graph, "Where", "_v_out") if n.input[1] == "const/int32/0"]
    for node in _pick(hard, rng):
        fires = next(n for n in graph.node if n.output[0] == node.input[0])
        left = helper.make_node("Sub", list(fires.input), [f"{node.name}/soft"])
        node.input[1] = left.output[0]
        graph.node.insert(list(graph.node).index(node), left)
        return True
    return False


def soft_reset_becomes_hard(graph: GraphProto, rng: np.random.Generator) -> bool:
    soft = [n for n in _nodes(graph, "Where", "_v_out") if n.input[1].endswith("/left")]
    for node in _pick(soft, rng):
        zero = numpy_helper.from_array(np.array(0, np.int32), "zero")
        graph.initializer.append(zero)
        node.input[1] = "zero"
        return True
    return False


def rounds_to_nearest(graph: GraphProto, rng: np.random.Generator) -> bool:
    for node in _pick(_nodes(graph, "Div"), rng):
        graph.initializer.append(numpy_helper.from_array(np.array(2048, np.int64), "half"))
        add = helper.make_node("Add", [node.input[0], "half"], [f"{node.name}/rounded"])
        node.input[0] = add.output[0]
        graph.node.insert(list(graph.node).index(node), add)
        return True
    return False


def forgets(graph: GraphProto, rng: np.random.Generator) -> bool:
    """A membrane starts each step at rest."""
    sums = [n for n in _nodes(graph, "Add", "/sum") if n.input[0].endswith("_v_in")]
    for node in _pick(sums, rng):
        graph.initializer.append(numpy_helper.from_array(np.array(0, np.int32), "rest"))
        node.input[0] = "rest"
        return True
    return False


def shorter_delay(graph: GraphProto, rng: np.random.Generator) -> bool:
    for node in _pick([n for n in _nodes(graph, "Identity") if n.input[0].endswith("_d2_in")], rng):
        node.input[0] = node.input[0].replace("_d2_in", "_d1_in")
        return True
    return False


MUTANTS: dict[str, Mutant] = {
    "> for >=": operator("GreaterOrEqual", "Greater"),
    "OR becomes AND": operator("Or", "And"),
    "OR becomes XOR": operator("Or", "Xor"),
    "AND becomes OR": operator("And", "Or"),
    "XOR becomes OR": operator("Xor", "Or"),
    "NOT left out": operator("Not", "Identity"),
    "hard reset becomes soft": hard_reset_becomes_soft,
    "soft reset becomes hard": soft_reset_becomes_hard,
    "no reset": wire("Where", swap_inputs(1, 2), "_v_out"),
    "soft reset amount + 1": constant("Sub", 1, lambda a, _: a + 1, "/left"),
    "convolution weight + 1": constant("ConvInteger", 1, bump(1)),
    "convolution weight - 1": constant("ConvInteger", 1, bump(-1)),
    "linear weight + 1": constant("MatMulInteger", 1, bump(1)),
    "linear weight rows shifted": constant("MatMulInteger", 1, lambda w, _: np.roll(w, 1, 0)),
    "threshold + 1": constant("GreaterOrEqual", 1, lambda a, _: a + 1),
    "threshold - 1": constant("GreaterOrEqual", 1, lambda a, _: a - 1),
    "bias + 1": constant("Add", 1, lambda a, _: a + 1),
    "scale factor + 1": constant("Where", 1, bump(1)),
    "convolution pads shifted": wire("ConvInteger", shift_pads),
    "pool border of ones": constant("Pad", 2, lambda a, _: a + 1),
    "kernel transposed": constant("ConvInteger", 1, lambda w, _: w.swapaxes(2, 3)),
    "groups shifted": roll_groups,
    "flattened channels last": channels_last,
    "saturation left out": wire("Clip", skip),
    "shift of 5 for 6": constant("Mul", 1, lambda a, _: a // 2, "/current"),
    "decay + 1/4096": constant("Mul", 1, lambda a, _: a + 1, "/product"),
    "leak rounds to nearest": rounds_to_nearest,
    "membrane forgotten": forgets,
    "current subtracted": operator("Add", "Sub"),
    "delay one step short": shorter_delay,
}


@functools.cache
def network(seed: int) -> tuple[Case, ModelProto, Trace]:
    case = realise(replace(layout_of(seed), steps=6, batch=2))
    return case, step_model(case.graph), run(case.graph, case.x)


def noticed(seed: int, mutant: Mutant | None) -> bool | None:
    """Whether the comparison sees the mutant; None where the network has no place for it."""
    case, model, expected = network(seed)
    changed = ModelProto()
    changed.CopyFrom(model)
    if mutant is not None and not mutant(changed.graph, np.random.default_rng(seed)):
        return None
    return difference(expected, run_onnx(changed, case.graph, case.x), case.graph) != ""


def test_control_is_never_noticed() -> None:
    assert [noticed(seed, None) for seed in range(NETWORKS)] == [False] * NETWORKS


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_noticed(name: str) -> None:
    sees = (seed for seed in range(NETWORKS) if noticed(seed, MUTANTS[name]))
    assert len(list(islice(sees, 3))) == 3  # three networks of those that have a place for it
