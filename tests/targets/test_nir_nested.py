"""NIR graphs within graphs: the same network as the flat one, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.interpret import run
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")

R = np.random.default_rng(0)
W1, W2, W3 = R.normal(size=(4, 3)), R.normal(size=(4, 4)), R.normal(size=(2, 4))
SAID: dict[str, Any] = {
    "dt": 1e-3, "reset": "zero", "if_r": "step", "steps": 6, "domain": SPIKE, "fires": "above"
}  # fmt: skip


def neuron(size: int) -> nir.IF:
    return nir.IF(np.ones(size), np.full(size, 0.4))


def port(size: int) -> np.ndarray[Any, Any]:
    return np.array([size])


def inner(deep: bool) -> nir.NIRGraph:
    """Two branches from the Input, one of them perhaps a graph of its own, summed at the Output."""
    if deep:
        side: Any = nir.NIRGraph(
            {"in": nir.Input(port(4)), "w": nir.Linear(W2), "out": nir.Output(port(4))},
            [("in", "w"), ("w", "out")],
        )
    else:
        side = nir.Linear(W2)
    nodes = {
        "in": nir.Input(port(4)),
        "a": nir.Linear(0.5 * W2.T),
        "side": side,
        "out": nir.Output(port(4)),
    }
    edges = [("in", "a"), ("in", "side"), ("a", "out"), ("side", "out")]
    return nir.NIRGraph(nodes, edges)


def outer(middle: dict[str, Any], edges: list[tuple[str, str]]) -> nir.NIRGraph:
    nodes = {
        "x": nir.Input(port(3)),
        "w1": nir.Linear(W1),
        "n1": neuron(4),
        **middle,
        "n2": neuron(4),
        "w3": nir.Linear(W3),
        "n3": neuron(2),
        "y": nir.Output(port(2)),
    }
    return nir.NIRGraph(
        nodes, [("x", "w1"), ("w1", "n1"), *edges, ("n2", "w3"), ("w3", "n3"), ("n3", "y")]
    )


def flat() -> nir.NIRGraph:
    middle = {"a": nir.Linear(0.5 * W2.T), "side": nir.Linear(W2)}
    return outer(middle, [("n1", "a"), ("n1", "side"), ("a", "n2"), ("side", "n2")])


@pytest.mark.parametrize("deep", [False, True], ids=["one level", "two levels"])
def test_a_graph_within_a_graph_is_the_flat_network(tmp_path: Path, deep: bool) -> None:
    nir.write(tmp_path / "flat.nir", flat())
    nested = outer({"block": inner(deep)}, [("n1", "block"), ("block", "n2")])
    nir.write(tmp_path / "nested.nir", nested)
    one, two = (read_nir(tmp_path / f, **SAID) for f in ("flat.nir", "nested.nir"))
    names = {n.name for n in two.nodes}
    assert ("block.side.w" if deep else "block.side") in names and "block.a" in names
    x = np.random.default_rng(1).integers(0, 2, (6, 5, 3)).astype(np.float64)
    a, b = run(one, x), run(two, x)
    for name in ("n1", "n2", "n3"):
        assert np.array_equal(a.values[name], b.values[name])
    assert 0 < a.values["n3"].mean() < 1


def two_inputs() -> nir.NIRGraph:
    nodes = {
        "a": nir.Input(port(4)),
        "b": nir.Input(port(4)),
        "w": nir.Linear(W2),
        "out": nir.Output(port(4)),
    }
    return nir.NIRGraph(nodes, [("a", "w"), ("b", "w"), ("w", "out")], type_check=False)


def passing() -> nir.NIRGraph:
    nodes = {"in": nir.Input(port(4)), "w": nir.Linear(W2), "out": nir.Output(port(4))}
    return nir.NIRGraph(nodes, [("in", "w"), ("w", "out"), ("in", "out")], type_check=False)


@pytest.mark.parametrize(
    ("block", "why"), [(two_inputs, "exactly one Input"), (passing, "passes its input on")]
)
def test_what_has_no_flat_form_is_refused(tmp_path: Path, block: Any, why: str) -> None:
    graph = nir.NIRGraph(
        {"x": nir.Input(port(4)), "block": block(), "n": neuron(4), "y": nir.Output(port(4))},
        [("x", "block"), ("block", "n"), ("n", "y")],
        type_check=False,
    )
    nir.write(tmp_path / "m.nir", graph)
    with pytest.raises(NirFileError, match=why) as caught:
        read_nir(tmp_path / "m.nir", **SAID)
    assert "block" in caught.value.where


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    middle = {"block": inner(False), "block.a": nir.Linear(W2)}
    edges = [("n1", "block"), ("block", "n2"), ("n1", "block.a"), ("block.a", "n2")]
    nir.write(tmp_path / "m.nir", outer(middle, edges))
    with pytest.raises(NirFileError, match="two nodes have one name"):
        read_nir(tmp_path / "m.nir", **SAID)
