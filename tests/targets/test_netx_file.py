"""netx files: what we write comes back equal; what netx cannot say, and bad files, are refused."""

from __future__ import annotations

import importlib.util
import json
import math
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.netx_cases import CASES, network, neuron
from helpers.nir_cases import differences
from helpers.parsing import CHILD
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, IRError, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Flatten, Linear, Neuron
from purespike.compiler.storage import OutputError
from purespike.targets.netx import NetxError, NetxFileError, read_netx, write_netx
from purespike.targets.netx.synapse import survives
from purespike.targets.nir.document import canonical
from purespike.targets.nir.guard import guard

pytestmark = pytest.mark.usefixtures("parsed_here")

X = Edge("x", (4,), SPIKE)


@pytest.mark.parametrize("case", CASES)
def test_it_comes_back_equal_and_the_bytes_are_the_same(case: str, tmp_path: Path) -> None:
    graph = network(case)
    for name in ("a.net", "b.net"):
        write_netx(graph, tmp_path / name)
    assert (tmp_path / "a.net").read_bytes() == (tmp_path / "b.net").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.net", "b.net"]
    assert differences(graph, read_netx(tmp_path / "a.net")) == []


def module(package: str, path: str) -> Any:
    """One file of an installed package, without the packages around it."""
    file = distribution(package).locate_file(path)
    spec = importlib.util.spec_from_file_location(Path(path).stem + "_alone", str(file))
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@settings(deadline=None)
@given(
    st.lists(st.integers(-300, 300), min_size=1, max_size=6),
    st.sampled_from((1, 2, 4, 16)),
    st.sampled_from((-1, 0, 1)),
)
def test_weights_survive_exactly_where_netx_and_lava_keep_them(
    values: list[int], factor: int, sign: int
) -> None:
    """Against the installed code of both, which this one restates."""
    netx, lava = modules()
    weight = np.array(values) * factor
    weight = (sign * np.abs(weight) if sign else weight).reshape(1, -1)
    try:
        with np.errstate(divide="ignore"):
            packed, bits, exponent, _ = netx.optimize_weight_bits(weight)
    except (OverflowError, ValueError):
        assert not survives(weight)
        return
    mode = lava.determine_sign_mode(packed)
    held = lava.truncate_weights(lava.clip_weights(packed, mode, num_bits=8), mode, bits)
    exact = bits <= 8 and exponent <= 0
    exact = exact and np.array_equal(held, weight * 2**-exponent)
    assert survives(weight) == exact


