"""NIR files that are damaged or hostile, by what is wrong with them, and what the error says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

TEXT = h5py.string_dtype()
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
