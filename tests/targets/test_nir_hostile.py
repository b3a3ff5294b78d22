"""Damaged and hostile files: each gives one clear error, in time, and touches nothing."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import h5py
import nir
import pytest
from helpers.nir_hostile import CASES, SECRET, TEXT, good

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, build
from purespike.compiler.ir.ops import Add, Delay, Linear, Neuron
from purespike.targets.nir.document import Document, canonical, content_hash
from purespike.targets.nir.emit import to_document, write_nir
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.guard import guard
from purespike.targets.nir.read import _read, read_nir

SAID: dict[str, Any] = {
    "dt": 1e-3, "steps": 3, "reset": "zero", "if_r": "step", "fires": "above"
}  # fmt: skip
FIXTURES = Path(__file__).parents[1] / "data" / "nir"


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
def test_files_that_crash_or_hang_the_library(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "SECONDS", 2)  # one that hangs uses them all
    path = tmp_path / name
    path.write_bytes((FIXTURES / name).read_bytes())
    started = processor_time()
    with pytest.raises(NirFileError):
        read_nir(path, **SAID)
    assert processor_time() - started < 4


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
