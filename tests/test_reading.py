"""The guard around a user's files: what it refuses, and how little of a file is held at a time."""

from __future__ import annotations

import ast
import gc
import io
import json
import os
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from helpers.fuzz_formats import bundle

from purespike.cli.app import main
from purespike.compiler.errors import UsageError
from purespike.compiler.files import archives, parsing
from purespike.compiler.files.reading import opened, read_bytes, read_text
from purespike.compiler.rules.policy import PolicyError, read_policy
from purespike.errors import InputError
from purespike.flow.inputs.datafile import peek, read_data
from purespike.targets.bundle import naming
from purespike.targets.bundle.bundle import read_golden
from purespike.targets.bundle.golden_network import replay_rows
from purespike.targets.bundle.manifest import BundleError
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.read import parse_onnx


def test_a_file_is_read_up_to_its_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\r\nb\rc\n")
    assert read_bytes(path, 7, UsageError, "it") == b"a\r\nb\rc\n"
    assert read_text(path, 7, UsageError, "it") == "a\nb\nc\n" == path.read_text()
    with pytest.raises(UsageError, match="it is too large") as e:
        read_bytes(path, 6, UsageError, "it")
    assert e.value.found == "7 bytes" and e.value.allowed == "at most 6 bytes"
    tracemalloc.start()
    read_bytes(path, 1 << 40, UsageError, "it")  # what may be read is not reserved
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 16


def test_a_pipe_and_a_device_are_refused_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "p.toml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(UsageError, match="not a regular file"), opened(path, 9, UsageError, ""):
            pass
    with pytest.raises(PolicyError, match="the policy is not a regular file") as e:
        read_policy(pipe)
    assert "a pipe" in e.value.found and "save it" in e.value.text("command line")
    with pytest.raises(InputError, match="not a regular file"):
        peek(pipe)
    with pytest.raises(OnnxError, match="not a regular file"):
        parse_onnx(pipe)
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path / "none.toml")


def packed(**members: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    buffer.seek(0)
    return buffer


def array(shape: tuple[int, ...], count: int, kind: str = "u1", version: int = 1) -> bytes:
    header = f"{{'descr': '|{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    start = b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little")
    return start + header.encode() + bytes(count)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (array((1 << 40,), 9), "needs 1099511627"),
        (array((3,), 2), "needs"),
        (array((3,), 4), "needs"),
        (array((-1,), 0), "shape"),
        (array((1,), 1, version=9), "version"),
        (b"no array", "magic"),
    ],
)
def test_an_array_that_is_not_as_long_as_it_says_is_never_allocated(
    content: bytes, words: str
) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=words):
        archives.arrays(packed(fine=array((2, 2), 4), a=content))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_arrays_that_unpack_to_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = packed(a=array((600,), 600), b=array((600,), 600))
    assert set(archives.arrays(file, ["a"])) == {"a"}
    monkeypatch.setattr(archives, "UNPACKED", 1000)
    with pytest.raises(ValueError, match="and at most 1000 are read"):
        archives.arrays(file)


