"""Auxiliary paths go, batch norms fuse, the host's part is named; refusals say why and where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.graph_cases import assert_printed, assert_same_outputs, graph_of
from helpers.strategies import trained_graphs
from hypothesis import HealthCheck, given, settings

from purespike.compiler.ir.domain import ANALOG, SPIKE, Domain
from purespike.compiler.ir.graph import Edge, Graph, Node
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import (
    Add,
    BatchNorm,
    Conv2d,
    Delay,
    Flatten,
    Linear,
    Neuron,
    Relu,
)
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.fuse_batchnorm import BatchNormError, fuse_batchnorm
from purespike.compiler.passes.split_host import HostBoundaryError, split_host
from purespike.compiler.passes.strip_auxiliary import AuxiliaryLeak, describe, strip_auxiliary

R = np.random.default_rng(0)
CONV = Conv2d(R.normal(size=(2, 1, 3, 3)), None, (1, 1), (1, 1))
FIRE = Neuron(0.7)


def marked(graph: Graph, **changes: str) -> Graph:
    """The graph with roles (``name='auxiliary'``) or origins (``name='=path'``) set."""

    def change(node: Node) -> Node:
        text = changes.get(node.name, "")
        if text.startswith("="):
            return replace(node, origin=text[1:])
        role, _, origin = text.partition("=")
        return replace(node, role=role or node.role, origin=origin or node.origin)

    return replace(graph, nodes=tuple(change(n) for n in graph.nodes))


# strip_auxiliary


def two_streams() -> Graph:
    graph = graph_of(
        [
            ("c", CONV, ("x",)),
            ("n", FIRE, ("c",)),
            ("f", Flatten(), ("n",)),
            ("fc", Linear(np.ones((2, 32))), ("f",)),
            ("aap", Add(), ("n", "n")),
            ("relu", Relu(), ("aap",)),
            ("f2", Flatten(), ("relu",)),
            ("fc-2", Linear(np.ones((2, 32))), ("f2",)),
            ("unused", FIRE, ("c",)),
        ],
        "fc",
        "fc-2",
    )
    changes = {
        "aap": "auxiliary=blocks.0.aap_add",
        "relu": "auxiliary=down",
        "f2": "auxiliary=pool",
        "fc-2": "auxiliary=fc",
        "fc": "=fc",
        "unused": "=spare",
    }
    return marked(graph, **changes)


def test_strip_cases_1_and_2() -> None:
    before = two_streams()
    after = strip_auxiliary(before)
    assert_printed(
        after,
        """
        %x: 1x4x4 spike = input
        %c: 2x4x4 analog[-5.69041, 3.61525] = Conv2d(%x, 2x1x3x3, stride (1, 1), pad (1, 1))
        %n: 2x4x4 spike = Neuron(%c, threshold 0.7, decay 1, reset zero)
        %f: 32 spike = Flatten(%n)
        %fc: 2 int[0, 32] = Linear(%f, 2x32)
        } -> %fc
        """.replace("analog[-5.69041, 3.61525]", str(before.edge("c").domain)),
    )
    assert_same_outputs(replace(before, outputs=("fc",)), after)
    assert describe(before, after) == (
        "removed blocks.0.aap_add",
        "removed down",
        "removed pool",
        "removed spare",
        "shared, kept for the main path: fc",
    )
    assert strip_auxiliary(after) == after


def test_strip_case_3_shows_the_path() -> None:
    leaky = graph_of(
        [
            ("n", FIRE, ("x",)),
            ("aap", Add(), ("n", "n")),
            ("f", Flatten(), ("aap",)),
            ("fc", Linear(np.ones((2, 16))), ("f",)),
        ]
    )
    leaky = marked(leaky, aap="auxiliary=blocks.0.aap_add", fc="=fc", f="=flatten")
    with pytest.raises(AuxiliaryLeak, match="main output depends on an auxiliary path") as e:
        strip_auxiliary(leaky)
    assert e.value.where == "blocks.0.aap_add"
    assert e.value.found == "blocks.0.aap_add -> flatten -> fc"
    assert "auxiliary mark" in e.value.remedy


def test_strip_case_3_through_a_loop() -> None:
    spike = Edge("", (1, 4, 4), SPIKE)
    nodes = (
        Node(Delay(1), ("n",), replace(spike, name="d"), "auxiliary", "feedback"),
        Node(Add(), ("x", "d"), Edge("a", spike.shape, Domain(0, 2, 1))),
        Node(FIRE, ("a",), replace(spike, name="n")),
    )
    with pytest.raises(AuxiliaryLeak) as e:
        strip_auxiliary(Graph((Edge("x", (1, 4, 4), SPIKE),), nodes, ("n",), 2))
    assert e.value.found == "feedback -> a -> n"


def test_strip_without_a_main_output() -> None:
    graph = marked(graph_of([("n", FIRE, ("x",))]), n="auxiliary")
    with pytest.raises(AuxiliaryLeak, match="no main output") as e:
        strip_auxiliary(graph)
    assert e.value.found == "n (auxiliary)"


# fuse_batchnorm


def norm(channels: int, seed: int = 0) -> BatchNorm:
    r = np.random.default_rng(seed)
    gamma, beta, mean = (r.normal(size=channels) for _ in range(3))
    return BatchNorm(gamma, beta, mean, r.random(channels), 1e-5)


def test_fuse_case_1_against_torchs_own_fusion() -> None:
    conv = torch.nn.Conv2d(1, 2, 3, padding=1, bias=True).double().eval()
    bn = torch.nn.BatchNorm2d(2, eps=1e-3).double().eval()
    with torch.no_grad():
        for p in (bn.weight, bn.bias, bn.running_mean, bn.running_var):
            p.copy_(torch.rand(2) + 0.1)
    fused = torch.nn.utils.fuse_conv_bn_eval(conv, bn)

    def array(x: Any) -> Any:
        return x.detach().numpy()

    graph = graph_of(
        [
            ("c", Conv2d(array(conv.weight), array(conv.bias), (1, 1), (1, 1)), ("x",)),
            (
                "b",
                BatchNorm(*map(array, (bn.weight, bn.bias, bn.running_mean, bn.running_var)), 1e-3),
                ("c",),
            ),
            ("n", FIRE, ("b",)),
        ]
    )
    after = fuse_batchnorm(graph)
    assert [n.name for n in after.nodes] == ["c", "n"]
    op = after.nodes[0].op
    assert isinstance(op, Conv2d) and op.bias is not None
    np.testing.assert_allclose(op.weight, array(fused.weight), rtol=1e-12)
    np.testing.assert_allclose(op.bias, array(fused.bias), rtol=1e-12)
    assert_same_outputs(graph, after)


def test_fuse_case_1_linear_and_output() -> None:
    before = graph_of(
        [
            ("f", Flatten(), ("x",)),
            ("l", Linear(R.normal(size=(3, 16))), ("f",)),
            ("b", norm(3), ("l",)),
        ]
    )
    after = fuse_batchnorm(before)
    assert after.outputs == ("l",)
    assert_same_outputs(before, after, 1e-12)


def test_fuse_case_2_several_in_a_row() -> None:
    before = graph_of(
        [("c", CONV, ("x",)), ("a", norm(2, 1), ("c",)), ("b", norm(2, 2), ("a",)),
         ("n", FIRE, ("b",))]
    )  # fmt: skip
    after = fuse_batchnorm(before)
    assert [n.name for n in after.nodes] == ["c", "n"]
    assert_same_outputs(before, after)
    a, b = run(before, np.ones((3, 1, 1, 4, 4))), run(after, np.ones((3, 1, 1, 4, 4)))
    np.testing.assert_allclose(b.values["c"], a.values["b"], atol=1e-12)


def test_fusing_a_shift_of_zero_leaves_no_bias() -> None:
    flat = BatchNorm(np.ones(2), np.zeros(2), np.zeros(2), np.ones(2), 0.0)
    after = fuse_batchnorm(graph_of([("c", CONV, ("x",)), ("b", flat, ("c",))]))
    op = after.nodes[0].op
    assert isinstance(op, Conv2d) and op.bias is None


@pytest.mark.parametrize(
    ("extra", "outputs", "found"),
    [
        ([("m", FIRE, ("c",))], ("n", "m"), "also read by m"),
        ([("o", norm(2, 1), ("c",))], ("n", "o"), "also read by o"),
        ([], ("n", "c"), "also read by an output"),
    ],
)
def test_fuse_case_3_another_reader(extra: Any, outputs: Any, found: str) -> None:
    graph = graph_of(
        [("c", CONV, ("x",)), ("b", norm(2), ("c",)), ("n", FIRE, ("b",)), *extra], *outputs
    )
    with pytest.raises(BatchNormError, match="another node reads this layer") as e:
        fuse_batchnorm(graph)
    assert (e.value.where, e.value.found) == ("c", found)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([("b", norm(1), ("x",))], "its input comes from the input x"),
        ([("n", FIRE, ("x",)), ("b", norm(1), ("n",))], "its input comes from Neuron n"),
    ],
)
def test_fuse_case_8_nothing_beside_it(nodes: Any, found: str) -> None:
    with pytest.raises(BatchNormError, match="no convolution or linear layer") as e:
        fuse_batchnorm(graph_of(nodes))
    assert e.value.where == "b"
    assert e.value.found == f"{found}; its result is an output of the network"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trained_graphs())
def test_fusing_random_graphs(graph: Graph) -> None:
    after = fuse_batchnorm(graph)
    assert not any(isinstance(n.op, BatchNorm) for n in after.nodes)
    assert_same_outputs(graph, after, 1e-9)


# split_host

PIXELS = Edge("x", (1, 4, 4), Domain(0, 1, 0))


def encoder(*, x: Edge = PIXELS) -> Graph:
    return graph_of(
        [
            ("c", CONV, ("x",)),
            ("d", CONV, ("x",)),
            ("a", Add(), ("c", "d")),
            ("n", FIRE, ("a",)),
            ("e", Conv2d(R.normal(size=(2, 2, 1, 1))), ("n",)),
            ("m", FIRE, ("e",)),
        ],
        x=x,
    )


def test_split_case_1_spikes() -> None:
    for declared in (False, True):
        graph = encoder(x=Edge("x", (1, 4, 4), SPIKE))
        assert split_host(graph, host_encoder=declared) is graph


def test_split_case_2_declared_encoder() -> None:
    before = encoder()
    after = split_host(before, host_encoder=True)
    assert {n.name: n.role for n in after.nodes} == {
        "c": "host", "d": "host", "a": "host", "n": "host", "e": "main", "m": "main"
    }  # fmt: skip
    verify(after)
    printed, marked = (str(g).splitlines() for g in (before, after))
    assert [p == m for p, m in zip(printed, marked, strict=True)] == [
        True, True, *[False] * 4, True, True, True
    ]  # fmt: skip
    assert [m.removesuffix("  # host") for m in marked] == printed
    x = np.random.default_rng(0).random((3, 2, 1, 4, 4))
    np.testing.assert_array_equal(run(before, x).values["m"], run(after, x).values["m"])


def test_split_case_3_nobody_declared_it() -> None:
    with pytest.raises(HostBoundaryError, match="not a spike") as e:
        split_host(encoder())
    assert (e.value.where, e.value.found) == ("x", "%x: 1x4x4 analog[0, 1]")
    assert "host_encoder=True" in e.value.remedy


def test_split_case_4_the_encoder_meets_the_chip() -> None:
    graph = graph_of(
        [
            ("c", Conv2d(np.ones((1, 1, 1, 1))), ("x",)),
            ("n", FIRE, ("c",)),
            ("a", Add(), ("n", "x")),
            ("m", FIRE, ("a",)),
        ],
        x=PIXELS,
    )
    with pytest.raises(HostBoundaryError, match="meets the chip before its first neuron") as e:
        split_host(graph, host_encoder=True)
    assert e.value.where == "a"


@pytest.mark.parametrize(
    "nodes",
    [
        [("f", Flatten(), ("x",)), ("l", Linear(np.ones((2, 16))), ("f",))],
        [("f", Flatten(), ("x",)), ("l", Neuron(np.inf, reset="none"), ("f",))],
    ],
)
def test_split_with_nothing_left_for_the_chip(nodes: Any) -> None:
    with pytest.raises(HostBoundaryError, match="nothing would run on the chip") as e:
        split_host(graph_of(nodes, x=PIXELS), host_encoder=True)
    assert e.value.where == "l"


def test_split_of_two_inputs() -> None:
    graph = Graph(
        (Edge("x", (2,), ANALOG), Edge("s", (2,), SPIKE)),
        (
            Node(FIRE, ("x",), Edge("n", (2,), SPIKE)),
            Node(Add(), ("n", "s"), Edge("a", (2,), Domain(0, 2, 1))),
            Node(FIRE, ("a",), Edge("m", (2,), SPIKE)),
        ),
        ("m",),
        1,
    )
    after = split_host(graph, host_encoder=True)
    assert [n.role for n in after.nodes] == ["host", "main", "main"]
