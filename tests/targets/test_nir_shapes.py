"""Shapes as tools write them: the network that is meant, or both sides of a contradiction."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from helpers.nir_cases import differences
from helpers.nir_targets import agree_on_lava, agree_on_onnx_and_nir, quantized, random_spikes

from purespike.compiler.checker import Statement, inspect
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.flow.check import check
from purespike.flow.inputs.exchange import read_named
from purespike.flow.inputs.stated import Stated
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.guard.guard import load
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")

R = np.random.default_rng(3)
T, DT = 12, 1e-3
PARAMETERS = ("tau", "tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in")


def quarters(*shape: int) -> Any:
    return R.integers(-3, 6, shape) / 4


def lif(*shape: int, threshold: float = 1.0) -> Any:
    one = np.ones(shape)
    return nir.LIF(4 * DT * one, 4 * one, 0 * one, threshold * one, 0 * one)


def cuba(*shape: int) -> Any:
    one = np.ones(shape)
    return nir.CubaLIF(2 * DT * one, 4 * DT * one, 4 * one, 0 * one, one, 0 * one, 2 * one)


def network(kind: str) -> Any:
    """A network as NIR's specification has it."""
    if kind == "image":
        middle: dict[str, Any] = {
            "conv": nir.Conv2d((8, 8), quarters(4, 2, 3, 3), 1, 0, 1, 1, quarters(4)),
            "lif1": lif(4, 6, 6),
            "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
            "flat": nir.Flatten({"input": np.array([4, 3, 3])}, 0, -1),
            "fc": nir.Linear(quarters(5, 36)),
            "lif2": lif(5),
        }
        ends: Any = ((2, 8, 8), (5,))
    else:
        middle = {
            "fc1": nir.Affine(quarters(8, 6), np.full(8, 0.25)),
            "lif1": lif(8) if kind == "flat" else cuba(8),
            "fc2": nir.Linear(quarters(4, 8)),
            "lif2": lif(4, threshold=1.5),
        }
        ends = ((6,), (4,))
    names = ["input", *middle, "output"]
    nodes = {
        "input": nir.Input(np.array(ends[0])),
        **middle,
        "output": nir.Output(np.array(ends[1])),
    }
    edges = list(pairwise(names))
    if kind == "loop":
        nodes["rec"] = nir.Linear(quarters(8, 8))
        edges += [("lif1", "rec"), ("rec", "lif1")]
    return nir.NIRGraph(nodes, edges, type_check=False)


Edit = Callable[[Any], None]


def put(**fields: Any) -> Edit:
    """Fields as ``node__field``."""

    def edit(nodes: Any) -> None:
        for name, value in fields.items():
            node, field = name.split("__")
            if field in nodes[node]:
                del nodes[node][field]
            nodes[node][field] = value

    return edit


def ends(first: tuple[int, ...], last: tuple[int, ...]) -> Edit:
    return put(input__shape=np.array(first), output__shape=np.array(last))


def neurons(shape: tuple[int, ...], only: tuple[str, ...] = PARAMETERS) -> Edit:
    """One number in place of a neuron's arrays, in that shape."""

    def edit(nodes: Any) -> None:
        for node in ("lif1", "lif2"):
            for field in set(only) & set(nodes[node]):
                value = np.full(shape, nodes[node][field][()].flat[0])
                put(**{f"{node}__{field}": value})(nodes)

    return edit


def both(*edits: Edit) -> Edit:
    def edit(nodes: Any) -> None:
        for each in edits:
            each(nodes)

    return edit


def channels(nodes: Any) -> None:
    for field in set(PARAMETERS) & set(nodes["lif1"]):
        put(**{f"lif1__{field}": nodes["lif1"][field][:, :1, :1]})(nodes)