class _Garbage:
    """Leaves itself to the collector, which runs Python code then: inside of other code in C."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        pass


@pytest.fixture
def many_turns() -> Iterator[None]:
    """Threads take turns all the time, also inside of Python's parser (3.11)."""
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(10)
    sys.setswitchinterval(1e-5)
    yield
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("many_turns")
def test_arrays_are_read_whatever_other_threads_read() -> None:
    content = packed(a=array((3, 2), 6), b=array((5,), 5)).getvalue()
    disturbed = [0] * 4
    ends = time.monotonic() + 20

    def work(index: int) -> None:
        # Of Python 3.11, whose parser is disturbed: until that was seen, or for 20 s.
        for _ in range(300):
            _Garbage()
            assert archives.arrays(io.BytesIO(content))["a"].shape == (3, 2)
        while sys.version_info < (3, 12) and not any(disturbed) and time.monotonic() < ends:
            _Garbage()
            assert set(archives.arrays(io.BytesIO(content))) == {"a", "b"}
            try:
                ast.literal_eval("{'shape': (3, 2), 'order': False, 'descr': '|u1'}")
            except SystemError:
                disturbed[index] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_what_goes_on_going_wrong_is_raised() -> None:
    calls = []

    def fail(words: str) -> None:
        calls.append(words)
        raise SystemError(words)

    with pytest.raises(SystemError, match="another"):
        parsing.parsed(lambda: fail("another"))
    assert len(calls) == 1
    with pytest.raises(SystemError, match="mismatch"):
        parsing.parsed(lambda: fail("AST constructor recursion depth mismatch"))
    assert len(calls) == 1 + parsing.TRIES


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["f8", "i8", ">i4", "f2", "?", "u1"])
@pytest.mark.parametrize("last", [0, 1, 0.75, -2])
def test_data_is_read_as_numpy_reads_and_casts_it(
    order: str, kind: str, last: float, tmp_path: Path
) -> None:
    """In blocks of less than a row; where the last value alone is not 0 or 1, all are numbers."""
    x = np.random.default_rng(0).integers(0, 2, (7, 5, 3)).astype(kind)
    x[-1, -1, -1] = abs(last) if kind == "u1" else last
    np.savez(tmp_path / "d.npz", inputs=np.asarray(x, order=order))
    whole = x.astype(np.uint8 if set(np.unique(x)) <= {0, 1} else np.float32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("purespike.flow.inputs.datafile.BLOCK", 4)
        found = read_data(tmp_path / "d.npz")["inputs"]
    assert found.dtype == whole.dtype and np.array_equal(found, whole)


@pytest.mark.parametrize(("kind", "scale", "bytes_"), [("f8", 0.3, 4), ("i8", 1, 1), ("f4", 7, 4)])
def test_data_is_never_held_whole_as_it_was_saved(
    kind: str, scale: float, bytes_: int, tmp_path: Path
) -> None:
    """A byte for a spike, four for a number, and blocks: eight of int64 were held before."""
    values = np.random.default_rng(0).integers(0, 2, (8, 1 << 10, 1 << 10))
    np.savez(tmp_path / "d.npz", inputs=(values * scale).astype(kind))
    peek(tmp_path / "d.npz")
    tracemalloc.start()
    found = read_data(tmp_path / "d.npz")["inputs"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    finite = values.size * (bytes_ == 4)  # a flag per number: is it one?
    assert found.nbytes == bytes_ * values.size
    assert peak < found.nbytes + finite + (24 << 20)


@pytest.mark.parametrize("file", ["golden.npz", "golden_network.json", "lava/program.json"])
def test_where_a_layer_is_named_is_looked_up_within_limits(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(tmp_path)
    assert file in naming.files_with(folder, "if")
    monkeypatch.setattr(naming, "_LARGEST_TEXT", 64)
    monkeypatch.setattr(naming, "_LARGEST_GOLDEN", 64)
    for other in {"golden.npz", "golden_network.json", "lava/program.json"} - {file}:
        (folder / other).unlink()
    with pytest.raises(BundleError, match="a file of the bundle is too large"):
        naming.files_with(folder, "if")


def test_golden_vectors_that_say_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(packed(inputs=array((1 << 36,), 4), labels=array((1,), 1)).getvalue())
    with pytest.raises(BundleError, match="the golden vectors cannot be read") as e:
        read_golden(path)
    assert "needs" in e.value.found


@pytest.mark.parametrize(
    ("old", "new"),
    [('"shape": [\n    3\n', '"shape": [\n    3000000000\n'), ('"nodes"', '"n"')],
)
def test_a_golden_network_of_sizes_that_nothing_recorded_is_refused(
    old: str, new: str, tmp_path: Path
) -> None:
    folder = bundle(tmp_path)
    assert replay_rows(folder)
    path = folder / "golden_network.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BundleError, match="cannot be replayed"):
        replay_rows(folder)


@pytest.mark.parametrize(
    "words",
    [("replay",), ("check", "--no-lava"), ("verify", "--no-lava"), ("simulate",),
     ("report", "--format", "html"), ("export", "--to", "c")],
    ids=lambda words: words[0],
)  # fmt: skip
def test_an_empty_golden_file_is_one_error_of_every_command(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Its hashes are right: only what reads it can tell."""
    folder = bundle(tmp_path)
    (folder / "golden.npz").write_bytes(b"")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["golden.npz"] = {"bytes": 0, "sha256": sha256(b"").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    name, *rest = words
    out = ["--out", str(tmp_path / "out")] if name in ("report", "export") else []
    monkeypatch.setattr("sys.argv", ["purespike", name, str(folder), *rest, *out])
    with pytest.raises(SystemExit) as e:
        main()
    said = capfd.readouterr().err
    assert e.value.code == 2, said
    assert said.count("error: ") == 1 and "the golden vectors cannot be" in said
    assert "compile again" in said and "Aborted" not in said and not (tmp_path / "out").exists()
