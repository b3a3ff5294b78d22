"""The table of a chip: the ends of every range, and what quantize makes of anything is legal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.strategies import FIXED, chip_graphs, trained_graphs
from hypothesis import HealthCheck, given, settings

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import FixedPoint, Linear, Neuron
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.quantize.quantize import QuantizeError, quantize
from purespike.targets.spec import LOIHI2, check


def one(weight: float, bias: float | None, neuron: Neuron) -> Graph:
    linear = Linear([[weight]], None if bias is None else [bias])
    edge = Edge("x", (1,), SPIKE)
    return build((edge,), [("l", linear, ("x",)), ("n", neuron, ("l",))], ("n",), 2)


def legal(graph: Graph) -> list[bool]:
    return [f.status == "PASS" for f in check(graph, LOIHI2)]


def soft(amount: float, decay: float = 1.0) -> Neuron:
    leak = 2.0**-6 if 0 < decay < 1 else 0.0
    return Neuron(9.0 + leak, decay, "subtract", np.array(amount), fixed=FIXED)


@pytest.mark.parametrize(
    ("graph", "held"),
    [
        (one(127, None, Neuron(1.0, fixed=FIXED)), [True, True, True]),
        (one(-127, 4095, Neuron(131072.0, fixed=FIXED)), [True, True, True, True]),
        (one(-255, None, Neuron(1.0, fixed=FIXED)), [True, True, True]),
        (one(255, None, Neuron(1.0, fixed=FIXED)), [True, True, True]),
        (one(-256, None, Neuron(1.0, fixed=FIXED)), [False, True, True]),
        (one(256, None, Neuron(1.0, fixed=FIXED)), [False, True, True]),
        (one(0.5, None, Neuron(1.0, fixed=FIXED)), [False, True, True]),
        (one(1, 4096, Neuron(1.0, fixed=FIXED)), [True, False, True, True]),
        (one(1, -4095, Neuron(1.0, fixed=FIXED)), [True, True, True, True]),
        (one(1, None, Neuron(0.0, fixed=FIXED)), [True, True, False]),
        (one(1, None, Neuron(131073.0, fixed=FIXED)), [True, True, False]),
        (one(1, None, Neuron(1.5, fixed=FIXED)), [True, True, False]),
        (one(1, None, Neuron(1.0)), [True, False, True]),
        (one(1, None, Neuron(1.0, fixed=FixedPoint(width=16))), [True, False, True]),
        (one(1, None, Neuron(np.inf, reset="none", fixed=FIXED)), [True, True]),
        # Leaky: the chip compares with a whole k, so the threshold is k + 1/64.
        (one(1, None, Neuron(1 / 64, 0.5, fixed=FIXED)), [True, True, True]),
        (one(1, None, Neuron(131071 + 1 / 64, 0.5, fixed=FIXED)), [True, True, True]),
        (one(1, None, Neuron(131072 + 1 / 64, 0.5, fixed=FIXED)), [True, True, False]),
        (one(1, None, Neuron(1 + 2 / 64, 0.5, fixed=FIXED)), [True, True, False]),
        (one(1, None, Neuron(1.0, 0.5, fixed=FIXED)), [True, True, False]),
        # What a soft reset subtracts.
        (one(1, None, soft(1.0)), [True, True, True, True]),
        (one(1, None, soft(131071.0)), [True, True, True, True]),
        (one(1, None, soft(131072.0)), [True, True, True, False]),
        (one(1, None, soft(0.0)), [True, True, True, True]),  # never reset
        (one(1, None, soft(-1.0)), [True, True, True, False]),
        (one(1, None, soft(2.5, 0.5)), [True, True, True, False]),
    ],
)
def test_ends_of_the_ranges(graph: Graph, held: list[bool]) -> None:
    assert legal(graph) == held


@pytest.mark.parametrize(
    ("weights", "held", "text"),
    [
        ([-128, 127], True, "weight -128 to 127, of both signs, in steps of 1"),
        ([-198, 0, 198], True, "weight -198 to 198, of both signs, in steps of 2"),
        ([-256, 254], True, "weight -256 to 254, of both signs, in steps of 2"),
        ([-198, 1], False, "weight -198 to 1, of both signs, in steps of 1"),
        ([-129, 2], False, "weight -129 to 2, of both signs, in steps of 1"),
        ([-1, 128], False, "weight -1 to 128, of both signs, in steps of 1"),
        ([-256, 256], False, "weight -256 to 256, of both signs, in steps of 2"),
        ([-258, 2], False, "weight -258 to 2, of both signs, in steps of 2"),
        ([0, 255], True, "weight 0 to 255"),
        ([-255, 0], True, "weight -255 to 0"),
    ],
)
def test_the_signs_of_a_layer_decide_which_weights_it_holds(
    weights: list[int], held: bool, text: str
) -> None:
    edge, linear = Edge("x", (len(weights),), SPIKE), Linear([weights])
    neuron = Neuron(1.0, fixed=FIXED)
    graph = build((edge,), [("l", linear, ("x",)), ("n", neuron, ("l",))], ("n",), 2)
    finding = next(f for f in check(graph, LOIHI2))
    assert (finding.status == "PASS", finding.measured) == (held, text)
    # A byte too: stored as int8, as the layers of millions are, it must not overflow.
    assert LOIHI2.holds(np.array([-128, 0], np.int8)) and LOIHI2.holds(np.array([-128], np.int8))


def test_a_broken_finding_says_what_and_where() -> None:
    finding = next(f for f in check(one(0.5, None, Neuron(1.0)), LOIHI2))
    assert (finding.where, finding.measured) == ("l", "weight 0.5 to 0.5, not whole")
    assert finding.limit == (
        "whole, 0 to 255 or -255 to 0 in a layer of one sign; of both signs -128 to 127, or even "
        "ones of -256 to 254"
    )
    assert "quantize" in finding.remedy
    # Integers are not quantized again, so that is no advice.
    finding = next(f for f in check(one(300, None, Neuron(1.0, fixed=FIXED)), LOIHI2))
    assert finding.status == "FAIL" and "export it once more" in finding.remedy


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(chip_graphs())
def test_integer_graphs_are_legal(graph: Graph) -> None:
    assert all(legal(graph))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trained_graphs())
def test_quantized_graphs_are_legal(graph: Any) -> None:
    try:
        after = quantize(lower_gates(fold_scales(fuse_batchnorm(graph))))
    except QuantizeError:
        return  # an average that cannot be folded
    # The chip starts every sample at zero, which is the network's business, not quantize's.
    findings = [f for f in check(after, LOIHI2) if "initial membrane" not in f.measured]
    broken = [f for f in findings if f.status != "PASS"]
    assert not broken, broken