UNTIDY: dict[str, tuple[str, Edit, str]] = {  # the network, what a tool writes, what is noted
    "samples and steps (Rockpool)": (
        "current",
        ends((1, 50, 6), (3, 50, 4)),
        "Input 'input' (1, 50, 6): (6,) a sample and step",
    ),
    "no sample data (Rockpool)": ("flat", ends((1, 6), (1, 1, 4)), "Output 'output' (1, 1, 4)"),
    "samples": ("flat", ends((1, 6), (1, 4)), "Input 'input' (1, 6)"),
    "a loop (Rockpool)": ("loop", ends((1, 50, 6), (1, 50, 4)), "Input 'input'"),
    "parameters without axes (snnTorch)": ("current", neurons(()), "all values: lif1, lif2"),
    "parameters of one element (snnTorch)": ("flat", neurons((1,)), "all values: lif1, lif2"),
    "one of many, and a loop": ("loop", neurons((1,)), "all values: lif1, lif2"),
    "an Output like them": (
        "flat",
        both(neurons(()), put(output__shape=np.array([1]))),
        "Output 'output' (1,): (4,) a sample and step",
    ),
    "some parameters as numbers": ("flat", neurons((), ("v_reset", "v_leak")), "lif1, lif2"),
    "parameters with a batch": ("flat", neurons((1, 1)), "lif1"),
    "a bias of one number (nirviz)": ("flat", put(fc1__bias=np.array(0.25)), "values: fc1"),
    "a bias of one element": ("flat", put(fc1__bias=np.array([0.25])), "values: fc1"),
    "images in a batch": ("image", ends((1, 2, 8, 8), (1, 5)), "Input 'input' (1, 2, 8, 8)"),
    "images in time": ("image", ends((1, 9, 2, 8, 8), (1, 9, 5)), "Input 'input' (1, 9, 2, 8, 8)"),
    "thresholds by channel": ("image", channels, "lif1"),
    "numbers for images": ("image", neurons(()), "lif1, lif2"),
    "a Flatten with the batch": (
        "image",
        both(
            ends((1, 2, 8, 8), (1, 5)),
            put(flat__input_type=np.array([1, 4, 3, 3]), flat__start_dim=1),
        ),
        "Flatten 'flat': all axes of (4, 3, 3)",
    ),
    "a Flatten from axis 1 on": ("image", put(flat__start_dim=1), "Flatten 'flat'"),
}


def written(kind: str, edit: Edit, path: Path) -> None:
    R.bit_generator.state = np.random.default_rng(3).bit_generator.state  # the same weights
    nir.write(path, network(kind), compression=None)
    with h5py.File(path, "r+") as file:
        edit(file["node/nodes"])


def reading(path: Path) -> Graph:
    with h5py.File(path) as file:
        nodes = {n: g["type"][()].decode() for n, g in file["node/nodes"].items()}
    current: Any = "new" if "CubaLIF" in nodes.values() else None
    feedback: Any = "previous" if "rec" in nodes else None
    return read_nir(
        path,
        dt=DT,
        steps=T,
        reset="zero",
        domain=SPIKE,
        current=current,
        fires="at",
        feedback=feedback,
    )


@pytest.mark.parametrize("case", UNTIDY)
def test_what_a_tool_writes_is_the_network_that_it_means(case: str, tmp_path: Path) -> None:
    kind, edit, note = UNTIDY[case]
    written(kind, lambda _: None, tmp_path / "tidy.nir")
    written(kind, edit, tmp_path / "untidy.nir")
    graph = reading(tmp_path / "untidy.nir")
    assert differences(reading(tmp_path / "tidy.nir"), graph) == []
    stated = Stated(DT, "zero", None, T, True, fires="at")
    if kind != "flat" and kind != "image":
        stated = Stated(DT, "zero", None, T, True, "previous" if kind == "loop" else None,
                        current="new", fires="at")  # fmt: skip
    _, file = read_named(tmp_path / "untidy.nir", stated)
    assert note in file.title
    assert check(tmp_path / "untidy.nir", stated=stated, static=True).name == file.title
    _, file = read_named(tmp_path / "tidy.nir", stated)
    assert file.title == "tidy.nir"
    # The independent check reads the file as it stands, and needs no shapes.
    tidy, untidy = (load(tmp_path / f"{n}.nir") for n in ("tidy", "untidy"))
    says = Statement(dt=DT, spike_inputs=True)
    one, other = (inspect(d.nodes, d.edges, says) for d in (tidy, untidy))
    assert [p.kind for p in one.problems] == [p.kind for p in other.problems]


def test_it_goes_through_every_target(tmp_path: Path) -> None:
    edit = both(ends((1, 50, 6), (1, 50, 4)), neurons(()))
    written("flat", edit, tmp_path / "untidy.nir")
    graph = quantized(reading(tmp_path / "untidy.nir"))
    x = random_spikes(graph, 3)
    agree_on_lava(graph, x)
    agree_on_onnx_and_nir(graph, x, tmp_path)


