import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE, integer
from purespike.compiler.ir.graph import Edge, Graph, Node, build
from purespike.compiler.ir.ops import (
    Add,
    AvgPool2d,
    BatchNorm,
    FixedPoint,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    RectifiedNeuron,
    Relu,
    Scale,
    TimeMean,
)
from purespike.targets.nir.emit import to_nir
from purespike.targets.nir.errors import NirError

IMAGE = Edge("x", (2, 4, 4), SPIKE)


def single(op: object, *inputs: Edge) -> Graph:
    graph = build(inputs, [("n", op, tuple(e.name for e in inputs))], ("n",), 3)
    (node,) = graph.nodes
    return graph.rebuilt([Node(node.op, node.inputs, node.output, origin="net.layer3.1")])


@pytest.mark.parametrize(
    ("op", "remedy"),
    [
        (BatchNorm(*(np.ones(2),) * 4, 1e-5), "fuse_batchnorm"),
        (AvgPool2d((2, 2), (2, 2)), "fold_scales"),
        (MaxPool2d((2, 2), (2, 2)), "fold_scales"),
        (TimeMean(3), "fold_scales"),
        (Relu(), "spiking neuron"),
        (RectifiedNeuron(1.0), "strip_auxiliary"),
    ],
)
def test_what_nir_cannot_say_is_refused_with_path_and_remedy(op: object, remedy: str) -> None:
    with pytest.raises(NirError) as e:
        to_nir(single(op, IMAGE))
    assert type(op).__name__ in e.value.message
    assert "net.layer3.1" in e.value.where
    assert remedy in e.value.remedy


def test_gates_are_refused() -> None:
    with pytest.raises(NirError, match="lower_gates"):
        to_nir(single(Gate("and"), IMAGE, Edge("y", IMAGE.shape, SPIKE)))


def test_loose_ends_are_refused() -> None:
    dead = [("n", Neuron(1.0), ("x",)), ("dead", Scale(2.0), ("x",))]
    with pytest.raises(NirError, match="%dead leads to no output"):
        to_nir(build((IMAGE,), dead, ("n",), 2))
    with pytest.raises(NirError, match="%y leads to no output"):
        to_nir(build((IMAGE, Edge("y", (1,), SPIKE)), dead[:1], ("n",), 2))


def test_auxiliary_nodes_are_refused() -> None:
    edge = Edge("n", IMAGE.shape, SPIKE)
    graph = Graph((IMAGE,), (Node(Neuron(1.0), ("x",), edge, "auxiliary", "head"),), ("n",), 2)
    with pytest.raises(NirError, match=r"auxiliary(.|\n)*head(.|\n)*strip_auxiliary"):
        to_nir(graph)


def test_parameters_must_be_finite() -> None:
    with pytest.raises(NirError, match="not finite"):
        to_nir(single(Neuron(np.inf), IMAGE))


def test_sums_of_sums_that_explode_are_refused() -> None:
    nodes = [("a0", Add(), ("x", "x"))]
    nodes += [(f"a{i}", Add(), (f"a{i - 1}", f"a{i - 1}")) for i in range(1, 40)]
    graph = build((IMAGE,), [*nodes, ("n", Neuron(1.0), ("a39",))], ("n",), 2)
    with pytest.raises(NirError, match="too many times"):
        to_nir(graph)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Neuron(2.0, initial=1.0), "no initial membrane"),
        (Neuron(2.0, 0.5, fixed=FixedPoint()), "no fixed-point arithmetic"),
        (Neuron(2.0, fixed=FixedPoint(width=13)), "no fixed-point arithmetic"),
    ],
)
def test_strict_refuses_what_only_metadata_says(op: Neuron, message: str) -> None:
    x = Edge("x", (2,), integer(8))
    graph = build((x,), [("n", op, ("x",))], ("n",), 3)
    to_nir(graph)
    with pytest.raises(NirError, match=message):
        to_nir(graph, strict=True)


def test_strict_takes_fixed_point_that_cannot_round_or_saturate() -> None:
    x = Edge("x", (2,), SPIKE)
    nodes = [
        ("l", Linear([[3, -4], [1, 1]]), ("x",)),
        ("n", Neuron(2.0, fixed=FixedPoint()), ("l",)),
    ]
    to_nir(build((x,), nodes, ("n",), 3), strict=True)
