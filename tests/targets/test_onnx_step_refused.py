"""What no network can be read from: each file is refused with its node and the reason."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.onnx_steps import Step
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from purespike.compiler.errors import PurespikeError
from purespike.errors import InputError
from purespike.flow.inputs.exchange import read_file
from purespike.flow.inputs.stated import Stated
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.step import read_step

Call = Callable[..., tuple[Tensor, ...]]


class Net(nn.Module):
    """A linear layer, and a cell that is a function of its current and its states."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.fc, self.call = nn.Linear(4, 3), call

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        return self.call(self.fc(x), *states)


def refused(call: Call, states: tuple[str, ...], path: Path, **options: Any) -> OnnxError:
    step = Step(Net(call).eval(), (4,), dict.fromkeys(states, (3,)), **options)
    with pytest.raises(OnnxError) as caught:
        read_step(step.export(path / "m.onnx"), steps=4)
    return caught.value


def fire(u: Tensor, level: float = 1.0) -> Tensor:
    return (u > level).float()


def two_levels(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = 0.5 * v + c
    return fire(u), u * (1 - fire(u, 2.0))


def late_other_level(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = 0.5 * v + c - fire(v, 0.5)
    return fire(u), u


def loses_input(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = (0.5 * v + c) * (1 - fire(v))
    return fire(u), u


def scaled_reset(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = 0.5 * v + c
    return fire(u), u - 0.5 * fire(u) * u


def clamped(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = torch.clamp(0.5 * v + c, -1.0, 4.0)
    return fire(u), u * (1 - fire(u))


def own_decays(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = torch.tensor([0.5, 0.25, 0.75]) * v + c
    return fire(u), u * (1 - fire(u))


def grows(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = 1.25 * v + c
    return fire(u), u * (1 - fire(u))


def gated(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = 0.5 * v + c * torch.sigmoid(v)
    return fire(u), u * (1 - fire(u))


def membrane_out(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = 0.5 * v + c
    return 2 * u, u - fire(u)


def adapts(c: Tensor, v: Tensor, a: Tensor) -> tuple[Tensor, ...]:
    u = 0.5 * v + c
    s = (u - a > 1.0).float()
    return s, u * (1 - s), 0.5 * a + s


def jumps_back(c: Tensor, i: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    i = 0.5 * i + c
    u = 0.5 * v + i + c
    return fire(u), i, u * (1 - fire(u))


def below_zero(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    u = 0.5 * v + c + 0.5 * fire(v, -0.5)
    return fire(u, -0.5), u


def integrates(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    return (0.5 * v + c,) * 2


def unreset(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    return fire(0.5 * v + c), fire(c)


CELLS: list[tuple[Call, tuple[str, ...], str, str]] = [
    (two_levels, ("v",), "fires on something else|more than one|not a neuron's", "Greater"),
    (late_other_level, ("v",), "resets on another threshold", "Greater"),
    (loses_input, ("v",), "also takes what arrives in the step after", "Greater"),
    (scaled_reset, ("v",), "something else to it than a reset", "Greater"),
    (clamped, ("v",), "Clip of a membrane or current", "Clip"),
    (own_decays, ("v",), "decay is no one number", "'v'"),
    (grows, ("v",), "decay is no one number", "'v'"),
    (gated, ("v",), "Sigmoid of a membrane or current", "Sigmoid"),
    (membrane_out, ("v",), "a membrane of a neuron that fires", "v"),
    (adapts, ("v", "a"), "no membrane that is known|no neuron's|fires on something", ""),
    (jumps_back, ("i", "v"), "another way than a synaptic current", "'v'"),
    (below_zero, ("v",), "threshold below zero", "Greater"),
    (integrates, ("v",), "nothing in it fires", ""),
    (unreset, ("v",), "that depends on no state", "Greater"),
]


@pytest.mark.parametrize(
    ("call", "states", "why", "where"), CELLS, ids=[c[0].__name__ for c in CELLS]
)
def test_a_cell_that_no_neuron_is_equal_to(
    tmp_path: Path, call: Call, states: tuple[str, ...], why: str, where: str
) -> None:
    error = refused(call, states, tmp_path)
    assert re.search(why, error.message), error
    assert where in error.where + error.found and error.remedy
    assert str(tmp_path) in error.where and "\n" not in error.message


class Bare(nn.Module):
    """A cell without a layer: its data and its membrane look alike."""

    def forward(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        u = 0.5 * v + x
        return fire(u), u - fire(u)


def test_an_ambiguous_pairing_names_the_candidates_and_names_resolve_it(tmp_path: Path) -> None:
    step = Step(Bare(), (3,), {"v": (3,)}, named=False)
    with pytest.raises(OnnxError, match="which output is the next value") as caught:
        read_step(step.export(tmp_path / "m.onnx"), steps=4)
    assert caught.value.found.count("(N, 3)") == 2 and "output_names" in caught.value.remedy
    named = Step(Bare(), (3,), {"v": (3,)})
    graph = read_step(named.export(tmp_path / "n.onnx"), steps=4)
    assert [e.name for e in graph.inputs] == ["x"] and graph.outputs == ("v",)


class Reversed(nn.Module):
    """The state in front of the data."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, v: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        u = 0.5 * v + self.fc(x)
        return fire(u), u - fire(u)


def test_an_order_that_nobody_uses_needs_names(tmp_path: Path) -> None:
    arguments = (torch.zeros(1, 3), torch.zeros(1, 4))
    names = {"input_names": ["v", "x"], "output_names": ["s", "v_out"]}
    for given in ({}, names):
        path = str(tmp_path / "m.onnx")
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(Reversed().eval(), arguments, path, dynamo=False, **given)
        if given:
            assert read_step(path, steps=4).inputs[0].name == "x"
        else:
            with pytest.raises(OnnxError, match="in front of the data"):
                read_step(path, steps=4)


def test_spikes_handed_over_without_names_are_not_guessed(tmp_path: Path) -> None:
    def call(c: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        u = 0.5 * v * (1 - s) + c
        return fire(u), u

    class Handing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.back = nn.Linear(4, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor, s: Tensor, v: Tensor) -> tuple[Tensor, ...]:
            return call(self.fc(x) + self.back(s), s, v)

    named = Step(Handing().eval(), (4,), {"s": (3,), "v": (3,)}, ())
    assert read_step(named.export(tmp_path / "n.onnx"), steps=4).nodes
    step = Step(Handing().eval(), (4,), {"s": (3,), "v": (3,)}, (), named=False)
    with pytest.raises(OnnxError) as caught:
        read_step(step.export(tmp_path / "m.onnx"), steps=4)
    assert "cannot be told" in caught.value.message and "name" in caught.value.remedy


@pytest.mark.filterwarnings("ignore")
def test_frozen_membranes_are_found_out(tmp_path: Path) -> None:
    snntorch = pytest.importorskip("snntorch")
    net = nn.Sequential(nn.Linear(3, 3), snntorch.Leaky(0.9, init_hidden=True))
    path = str(tmp_path / "m.onnx")
    with torch.no_grad():
        torch.onnx.export(net.eval(), (torch.zeros(1, 3),), path, dynamo=False)
    with pytest.raises(OnnxError, match="threshold without a state pair") as caught:
        read_step(path, steps=4)
    assert "Greater" in caught.value.where and "PyTorch" in caught.value.remedy


# ---- files that no exporter makes ---------------------------------------------------------------


def model(nodes: list[Any], **tensors: Any) -> onnx.ModelProto:
    """x (1, 3) and v (1, 3) to y and v_out."""

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])

    constants = {"w": np.eye(3, dtype=np.float32), "half": np.array(0.5, np.float32)} | tensors
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x"), value("v")],
        [value("y"), value("v_out")],
        [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def node(kind: str, reads: str, makes: str, **options: Any) -> Any:
    return helper.make_node(kind, reads.split(), [makes], name=f"the_{kind}", **options)


GOOD = [
    node("MatMul", "x w", "a"),
    node("Add", "a v", "u"),
    node("Greater", "u half", "b"),
    node("Cast", "b", "y", to=TensorProto.FLOAT),
    node("Where", "b half u", "v_out"),
]
SOUND = [*GOOD[:4], node("Sub", "u y", "v_out")]


def read(m: onnx.ModelProto, path: Path) -> Any:
    path.write_bytes(m.SerializeToString())
    return read_step(path, steps=4)


def test_the_files_below_are_wrong_in_one_thing_each(tmp_path: Path) -> None:
    assert read(model(SOUND), tmp_path / "m.onnx").outputs == ("the_Greater",)


BROKEN: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("reset to a value", GOOD, {}, "than a reset"),
    ("relu", [node("Relu", "x", "x2"), node("MatMul", "x2 w", "a"), *SOUND[1:]], {}, "Relu of a"),
    ("unknown", [node("Softmax", "x", "x2"), *SOUND], {}, "operator that is not known"),
    ("undefined", [node("MatMul", "x q", "a"), *SOUND[1:]], {}, "no node before it writes"),
    ("twice", [*SOUND, node("Add", "a v", "u")], {}, "two nodes write one tensor"),
    ("nan", SOUND, {"half": np.array(np.nan, np.float32)}, "infinite or not a number"),
    ("inf weight", SOUND, {"w": np.full((3, 3), np.inf, np.float32)}, "not finite"),
    ("shape", SOUND, {"w": np.ones((2, 3), np.float32)}, "does not fit"),
    ("constant", SOUND, {"half": np.ones((4, 3), np.float32)[:, :2]}, "more axes|does not fit"),
    ("text", SOUND, {"half": np.array(["a"], dtype=object)}, "holds no numbers"),
    ("no axis", [node("Flatten", "x", "f", axis=0), *SOUND], {}, "takes in the samples"),
    ("integers", [node("Cast", "x", "f", to=TensorProto.INT32), *SOUND], {}, "loses something"),
    ("axes", [node("Squeeze", "x half", "f"), *SOUND], {}, "squeezed|definition"),
    (
        "bomb",
        [node("Mul", "p q", "big"), *SOUND],
        {"p": np.zeros((20_000, 1), np.float32), "q": np.zeros((1, 20_000), np.float32)},
        "too large",
    ),
    (
        "gathered",
        [node("Gather", "p p", "big"), *SOUND],
        {"p": np.zeros((1, 10_000), np.int64)},
        "too large",
    ),
    (
        "joined",
        [node("Concat", "p " * 3000, "big", axis=0), *SOUND],
        {"p": np.zeros(30_000)},
        "too",
    ),
    ("gap", [node("Conv", "x w", "f", strides=[0, 0]), *SOUND], {}, "not 2-D|definition|stride"),
]


@pytest.mark.parametrize(
    ("nodes", "tensors", "why"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN]
)
def test_a_file_that_is_wrong_is_one_error(
    tmp_path: Path, nodes: list[Any], tensors: dict[str, Any], why: str
) -> None:
    with pytest.raises(OnnxError, match=why):
        read(model(nodes, **tensors), tmp_path / "m.onnx")


def test_programs_and_other_files_are_not_opened(tmp_path: Path) -> None:
    vendor = model([helper.make_node("Spike", ["x"], ["y"], name="s", domain="vendor"), *SOUND])
    with pytest.raises(OnnxError, match="program of its own") as caught:
        read(vendor, tmp_path / "m.onnx")
    assert "'s'" in caught.value.where
    far = model(SOUND)
    far.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(OnnxError, match="other files"):
        read(far, tmp_path / "m.onnx")
    old = model(SOUND)
    old.opset_import[0].version = 7
    with pytest.raises(OnnxError, match="parts that are not read"):
        read(old, tmp_path / "m.onnx")


def test_sizes_are_limited(tmp_path: Path) -> None:
    huge = model(SOUND)
    huge.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 10**12
    with pytest.raises(OnnxError, match="too large"):
        read(huge, tmp_path / "m.onnx")
    claims = model(SOUND)
    claims.graph.initializer[0].dims[:] = [10**6, 10**6]
    with pytest.raises(OnnxError, match="too large"):
        read(claims, tmp_path / "m.onnx")
    short = model(SOUND)
    short.graph.initializer[0].dims[:] = [3, 4]
    with pytest.raises(OnnxError, match="damaged"):
        read(short, tmp_path / "m.onnx")
    many = model([node("Identity", "x", f"x{k}") for k in range(10_001)] + SOUND)
    with pytest.raises(OnnxError, match="too many nodes"):
        read(many, tmp_path / "m.onnx")


def test_growing_values_are_stopped(tmp_path: Path) -> None:
    """Products of many different spikes have 2**n terms."""
    nodes = []
    for k in range(12):
        nodes += [node("Greater", f"v c{k}", f"b{k}"), node("Cast", f"b{k}", f"s{k}", to=1)]
        nodes += [node("Sub", f"one s{k}", f"n{k}")]
    nodes += [node("Mul", "n0 n1", "p1")]
    nodes += [node("Mul", f"p{k} n{k + 1}", f"p{k + 1}") for k in range(1, 11)]
    tensors = {f"c{k}": np.array(k + 1, np.float32) for k in range(12)}
    with pytest.raises(OnnxError, match="too many terms"):
        read(model([*nodes, *SOUND], one=np.array(1, np.float32), **tensors), tmp_path / "m.onnx")


def test_mutated_files_give_a_graph_or_one_error(tmp_path: Path) -> None:
    """Bytes of a real export are flipped, cut and doubled."""

    def cell(c: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        u = 0.5 * v + c
        return fire(u), u - fire(u)

    step = Step(Net(cell), (4,), {"v": (3,)})
    whole = step.export(tmp_path / "m.onnx").read_bytes()
    r = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(int(r.integers(1, 3))):
            at = int(r.integers(len(content)))
            kind = int(r.integers(6))
            if kind < 4:
                content[at] ^= 1 << int(r.integers(8))
            elif kind == 4:
                del content[at : at + int(r.integers(1, 9))]
            else:
                content[at:at] = content[at : at + int(r.integers(1, 9))]
        (tmp_path / "x.onnx").write_bytes(content)
        try:
            read_step(tmp_path / "x.onnx", steps=2)
            outcomes["read"] += 1
        except PurespikeError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


def test_what_has_to_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(SOUND).SerializeToString())
    with pytest.raises(OnnxError, match="leaves open: steps") as caught:
        read_file(path, Stated())
    assert "state --steps N: " in caught.value.text("command line")
    assert "state steps=N: " in str(caught.value) and "domain=SPIKE" in str(caught.value)
    with pytest.raises(InputError, match="does not take reset='zero'"):
        read_file(path, Stated(steps=4, reset="zero"))
    graph, _, _ = read_file(path, Stated(steps=4, dt=0.01, spike_input=True))
    assert (graph.steps, graph.dt, str(graph.inputs[0].domain)) == (4, 0.01, "spike")


class Crossed(nn.Module):
    """Each state becomes the other: its values alone would make two neurons of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        a, b = 0.5 * w + self.fc(x), 0.25 * v + self.fc(x)
        return fire(a), a, b


def test_states_that_cross_are_not_untangled(tmp_path: Path) -> None:
    states = {"v": (3,), "w": (3,)}
    for named, why in ((True, "not a membrane, a synaptic current"), (False, "another order")):
        step = Step(Crossed().eval(), (4,), states, named=named)
        with pytest.raises(OnnxError, match=why):
            read_step(step.export(tmp_path / "m.onnx"), steps=4)