@pytest.mark.parametrize(
    ("weights", "advice", "instead"),
    [
        ([-128, -64], "another lowest weight", [-126, -64]),
        ([-256, -2], "another lowest weight", [-254, -2]),
        ([-128, -64, 0], "another lowest weight", [-127, -64, 0]),
        ([-255, -3, 0], "even numbers", [-254, -4, 0]),
        ([-198, 197], "even numbers", [-198, 196]),
        ([300, -4], "even numbers", [254, -4]),
    ],
)
def test_the_remedy_for_weights_that_netx_changes_works(
    weights: list[int], advice: str, instead: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "model.net"
    for values, refused in ((weights, True), (instead, False)):
        with h5py.File(path, "w") as file:
            file.create_dataset("layer/0/type", (1,), "S10", [b"dense"])
            file["layer/0/weight"], file["layer/0/shape"] = np.array([values]), np.array([1])
            file.create_dataset("layer/0/neuron/type", (1,), "S10", [b"CUBA"])
            file["layer/0/neuron/iDecay"], file["layer/0/neuron/vDecay"] = 4096, 0
            file["layer/0/neuron/vThMant"] = 9
        if refused:
            with pytest.raises(NetxFileError, match="would change these weights") as refusal:
                read_netx(path, steps=4, dt=1e-3)
            assert advice in refusal.value.remedy
            continue
        graph = read_netx(path, steps=4, dt=1e-3)
        assert graph.inputs[0].shape == (len(values),)


def first_layer(path: Path, kind: bytes, **fields: Any) -> None:
    """A file without an input block, of one layer and its neuron."""
    with h5py.File(path, "w") as file:
        file.create_dataset("layer/0/type", (1,), "S10", [kind])
        for name, value in fields.items():
            file[f"layer/0/{name}"] = value
        file.create_dataset("layer/0/neuron/type", (1,), "S10", [b"CUBA"])
        file["layer/0/neuron/iDecay"], file["layer/0/neuron/vDecay"] = 4096, 0
        file["layer/0/neuron/vThMant"] = 9


CONV: dict[str, Any] = {
    "weight": np.ones((3, 2, 3, 3)),
    "padding": 1,
    "dilation": 1,
    "groups": 1,
}


def test_the_first_layer_says_the_input_or_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "model.net"

    def shape(**stated: Any) -> Any:
        return read_netx(path, steps=4, dt=1e-3, **stated).inputs[0].shape

    first_layer(path, b"dense", weight=np.ones((3, 7)), shape=np.array([3]))
    assert shape() == shape(shape=(7,)) == (7,)
    with pytest.raises(NetxFileError, match="takes another shape"):
        shape(shape=(1, 7, 1))
    first_layer(path, b"conv", shape=np.array([3, 5, 6]), stride=1, **CONV)
    assert shape() == shape(shape=(2, 5, 6)) == (2, 5, 6)
    with pytest.raises(NetxFileError, match="takes another shape"):
        shape(shape=(2, 6, 6))
    first_layer(path, b"conv", shape=np.array([3, 5, 6]), stride=np.array([2, 1]), **CONV)
    with pytest.raises(NetxFileError, match="leaves open: shape") as refusal:
        shape()
    assert "2 channels of height and width 9 to 10, 6 to 6" in refusal.value.open["shape"]
    with pytest.raises(NetxFileError, match="leaves open: dt, steps, shape"):
        read_netx(path)  # all that is missing, at once
    assert shape(assumed_shape=(2, 10, 6)) == (2, 10, 6)  # as the data has it
    assert shape(assumed_shape=(2, 10, 6), shape=(2, 9, 6)) == (2, 9, 6)
    assert shape(shape=(2, 9, 6)) == (2, 9, 6) and shape(shape=(2, 10, 6)) == (2, 10, 6)
    for wrong in ((2, 11, 6), (3, 9, 6), (2, 9)):
        with pytest.raises(NetxFileError, match="takes another shape"):
            shape(shape=wrong)
    with h5py.File(path, "w") as file:
        file.create_dataset("layer/0/type", (1,), "S10", [b"average"])
    with pytest.raises(NetxFileError, match="netx cannot run this layer"):
        shape()
    write_netx(network("dense"), path)
    with h5py.File(path, "r+") as file:
        del file["purespike"]
    with pytest.raises(NetxFileError, match="says another shape"):
        read_netx(path, dt=1e-3, shape=(9,))


def modules(found: list[Any] = []) -> list[Any]:  # noqa: B006 (loaded once)
    if not found:
        pytest.importorskip("lava.lib.dl", reason="lava-dl is not installed")
        found.append(module("lava-dl", "lava/lib/dl/netx/utils.py"))
        found.append(module("lava-nc", "lava/utils/weightutils.py"))
    return found


def chain(*ops: Any, x: Edge = X) -> Graph:
    """The ops in a row, called n0, n1, ..."""
    names = [x.name, *(f"n{i}" for i in range(len(ops)))]
    nodes = [(names[i + 1], op, (names[i],)) for i, op in enumerate(ops)]
    return build((x,), nodes, (names[-1],), 4)


W = np.array([[3, -4, 5, 6], [7, 8, -9, 1]])


def residual() -> Graph:
    nodes: list[Any] = [
        ("a", Linear(np.eye(4) * 3 - 1), ("x",)),
        ("n", neuron(2.0), ("a",)),
        ("b", Linear(np.eye(4) * 3 - 1), ("n",)),
        ("sum", Add(), ("a", "b")),
        ("m", neuron(2.0), ("sum",)),
    ]
    return build((X,), nodes, ("m",), 4)


REFUSED = {
    "residual join": (residual, "a row of its own|one neuron of its own", "a"),
    "soft reset": (
        lambda: chain(Linear(W), neuron(3.0, reset="subtract")),
        "resets to zero only",
        "n1",
    ),
    "thresholds": (
        lambda: chain(Linear(W), neuron(np.array([3.0, 4.0]))),
        "one threshold per layer",
        "n1",
    ),
    "half a threshold": (lambda: chain(Linear(W), neuron(3.5)), "cannot compare", "n1"),
    "real neuron": (lambda: chain(Linear(W), Neuron(np.array(3.0))), "fixed point", "n1"),
    "initial": (lambda: chain(Linear(W), neuron(3.0, initial=1.0)), "starts at rest", "n1"),
    "real weight": (lambda: chain(Linear(W + 0.5), neuron(3.0)), "weight is not whole", "n0"),
    "real bias": (
        lambda: chain(Linear(W, np.array([1.0, 0.5])), neuron(3.0)),
        "bias is not whole",
        "n0",
    ),
    "wide weight": (lambda: chain(Linear(W * 29), neuron(3.0)), "8 bits", "n0"),
    "zero weights": (lambda: chain(Linear(W * 0), neuron(3.0)), "8 bits", "n0"),
    "wide bias": (
        lambda: chain(Linear(W, np.array([4096, 0])), neuron(3.0)),
        "bias is too large",
        "n0",
    ),
    "no neuron": (lambda: chain(Linear(W)), "one neuron of its own", "n0"),
    "bare neuron": (lambda: chain(neuron(1.0)), "no such layer", "n0"),
    "flat flatten": (lambda: chain(Flatten(), Linear(W), neuron(3.0)), "before a dense", "n0"),
    "memory": (lambda: chain(Linear(W * 8), neuron(3.0, 0.0)), "would remember", "n1"),
    "only input": (lambda: build((X,), [], ("x",), 4), "last neuron", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_netx_cannot_say_is_refused_with_its_module(case: str, tmp_path: Path) -> None:
    make, reason, where = REFUSED[case]
    with pytest.raises(NetxError, match=reason) as refusal:
        write_netx(make(), tmp_path / "model.net")
    assert f"%{where} " in refusal.value.where if where else refusal.value.found
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no file can be put here"):
        write_netx(network("dense"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def put(name: str, value: Any) -> Any:
    def edit(f: h5py.File) -> None:
        if name in f:
            del f[name]
        f[name] = value

    return edit


def text(name: str, value: bytes) -> Any:
    def edit(f: h5py.File) -> None:
        f.pop(name, None)
        f.create_dataset(name, (1,), "S10", [value])

    return edit


def pop(name: str) -> Any:
    return lambda f: f.pop(name)


def link(f: h5py.File) -> None:
    del f["layer/1/weight"]
    f["layer/1/weight"] = h5py.ExternalLink("/etc/hostname", "/weight")


def silent(f: h5py.File) -> None:
    del f["layer/1/neuron"], f["layer/1/bias"]


def late(f: h5py.File) -> None:
    del f["layer/3/bias"]
    f["layer/3/delay"] = np.array([0, 1, 2, 3])


# Edits of a foreign file (no metadata), and what the refusal says.
BAD = {
    "link": (link, "a link to elsewhere"),
    "no layer": (pop("layer"), "not a netx file"),
    "gap": (lambda f: f.move("layer/1", "layer/9"), "numbered from 0"),
    "no input": (text("layer/0/type", b"dense"), "first layer must be an input"),
    "input neuron": (text("layer/0/neuron/type", b"LOIHI"), "does not have the form"),
    "input weight": (put("layer/0/weight", 3), "input of spikes has no weight"),
    "unknown layer": (text("layer/1/type", b"average"), "average .netx itself does not run it"),
    "recurrent layer": (text("layer/1/type", b"dense_rec"), "dense_rec .recurrent"),
    "recurrence": (put("layer/1/weight_rec", np.eye(9)), "cannot say all"),
    "delay of neurons with a bias": (put("layer/1/delay", np.ones(9)), "the bias does not wait"),
    "delay of synapses": (put("layer/1/delay", np.ones((9, 12))), "each synapse has a delay"),
    "negative delay": (put("layer/1/delay", np.full(12, -1)), "delays are steps"),
    "text delay": (text("layer/1/delay", b"late"), "delays are steps"),
    "last delay": (late, "read by no dense layer"),
    "wide bias": (put("layer/1/bias", np.full(9, 4096)), "bias is too large"),
    "no neuron in between": (silent, "never fires, with layers behind it"),
    "no threshold reached": (put("layer/1/neuron/vThMant", 131071), "never fires, with layers"),
    "no neuron, but a bias": (pop("layer/3/neuron"), "without a neuron that netx could run"),
    "graded": (put("layer/1/neuron/gradedSpike", 1), "graded"),
    "sigma delta": (text("layer/1/neuron/type", b"SDNN"), "SDNN .sigma-delta: it sends graded"),
    "no current fades": (put("layer/1/neuron/iDecay", 0), "iDecay is out of range"),
    "bias past a current": (put("layer/1/neuron/iDecay", 1024), "bias goes past a current"),
    "half a count": (put("layer/1/neuron/iDecay", 1024.5), "iDecay is out of range"),
    "decay": (put("layer/1/neuron/vDecay", 5000), "out of range"),
    "no threshold": (pop("layer/1/neuron/vThMant"), "does not have the form"),
    "NaN": (put("layer/1/weight", np.full((9, 12), math.nan)), "not finite"),
    "text weight": (text("layer/1/weight", b"heavy"), "does not have the form"),
    "weights": (put("layer/1/weight", np.full((9, 12), 999)), "would change these weights"),
    "ill-fitting weights": (put("layer/1/weight", np.ones((9, 5))), "does not fit its input"),
    "shape": (put("layer/1/shape", np.array([8])), "not what the weights make"),
    "huge": (put("layer/0/shape", np.array([1 << 40])), "does not have the form"),
    "no time": (put("simulation/Ts", 0), "impossible number of time steps"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused(case: str, tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_netx(network("dense"), path)
    edit, reason = BAD[case]
    with h5py.File(path, "r+") as file:
        del file["purespike"]
        edit(file)
    with pytest.raises(NetxFileError, match=reason) as refusal:
        read_netx(path, dt=1e-3)
    assert str(path) in refusal.value.where


@pytest.mark.parametrize("name", ["layer/1/neuron/vThMant", "layer/3/weight", "simulation/tSample"])
def test_our_file_is_refused_once_it_was_modified(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_netx(network("dense"), path)
    with h5py.File(path, "r+") as file:
        file[name][...] = file[name][()] + 1
    with pytest.raises(NetxFileError, match="modified since purespike wrote"):
        read_netx(path)


@pytest.mark.parametrize(
    "change",
    [
        {"input": "y"},
        {"nodes": []},
        {"nodes": [{}] * 7},
        {"format": 9},
        {"domain": [0, 2, 1]},
        {"dt": "soon"},
        {"sha256": None},
        {"more": 1},
    ],
)
def test_our_metadata_must_describe_the_layers(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_netx(network("dense"), path)
    with h5py.File(path, "r+") as file:
        said = json.loads(file["purespike"][()])
        del file["purespike"]
        file["purespike"] = canonical(said | change)
    if set(change) == {"input"}:  # a name is the metadata's own business
        assert read_netx(path).inputs[0].name == "y"
        return
    with pytest.raises(NetxFileError, match=r"does not describe the layers|modified|one input"):
        read_netx(path)


def test_damage_is_refused_or_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes cut off or changed anywhere: one error, or a network; never anything else."""
    monkeypatch.setattr(guard, "_run", CHILD)  # libhdf5 may crash
    path = tmp_path / "model.net"
    write_netx(network("vgg"), path)
    content, r = path.read_bytes(), np.random.default_rng(0)
    for trial in range(20):
        damaged = bytearray(content)
        if trial % 4 == 0:
            del damaged[int(r.integers(len(damaged))) :]
        else:
            for at in r.integers(len(damaged), size=1 + trial // 2):
                damaged[int(at)] ^= int(r.integers(1, 256))
        path.write_bytes(damaged)
        try:
            read_netx(path)
        except NetxFileError as e:
            assert str(path) in e.where


def test_foreign_files_need_dt_and_steps(tmp_path: Path) -> None:
    path = tmp_path / "model.net"
    write_netx(network("dense"), path)
    assert read_netx(path, steps=6, dt=2e-3).steps == 6
    with pytest.raises(NetxFileError, match="another number of steps"):
        read_netx(path, steps=7)
    with pytest.raises(NetxFileError, match="another dt"):
        read_netx(path, dt=1e-3)
    with h5py.File(path, "r+") as file:
        del file["purespike"], file["simulation"]
    with pytest.raises(NetxFileError, match="how long a time step"):
        read_netx(path, steps=6)
    with pytest.raises(NetxFileError, match="how many time steps"):
        read_netx(path, dt=1e-3)
    assert read_netx(path, steps=6, dt=1e-3).steps == 6
    with pytest.raises(NetxFileError, match="cannot be read"):
        read_netx(tmp_path / "none.net")


def test_layers_without_a_neuron_integrate_as_far_as_lava_does(tmp_path: Path) -> None:
    """netx then keeps the sum in the current, which wraps around at 2**23 where ours saturates."""
    path = tmp_path / "model.net"
    write_netx(chain(Linear(W, np.array([1, 2])), neuron(3.0)), path)
    with h5py.File(path, "r+") as file:
        del file["purespike"], file["simulation"], file["layer/1/neuron"], file["layer/1/bias"]
    graph = read_netx(path, steps=5000, dt=1e-3)
    assert isinstance(graph.nodes[-1].op, Neuron) and not graph.nodes[-1].op.fires
    with pytest.raises(NetxFileError, match="may wrap around"):
        read_netx(path, steps=20_000, dt=1e-3)


def test_a_convolution_keeps_even_weights_beyond_seven_bits() -> None:
    conv = Conv2d(np.array([254, -256]).reshape(1, 2, 1, 1))
    assert survives(conv.weight.astype(np.int64))


@pytest.mark.parametrize("decay", [0, 100])
def test_a_readout_of_slayer_gives_its_membrane(decay: int, tmp_path: Path) -> None:
    """The highest threshold: no spike comes, unless the membrane gets there."""
    path = tmp_path / "model.net"
    write_netx(chain(Linear(W, np.array([1, 2])), neuron(3.0)), path)
    with h5py.File(path, "r+") as file:
        del file["purespike"], file["simulation"]
        file["layer/1/neuron/vThMant"][...] = 131071
        file["layer/1/neuron/vDecay"][...] = decay
    read = read_netx(path, steps=5000, dt=1e-3).nodes[-1].op
    assert isinstance(read, Neuron) and not read.fires and read.decay == 1 - decay / 4096
    if decay == 0:
        with pytest.raises(NetxFileError, match="or a readout fire"):
            read_netx(path, steps=20_000, dt=1e-3)


@pytest.mark.parametrize("fields", [{"weight": 40.5, "bias": 36.0}, {}])
def test_an_input_with_a_neuron_takes_what_drives_it(
    fields: dict[str, float], tmp_path: Path
) -> None:
    """netx applies neither weight nor bias of an input, and nothing passes its current."""
    path = tmp_path / "model.net"
    write_netx(chain(Linear(W), neuron(3.0)), path)
    with h5py.File(path, "r+") as file:
        del file["purespike"]
        for name in file["layer/1/neuron"]:
            file.copy(f"layer/1/neuron/{name}", f"layer/0/neuron/{name}")
        file["layer/0/neuron/iDecay"][...] = 1024
        file["layer/0/neuron/vThMant"][...] = 50
        for name, value in fields.items():
            file[f"layer/0/{name}"] = value
    graph = read_netx(path, dt=1e-3)
    driven = np.array([51, 50, 26, -4095.0])
    spikes = run(graph, np.broadcast_to(driven, (4, 1, 4))).values["neuron0"][:, 0]
    assert spikes.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 0]]
    with pytest.raises(IRError, match="input"):
        run(graph, np.full((4, 1, 4), 4096.0))