CONTRADICTIONS: dict[str, tuple[str, Edit, str, str, Edit]] = {  # ..., the two sides, a fix
    "the input is too narrow": (
        "flat",
        ends((5,), (4,)),
        "'input' sends (5,), 'fc1' takes (6,)",
        "",
        ends((6,), (4,)),
    ),
    "with samples and steps, too": (
        "flat",
        ends((1, 50, 5), (4,)),
        "'input' sends (1, 50, 5), 'fc1' takes (6,)",
        "",
        ends((1, 50, 6), (4,)),
    ),
    "three axes in front": (
        "flat",
        ends((1, 1, 50, 6), (4,)),
        "'input' sends (1, 1, 50, 6), 'fc1' takes (6,)",
        "",
        ends((1, 50, 6), (4,)),
    ),
    "the output is too narrow": (
        "flat",
        ends((6,), (3,)),
        "'lif2' sends (4,), 'output' takes (3,)",
        "",
        ends((6,), (4,)),
    ),
    "one output of four neurons": (
        "flat",
        ends((6,), (1,)),
        "'lif2' sends (4,), 'output' takes (1,)",
        "",
        ends((6,), (1, 4)),
    ),
    "too few neurons": (
        "flat",
        neurons((5,)),
        "'fc1' sends (8,), 'lif1' takes (5,)",
        "",
        neurons((1,)),
    ),
    "two sizes in one node": (
        "flat",
        neurons((5,), ("r",)),
        "'r': (5,)",
        "parameters of a neuron differ in shape",
        neurons((1,), ("r",)),
    ),
    "channels": (
        "image",
        ends((3, 8, 8), (5,)),
        "'input' sends (3, 8, 8), 'conv' takes (2, 8, 8)",
        "",
        ends((1, 2, 8, 8), (5,)),
    ),
    "a bias of two numbers": (
        "flat",
        put(fc1__bias=np.zeros(2)),
        "bias (2,), weight (8, 6)",
        "bias does not fit",
        put(fc1__bias=np.zeros(1)),
    ),
    "half flat": (
        "image",
        both(put(flat__start_dim=1), put(fc__weight=np.ones((5, 9)))),
        "start_dim 1",
        "only flattening of all axes",
        put(flat__start_dim=1),
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_contradiction_names_both_sides_and_the_fix_works(case: str, tmp_path: Path) -> None:
    kind, edit, sides, message, fix = CONTRADICTIONS[case]
    path = tmp_path / "f.nir"
    written(kind, edit, path)
    with pytest.raises(NirFileError, match=message or "two joined nodes differ") as refusal:
        reading(path)
    assert sides in refusal.value.found
    if not message:
        assert "correct whichever of the two is wrong" in refusal.value.remedy
    written(kind, fix, path)
    assert reading(path).steps == T


def test_huge_broadcasts_are_not_made(tmp_path: Path) -> None:
    path = tmp_path / "f.nir"
    wide = both(
        neurons((1 << 13, 1), ("r",)), neurons((1, 1 << 13), ("tau",)), put(fc1__bias=np.zeros(8))
    )
    written("flat", wide, path)
    with pytest.raises(NirFileError, match="differ in shape"):
        reading(path)


@pytest.mark.parametrize("sample", ["50 steps", "none"])
@pytest.mark.parametrize("loop", [False, True])
def test_rockpools_own_export(loop: bool, sample: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("rockpool")
        import torch
        from rockpool.nn.combinators import Sequential
        from rockpool.nn.modules import LIFTorch, LinearTorch
        from rockpool.nn.modules.torch.nir import to_nir

        times = {"tau_mem": 0.02, "tau_syn": 0.01, "dt": 1e-3}
        net = Sequential(
            LinearTorch((6, 8), has_bias=False),
            LIFTorch(8, has_rec=loop, **times),
            LinearTorch((8, 3), has_bias=False),
            LIFTorch(3, **times),
        )
        exported = to_nir(net, None if sample == "none" else torch.zeros(1, 50, 6))
    nir.write(tmp_path / "rockpool.nir", exported)
    with pytest.raises(ValueError, match=r"type mismatch: input\.output"):
        nir.read(tmp_path / "rockpool.nir")  # nir itself refuses what Rockpool wrote
    stated: Any = {"dt": DT, "steps": T, "reset": "subtract", "domain": SPIKE, "current": "new"}
    stated |= {"fires": "at", "feedback": "previous" if loop and sample != "none" else None}
    graph = read_nir(tmp_path / "rockpool.nir", **stated)
    assert (graph.inputs[0].shape, graph.edge(graph.outputs[0]).shape) == ((6,), (3,))
    with h5py.File(tmp_path / "rockpool.nir", "r+") as file:
        ends((6,), (3,))(file["node/nodes"])
    assert differences(graph, read_nir(tmp_path / "rockpool.nir", **stated)) == []
