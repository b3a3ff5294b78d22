"""Damaged and hostile files: each gives one clear error, in time, and touches nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from purespike.compiler.domain import SPIKE
from purespike.compiler.ir import Edge, build
from purespike.compiler.ops import Add, Delay, Linear, Neuron
from purespike.targets.nir.document import Document, canonical, content_hash
from purespike.targets.nir.emit import to_document, write_nir
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign import Conventions
from purespike.targets.nir.read import _read, read_nir

SAID: dict[str, Any] = {"dt": 1e-3, "steps": 3, "reset": "zero", "if_r": "step"}
TEXT = h5py.string_dtype()
FIXTURES = Path(__file__).parents[1] / "data" / "nir"
LIF, FC = "node/nodes/lif", "node/nodes/fc"
SECRET = "do-not-read-me"


def good(path: Path, **options: Any) -> None:
    parameters = dict.fromkeys(("tau", "r", "v_threshold"), np.ones(3))
    nodes = {
        "input": nir.Input(np.array([4])),
        "fc": nir.Affine(np.ones((3, 4), np.float32), np.zeros(3, np.float32)),
        "lif": nir.LIF(v_leak=np.zeros(3), v_reset=np.zeros(3), **parameters),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
    nir.write(path, nir.NIRGraph(nodes, edges), **options)


def replaced(name: str, value: Any = None, **options: Any) -> Callable[[Path], None]:
    """A good file with one dataset changed; None removes it."""

    def make(path: Path) -> None:
        good(path)
        with h5py.File(path, "r+") as f:
            if name in f:
                del f[name]
            if value is not None or options:
                f.create_dataset(name, data=value, **options)

    return make


def edited(edit: Callable[[h5py.File], Any]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        good(path)
        with h5py.File(path, "r+") as f:
            edit(f)

    return make


def edges(*pairs: tuple[str, ...]) -> Callable[[Path], None]:
    return replaced("node/edges", list(pairs), dtype=TEXT)


def cut(keep: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        good(path)
        path.write_bytes(keep(path.read_bytes()))

    return make


def flipped_plain(path: Path) -> None:
    good(path, compression=None)
    raw = bytearray(path.read_bytes())
    raw[raw.find(np.ones(4, np.float32).tobytes()) + 3] ^= 0x40  # 1.0 becomes infinity
    path.write_bytes(raw)


def flipped_gzip(path: Path) -> None:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    nir.write(path, nir.NIRGraph.from_list(nir.Linear(weight)))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)


def bare(path: Path) -> None:
    nir.write(path, nir.LIF(*(np.ones(3),) * 4))


def stride_zero(path: Path) -> None:
    conv = nir.Conv2d((8, 8), np.ones((2, 1, 3, 3), np.float32), 1, 0, 1, 1, np.zeros(2))
    nir.write(path, nir.NIRGraph.from_list(conv))
    with h5py.File(path, "r+") as f:
        f["node/nodes/conv2d/stride"][...] = 0


def flatten_far(path: Path) -> None:
    nir.write(path, nir.NIRGraph.from_list(nir.Flatten({"input": np.array([2, 3])}, 0, -1)))
    with h5py.File(path, "r+") as f:
        f["node/nodes/flatten/end_dim"][...] = 99


def island(f: h5py.File) -> None:
    for name in ("x", "y"):
        f.copy("node/nodes/lif", f["node/nodes"], name=name)
    del f["node/edges"]
    pairs = [("input", "fc"), ("fc", "lif"), ("lif", "output"), ("x", "y"), ("y", "x")]
    f["node"].create_dataset("edges", data=pairs, dtype=TEXT)


def relinked(link: Any) -> Callable[[Path], None]:
    def edit(f: h5py.File) -> None:
        del f["node/nodes/lif"]
        f["node/nodes/lif"] = link

    return edited(edit)


def other_file(path: Path) -> None:
    good(path.with_name("secret.h5"))
    relinked(h5py.ExternalLink("secret.h5", "/node/nodes/lif"))(path)


def external(name: str, size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        (path.parent / "secret.txt").write_text(SECRET * 100)
        place = [(str(path.parent / "secret.txt"), 0, size)]
        good(path)
        with h5py.File(path, "r+") as f:
            if name in f:
                del f[name]
            f.create_dataset(name, shape=(size,), dtype="u1", external=place)

    return make


def virtual(path: Path) -> None:
    with h5py.File(path.with_name("secret.h5"), "w") as f:
        f["w"] = np.full((3, 4), 42.0)
    good(path)
    with h5py.File(path, "r+", libver="latest") as f:
        del f["node/nodes/fc/weight"]
        layout = h5py.VirtualLayout((3, 4), float)
        layout[:] = h5py.VirtualSource(path.with_name("secret.h5"), "w", (3, 4))
        f["node/nodes/fc"].create_virtual_dataset("weight", layout)


def self_metadata(f: h5py.File) -> None:
    f["node"].create_group("metadata")["loop"] = f["node"]


def declared(name: str, *shape: int, chunk: int) -> Callable[[Path], None]:
    def edit(f: h5py.File) -> None:
        if name in f:
            del f[name]
        chunks = tuple(min(chunk, n) for n in shape)
        f.create_dataset(name, shape=shape, dtype="f4", chunks=chunks)

    return edited(edit)


def bomb(f: h5py.File) -> None:
    chunk = 1 << 24
    data = f.create_dataset(
        "node/nodes/fc/metadata/x", shape=(1 << 30,), dtype="f4", chunks=(chunk,),
        compression="gzip", compression_opts=9,
    )  # fmt: skip
    data[:chunk] = np.zeros(chunk, "f4")
    _, packed = data.id.read_direct_chunk((0,))
    for i in range(chunk, 1 << 30, chunk):  # 4 GB of zeros without packing them 64 times
        data.id.write_direct_chunk((i,), packed)


def deep(f: h5py.File) -> None:
    group = f["node"].create_group("metadata")
    for _ in range(2000):
        group = group.create_group("m")


def many_nodes(count: int, version: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w", libver="latest") as f:
            if version:
                f.create_dataset("version", data="1.0", dtype=TEXT)
            f.create_dataset("node/type", data="NIRGraph", dtype=TEXT)
            for i in range(count):
                node = f.create_group(f"node/nodes/n{i}")
                node.create_dataset("type", data="Scale", dtype=TEXT)
                node["scale"] = np.ones(1)
            pairs = [(f"n{i}", f"n{i + 1}") for i in range(count - 1)]
            f["node"].create_dataset("edges", data=pairs, dtype=TEXT)

    return make


def dots(f: h5py.File) -> None:
    f.move("node/nodes/lif", "node/nodes/..")
    del f["node/edges"]
    pairs = [("input", "fc"), ("fc", ".."), ("..", "output")]
    f["node"].create_dataset("edges", data=pairs, dtype=TEXT)


def empty(path: Path) -> None:
    good(path)
    with h5py.File(path, "r+") as f:
        del f["node/nodes"], f["node/edges"]
        f["node"].create_group("nodes")
        f["node"].create_dataset("edges", shape=(0, 2), dtype=TEXT)


def slow_parameters(f: h5py.File) -> None:
    f["node/nodes/lif/tau"][...] = 0.0
    f["node/nodes/lif/v_threshold"][...] = -1.0


def weight_group(path: Path) -> None:
    replaced(f"{FC}/weight")(path)
    with h5py.File(path, "r+") as f:
        f[f"{FC}/weight/x"] = 1


CHAIN = (("input", "fc"), ("fc", "lif"), ("lif", "output"))
CASES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty file": (lambda p: p.touch(), "not a readable HDF5 file"),
    "not HDF5": (lambda p: p.write_bytes(b"hello world" * 100), "not a readable HDF5 file"),
    "half of a file": (cut(lambda b: b[: len(b) // 2]), "not a readable HDF5 file"),
    "8 bytes short": (cut(lambda b: b[:-8]), "not a readable HDF5 file"),
    "a bit flipped in data": (flipped_plain, "not finite"),
    "a byte flipped in gzip": (flipped_gzip, "damaged"),
    "no node group": (edited(lambda f: f.pop("node")), "not a NIR file"),
    "unknown type": (replaced(f"{LIF}/type", "EvilNode", dtype=TEXT), "unknown node type"),
    "function for a type": (replaced(f"{LIF}/type", "dict2NIRNode", dtype=TEXT), "unknown node"),
    "no type": (replaced(f"{LIF}/type"), "unknown node type"),
    "missing field": (replaced(f"{LIF}/tau"), "missing field"),
    "extra field": (replaced(f"{LIF}/evil", np.ones(3)), "unknown field"),
    "injected input_type": (replaced(f"{LIF}/input_type", np.ones(3)), "unknown field"),
    "weight is a text": (replaced(f"{FC}/weight", "w", dtype=TEXT), "expected numbers"),
    "weight is a group": (weight_group, "expected numbers"),
    "weight is a number": (replaced(f"{FC}/weight", 1.0), "weight has the wrong shape"),
    "complex weight": (replaced(f"{FC}/weight", np.ones((3, 4), complex)), "element type"),
    "root is a node": (bare, "not a NIR graph"),
    "version 999": (replaced("version", "999.0", dtype=TEXT), "NIR version"),
    "no version": (replaced("version"), "not a NIR file"),
    "NaN weight": (replaced(f"{FC}/weight", np.full((3, 4), np.nan)), "not finite"),
    "infinite threshold": (replaced(f"{LIF}/v_threshold", np.full(3, np.inf)), "not finite"),
    "tau 0": (edited(slow_parameters), "out of range"),
    "bias misfit": (replaced(f"{FC}/bias", np.zeros(7)), "bias does not fit"),
    "nodes misfit": (replaced(f"{FC}/weight", np.zeros((9, 4))), "bias does not fit"),
    "joined nodes misfit": (replaced(f"{FC}/weight", np.zeros((3, 5))), "differ in shape"),
    "edge to nowhere": (edges(*CHAIN, ("lif", "ghost")), "missing node"),
    "edge triple": (edges(("input", "fc", "lif")), "pairs of"),
    "numbers for edges": (replaced("node/edges", np.zeros((3, 2), int)), "pairs of"),
    "no edges": (replaced("node/edges"), "not a NIR graph"),
    "empty edges": (replaced("node/edges", shape=(0, 2), dtype=TEXT), "pairs of"),
    "duplicate edge": (edges(CHAIN[0], *CHAIN), "listed twice"),
    "misfit cycle": (edges(*CHAIN, ("lif", "fc")), "differ in shape"),
    "cycle": (edges(*CHAIN, ("lif", "lif")), "loop has no Delay"),
    "island": (edited(island), "reached from no Input"),
    "no nodes": (empty, "pairs of"),
    "edge not UTF-8": (
        replaced("node/edges", np.array([[b"\xff\xfe", b"fc"]], "S4")), "not UTF-8"),
    "stride 0": (stride_zero, "out of range"),
    "negative shape": (edited(lambda f: f["node/nodes/input/shape"].write_direct(np.array([-5]))),
                       "out of range"),
    "external link": (other_file, "link to elsewhere"),
    "external link to a system file": (
        relinked(h5py.ExternalLink("/etc/passwd", "/x")), "link to elsewhere"),
    "external storage": (external(f"{FC}/weight", 48), "kept in another file"),
    "external metadata": (external(f"{FC}/metadata/x", 100), "kept in another file"),
    "virtual dataset": (virtual, "kept in another file"),
    "soft link to itself": (relinked(h5py.SoftLink("/node/nodes/lif")), "link to elsewhere"),
    "soft link to nowhere": (relinked(h5py.SoftLink("/nowhere")), "link to elsewhere"),
    "graph within itself": (
        edited(lambda f: f["node/nodes"].__setitem__("self", f["node"])), "linked twice"),
    "metadata within itself": (edited(self_metadata), "linked twice"),
    "4 GB without data": (
        declared(f"{FC}/metadata/x", 10**9, chunk=1 << 20), "too much data"),
    "4 TB without data": (
        declared(f"{FC}/metadata/x", 10**12, chunk=1 << 20), "too much data"),
    "weight without data": (declared(f"{FC}/weight", 30000, 30000, chunk=1000), "too much data"),
    "small weight without data": (declared(f"{FC}/weight", 3000, 3000, chunk=500), "missing"),
    "4 GB in 4 MB": (edited(bomb), "too much data"),
    "2000 groups deep": (edited(deep), "nested too deeply"),
    "2000 nodes, no version": (many_nodes(2000, False), "not a NIR file"),
    "2000 nodes, no input": (many_nodes(2000, True), "reached from no Input"),
    "node called ..": (edited(dots), "illegal name"),
    "type_check key": (replaced("node/type_check", 0), "not a NIR graph"),
    "axes that do not exist": (flatten_far, "do not exist"),
    "weight is an object": (
        replaced(f"{FC}/weight", np.array([h5py.Reference()], h5py.ref_dtype)), "element type"),
}  # fmt: skip


def processor_time() -> float:
    """Seconds that this process and its ended children have used: free of the machine's load."""
    return sum(
        getrusage(w).ru_utime + getrusage(w).ru_stime for w in (RUSAGE_SELF, RUSAGE_CHILDREN)
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def refused(path: Path, message: str, **said: Any) -> NirFileError:
    before = snapshot(path.parent)
    started = processor_time()
    with pytest.raises(NirFileError, match=message) as e:
        read_nir(path, **said)
    assert processor_time() - started < 10
    assert snapshot(path.parent) == before
    assert e.value.where.startswith(str(path))
    assert SECRET not in str(e.value)
    assert len(str(e.value)) < 2000
    return e.value


def test_the_good_file_is_good(tmp_path: Path) -> None:
    good(tmp_path / "m.nir")
    names = [n.name for n in read_nir(tmp_path / "m.nir", **SAID).nodes]
    assert names == ["fc", "lif.gain", "lif"]


@pytest.mark.parametrize("name", CASES)
def test_hostile_files_give_one_clear_error(name: str, tmp_path: Path) -> None:
    make, message = CASES[name]
    make(tmp_path / "m.nir")
    refused(tmp_path / "m.nir", message, **SAID)


@pytest.mark.parametrize("name", ["segv_0.nir", "hang_0.nir"])
def test_files_that_crash_or_hang_the_library(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes((FIXTURES / name).read_bytes())
    started = processor_time()
    with pytest.raises(NirFileError):
        read_nir(path, **SAID)
    assert processor_time() - started < 10


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.nir", tmp_path):
        with pytest.raises(NirFileError, match=str(tmp_path)):
            read_nir(path)


# ---- our own files, tampered with ---------------------------------------------------------------


def ours() -> Any:
    x = Edge("x", (3,), SPIKE)
    nodes = [
        ("l", Linear([[1, 2, -1], [3, 1, 0]], [1, 0]), ("x",)),
        ("d", Delay(1), ("x",)),
        ("s", Neuron(2.0, reset="subtract"), ("l",)),
        ("a", Add(), ("s", "s")),
        ("n", Neuron(1.0), ("a",)),
    ]
    return build((x,), nodes, ("n", "d"), 3)


def tampered(change: Callable[[dict[str, Any]], Any], seal: bool) -> Document:
    """Our file with other metadata; ``seal`` also forges the hash."""
    document = to_document(ours())
    data = json.loads(document.metadata)
    change(data)
    if seal:
        data["sha256"] = content_hash(document, data)
    return replace(document, metadata=canonical(data))


def test_a_changed_weight_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.nir"
    write_nir(ours(), path)
    with h5py.File(path, "r+") as f:
        f["node/nodes/l/weight"][0, 0] += 1
    refused(path, "has been modified")


def test_a_lossless_rewrite_by_nir_is_fine(tmp_path: Path) -> None:
    write_nir(ours(), tmp_path / "a.nir")
    nir.write(tmp_path / "b.nir", nir.read(tmp_path / "a.nir"), compression=None)
    read_nir(tmp_path / "b.nir")


TAMPERED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "dt": lambda d: d.update(dt=1.0),
    "steps": lambda d: d.update(steps=True),
    "no nodes": lambda d: d.update(nodes=[]),
    "nodes are text": lambda d: d.update(nodes="x"),
    "no inputs": lambda d: d.pop("inputs"),
    "unknown op": lambda d: d["nodes"][0].update(op="Evil"),
    "other op": lambda d: d["nodes"][0].update(op="Scale"),
    "other node": lambda d: d["nodes"][0].update(node="d"),
    "op is a list": lambda d: d["nodes"][0].update(op=[1]),
    "reads itself": lambda d: d["nodes"][0].update(inputs=["l"]),
    "reads nothing": lambda d: d["nodes"][0].update(inputs=[]),
    "shape": lambda d: d["nodes"][0].update(shape=[10**12]),
    "shape of a sum": lambda d: d["nodes"][3].update(shape=[10**12]),
    "input shape": lambda d: d["inputs"][0].update(shape=[10**12]),
    "domain": lambda d: d["nodes"][0].update(domain=[0, 1, 1]),
    "domain upside down": lambda d: d["nodes"][0].update(domain=[1, 0, 1]),
    "domain of NaN": lambda d: d["nodes"][0].update(domain=["nan", "nan", "nan"]),
    "decay": lambda d: d["nodes"][2].update(decay=0.5),
    "reset": lambda d: d["nodes"][2].update(reset="zero"),
    "unknown reset": lambda d: d["nodes"][2].update(reset="evil"),
    "amount": lambda d: d["nodes"][2].update(amount={"shape": [5], "values": [1.0]}),
    "fixed": lambda d: d["nodes"][2].update(fixed={"width": 10**9, "evil": 1}),
    "fixed, wide": lambda d: d["nodes"][2].update(
        fixed={"width": 10**9, "fraction_bits": 10**6, "decay_bits": 10**6}
    ),
    "threshold shape": lambda d: d["nodes"][2].update(threshold_shape=[7]),
    "threshold step": lambda d: d["nodes"][2].update(threshold_step=0.5),
    "long delay": lambda d: d["nodes"][1].update(delay=10**30),
    "outputs": lambda d: d.update(outputs=[]),
    "strict": lambda d: d.update(strict=True),
    "extra": lambda d: d.update(extra=[]),
    "boundaries": lambda d: d.update(boundaries={}),
    "sha256": lambda d: d.update(sha256=None),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_metadata_is_found_even_with_a_forged_hash(name: str) -> None:
    with pytest.raises(NirFileError, match="has been modified"):
        _read("m.nir", tampered(TAMPERED[name], seal=False), Conventions())
    if name != "sha256":
        with pytest.raises(NirFileError, match="does not describe the nodes"):
            _read("m.nir", tampered(TAMPERED[name], seal=True), Conventions())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "unknown format"),
        ('{"format":2}', "unknown format"),
        ('{"format":1}', "has been modified"),
        ('{"format":1,"dt":NaN}', "not JSON compliant"),
        ('{"format":1,"dt":1e400}', "not JSON compliant"),
    ],
)
def test_metadata_that_is_no_metadata(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.nir"
    write_nir(ours(), path)
    with h5py.File(path, "r+") as f:
        del f["node/metadata/purespike"]
        f["node/metadata"].create_dataset("purespike", data=text, dtype=TEXT)
    refused(path, message)


def test_the_hash_is_the_one_that_is_defined() -> None:
    """Computed once more from the words of its docstring."""
    import hashlib

    document = to_document(ours())
    data = json.loads(document.metadata)
    stated = data.pop("sha256")
    items: list[bytes] = []
    for name in sorted(document.nodes):
        fields = document.nodes[name]
        items += [name.encode(), str(len(fields)).encode()]
        for field in sorted(fields):
            value = fields[field]
            items.append(field.encode())
            if isinstance(value, str):
                items += [b"text", value.encode()]
            else:
                items += [f"{value.dtype.str}{list(value.shape)}".encode(), value.tobytes("C")]
    items += [name.encode() for edge in document.edges for name in edge]
    items.append(json.dumps(data, sort_keys=True, separators=(",", ":")).encode())
    whole = b"".join(len(i).to_bytes(8, "little") + i for i in items)
    assert hashlib.sha256(whole).hexdigest() == stated
