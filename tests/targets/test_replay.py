"""The torch-free replay: an implementation of its own, equal to the interpreter bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.strategies import FIXED, chip_graphs, spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, build
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Gate, Linear, Neuron, Scale
from purespike.compiler.report.evidence import Evidence, Judged
from purespike.compiler.report.report import Report
from purespike.compiler.rules.policy import STRICT
from purespike.judge.executors import make_golden
from purespike.targets.bundle import replay as replay_script
from purespike.targets.bundle.bundle import read_golden, write_bundle
from purespike.targets.bundle.golden_network import (
    GoldenNetworkError,
    replay_bundle,
    write_golden_network,
)
from purespike.targets.bundle.manifest import BundleError
from purespike.targets.bundle.replay import Row, replay

BARRED = ["torch", "lightning", "nir", "onnx", "onnxruntime", "h5py", "lava", "sklearn", "scipy"]


def write(graph: Graph, folder: Path, samples: int = 3, seed: int = 0) -> Path:
    """A folder as the bundle has it, without the files of other targets."""
    golden = make_golden(graph, spikes(graph, samples, seed), np.zeros(samples, np.int64))
    arrays: dict[str, Any] = {"inputs": golden.inputs, "labels": golden.labels}
    arrays |= {f"spikes/{n}": a for n, a in golden.spikes.items()}
    arrays |= {f"membranes/{n}": a for n, a in golden.membranes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "golden.npz", **arrays)
    write_golden_network(graph, folder)
    return folder


def wrong(rows: list[Row]) -> list[Row]:
    return [r for r in rows if r.different]


@given(graph=chip_graphs(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_replay_as_the_interpreter_ran_them(
    graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = replay(write(graph, tmp_path_factory.mktemp("replay"), seed=seed))
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    assert len(rows) == 2 * len(neurons) - 1  # spikes and membranes; the readout has no spikes
    assert wrong(rows) == []


def recurrent() -> Graph:
    """A layer that hears itself two steps late."""
    r = np.random.default_rng(3)
    unit = Neuron(np.array(7.0), 1.0, "subtract", np.array(5.0), 2.0, fixed=FIXED)
    spike = Edge("", (5,), SPIKE)
    nodes = [
        Node(op, reads, replace(spike, name=name))
        for name, op, reads in (
            ("fc", Linear(r.integers(-9, 12, (5, 4)), r.integers(-3, 4, 5)), ("x",)),
            ("back", Linear(r.integers(-9, 10, (5, 5))), ("late",)),
            ("sum", Add(), ("fc", "back")),
            ("n", unit, ("sum",)),
            ("late", Delay(2), ("n",)),
        )
    ]
    return Graph((Edge("x", (4,), SPIKE),), (), ("n",), 9).rebuilt(nodes)


def test_a_recurrent_network_replays_with_its_delay(tmp_path: Path) -> None:
    graph = recurrent()
    folder = write(graph, tmp_path, samples=8)
    assert wrong(replay(folder)) == []
    network = json.loads((folder / "golden_network.json").read_text())
    next(n for n in network["nodes"] if n["op"] == "delay")["steps"] = 1
    (folder / "golden_network.json").write_text(json.dumps(network))
    assert {r.layer for r in wrong(replay(folder))} == {"n"}


def change(folder: Path, file: str, key: str, index: tuple[int, ...], by: int) -> None:
    with np.load(folder / file) as loaded:
        arrays: dict[str, Any] = {name: loaded[name] for name in loaded.files}
    arrays[key][index] += by
    np.savez(folder / file, **arrays)


def test_a_changed_spike_is_named_by_layer_step_and_index(tmp_path: Path) -> None:
    folder = write(recurrent(), tmp_path)
    with np.load(folder / "golden.npz") as loaded:
        before = int(loaded["spikes/n"][4, 1, 3])
    change(folder, "golden.npz", "spikes/n", (4, 1, 3), 1 - 2 * before)
    assert wrong(replay(folder)) == [
        Row("n", "spikes", 9 * 3 * 5, 1, (4, 1, 3), before, 1 - before)
    ]
    text = str(wrong(replay(folder))[0])
    assert "n: 1 of 135 spikes differ, first at step 4, sample 1, index (3,)" in text


def test_a_changed_weight_is_named_where_it_first_tells(tmp_path: Path) -> None:
    one = Linear(np.eye(3) * 4)
    graph = build(
        (Edge("x", (3,), SPIKE),),
        [
            ("a", one, ("x",)),
            ("first", Neuron(np.array(4.0), fixed=FIXED), ("a",)),
            ("b", one, ("first",)),
            ("second", Neuron(np.array(9.0), fixed=FIXED), ("b",)),
        ],
        ("second",),
        4,
    )
    folder = write(graph, tmp_path, samples=6)
    assert wrong(replay(folder)) == []
    change(folder, "golden_network.npz", "b/weight", (1, 1), 1)
    found = wrong(replay(folder))
    assert {r.layer for r in found} == {"second"}
    (membranes,) = [r for r in found if r.what == "membranes"]
    with np.load(folder / "golden.npz") as loaded:
        step, sample = np.argwhere(loaded["spikes/first"][:, :, 1])[0].tolist()
    assert membranes.first == (step, sample, 1)
    assert membranes.found - membranes.expected == 64  # one weight is 64 units of a membrane


@pytest.mark.parametrize(
    ("op", "says"),
    [
        (Scale(np.array(0.5)), "a weight is not whole"),
        (Gate("or"), "no form in whole numbers"),
        (Neuron(np.array(1.0)), "no form in whole numbers"),
        (Neuron(np.array(1.3), fixed=FIXED), "a threshold is not whole"),
    ],
)
def test_what_is_no_integer_network_is_refused_by_name(op: Any, says: str, tmp_path: Path) -> None:
    reads = ("x", "x") if isinstance(op, Gate) else ("x",)
    graph = build((Edge("x", (3,), SPIKE),), [("culprit", op, reads)], ("culprit",), 2)
    with pytest.raises(GoldenNetworkError, match=says) as e:
        write_golden_network(graph, tmp_path)
    assert e.value.where == "culprit"


def bundle(folder: Path) -> Path:
    """A whole bundle of a small convolutional network."""
    r = np.random.default_rng(1)
    kernel = r.integers(-20, 40, (4, 1, 3, 3))
    graph = build(
        (Edge("x", (2, 6, 6), SPIKE),),
        [
            ("conv", Conv2d(kernel, r.integers(-5, 5, 4), (2, 1), (1, 1), groups=2), ("x",)),
            ("n", Neuron(np.array(50.0), fixed=FIXED), ("conv",)),
        ],
        ("n",),
        3,
    )
    golden = make_golden(graph, spikes(graph, 4, 0), np.zeros(4, np.int64))
    judged = Judged("case", "loihi2", STRICT, None, {}, 4, {}, {})
    report = Report.of(judged, (), Evidence())
    write_bundle(folder, report=report, options={}, versions={}, graph=graph, golden=golden)
    return folder


def test_the_command_replays_where_only_numpy_can_be_imported(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({BARRED}))\n"
        f"sys.argv = ['purespike', 'replay', {str(folder)!r}]\n"
        "from purespike.cli.app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "every sha256 is right" in done.stdout
    assert "2 recordings replayed with numpy alone: equal bit for bit" in done.stdout


def test_the_script_in_the_bundle_needs_no_purespike_and_finds_what_was_changed(
    tmp_path: Path,
) -> None:
    folder = bundle(tmp_path / "b")
    source = (folder / "replay.py").read_text()
    assert "import purespike" not in source and "from purespike" not in source
    assert len(source.splitlines()) < 200
    barred = f"import sys; sys.modules.update(dict.fromkeys({[*BARRED, 'purespike']}))\n"
    start = f"import runpy; runpy.run_path({str(folder / 'replay.py')!r}, run_name='__main__')"

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", f"{barred}sys.argv = ['replay.py']\n{start}"],
            capture_output=True,
            text=True,
        )

    done = run()
    assert (done.returncode, done.stdout) == (0, "2 of 2 recordings equal, bit for bit\n")
    change(folder, "golden.npz", "membranes/n", (1, 2, 3, 0, 5), 7)
    done = run()
    assert done.returncode == 1
    assert done.stdout == "golden.npz: not the file that was compiled (sha256)\n"
    with pytest.raises(BundleError, match="was changed"):
        replay_bundle(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["golden.npz"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    done = run()
    assert done.returncode == 1
    assert "n: 1 of 864 membranes differ" in done.stdout
    assert "step 1, sample 2, index (3, 0, 5)" in done.stdout


def test_samples_of_a_large_network_are_replayed_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(tmp_path / "b")
    rows = replay(folder)
    network = json.loads((folder / "golden_network.json").read_text())
    sizes = [np.prod(n["shape"]) for n in network["nodes"] if n["op"] == "neuron"]
    held = int(24 * network["steps"] * sum(sizes))
    taken: list[int] = []
    simulate = replay_script.simulate

    def watched(network: Any, numbers: Any, x: Any) -> Any:
        taken.append(x.shape[1])
        return simulate(network, numbers, x)

    monkeypatch.setattr(replay_script, "simulate", watched)
    assert replay(folder) == rows and len(taken) == 1 and taken[0] > 3
    for room, most in ((3 * (held + 1), 3), (1, 1)):
        monkeypatch.setattr(replay_script, "ROOM", room)
        taken.clear()
        assert replay(folder) == rows and max(taken) == most


def test_two_bundles_of_one_network_are_the_same_bytes_and_a_torn_one_is_refused(
    tmp_path: Path,
) -> None:
    one, two = bundle(tmp_path / "one"), bundle(tmp_path / "two")
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert {"golden_network.json", "golden_network.npz", "replay.py"} <= set(map(str, files))
    assert [f for f in files if (one / f).read_bytes() != (two / f).read_bytes()] == []
    (one / "golden_network.npz").unlink()
    with pytest.raises(BundleError, match="is missing"):
        replay_bundle(one)


def test_an_old_bundle_and_a_malformed_network_are_told_apart(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    write(recurrent(), folder)
    (folder / "golden_network.json").write_text('{"nodes": [{}], "steps": 1}')

    def manifest(names: list[str]) -> None:
        listed = {
            n: {"bytes": 0, "sha256": sha256((folder / n).read_bytes()).hexdigest()} for n in names
        }
        (folder / "manifest.json").write_text(json.dumps({"format": 1, "files": listed}))

    present = sorted(p.name for p in folder.iterdir())
    manifest(present)
    with pytest.raises(BundleError, match="cannot be replayed"):
        replay_bundle(folder)
    (folder / "golden_network.json").unlink()
    manifest([n for n in present if n != "golden_network.json"])
    with pytest.raises(BundleError, match=r"no golden_network\.json") as e:
        replay_bundle(folder)
    assert "compile again" in e.value.remedy


def test_whatever_is_damaged_is_one_line_of_the_script_and_one_error_of_the_command(
    tmp_path: Path,
) -> None:
    folder = bundle(tmp_path / "b")
    whole = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def listed_anew() -> None:
        manifest = json.loads(whole[folder / "manifest.json"])
        for name, entry in manifest["files"].items():
            content = (folder / name).read_bytes()
            entry |= {"bytes": len(content), "sha256": sha256(content).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    damage: dict[str, bytes | None] = {
        "golden_network.npz": None,
        "manifest.json": None,
        "golden.npz": b"",
        "golden_network.json": b"[" * 100_000,
    }
    for name, content in damage.items():
        path = folder / name
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
            listed_anew()
        command = [sys.executable, str(folder / "replay.py")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, ""), name
        assert done.stdout.startswith("cannot be replayed: ") and done.stdout.count("\n") == 1
        with pytest.raises(BundleError):
            replay_bundle(folder)
        if name == "golden.npz":
            with pytest.raises(BundleError, match="cannot be read"):
                read_golden(path)
        for file, old in whole.items():
            file.write_bytes(old)
