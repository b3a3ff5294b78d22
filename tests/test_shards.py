"""A test set in parts: on every executor, in processes, on a cluster, after a kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.dask_cluster import cluster
from helpers.flow_cases import CLASSES, FAST, STEPS, resnet, subject
from msgspec import structs
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import UsageError
from purespike.compiler.storage import OutputError
from purespike.errors import InputError
from purespike.flow import shard_runs, shards, testset
from purespike.flow.build import build
from purespike.flow.shard_runs import LostWorkers
from purespike.flow.testset import TestSet as Found
from purespike.flow.testset import run_test_set
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.lava.run.cluster import ClusterError

SAMPLES = 30


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "bundle"
    build(subject(resnet("or")), FAST).save(folder)
    return folder


@pytest.fixture(scope="module")
def data(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    shape = read_bundle(bundle).graph.inputs[0].shape
    rng = np.random.default_rng(5)
    x = (rng.random((STEPS, SAMPLES, *shape)) < 0.4).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "test.npz"
    np.savez(path, inputs=x, labels=rng.integers(0, CLASSES, SAMPLES))
    return path


def ran(bundle: Path, data: Path, progress: Any = lambda *_: None, **options: Any) -> Found:
    graph = read_bundle(bundle).graph
    model = (bundle / "model.onnx").read_bytes()
    return run_test_set(graph, data, model=model, progress=progress, **options)


def alike(a: Found, b: Found) -> bool:
    """The same but for what ran it, how long, and whether anew."""
    accuracy = [t.accuracy and structs.replace(t.accuracy, stage="") for t in (a, b)]
    rest = [replace(t, backend="cpu", seconds=0.0, resumed=0, accuracy=None) for t in (a, b)]
    return accuracy[0] == accuracy[1] and rest[0] == rest[1]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testset, "MOST", 4)


def test_onnx_runtime_says_what_the_cpu_executor_says(bundle: Path, data: Path) -> None:
    whole = ran(bundle, data)
    assert alike(ran(bundle, data, backend="onnx"), whole) and not whole.different


@pytest.mark.slow
def test_lava_says_what_the_cpu_executor_says(bundle: Path, data: Path) -> None:
    few = ran(bundle, data, samples=3)
    assert alike(ran(bundle, data, samples=3, backend="lava", jobs=1), few)


@pytest.mark.usefixtures("small_parts")
def test_processes_side_by_side_say_the_same(bundle: Path, data: Path) -> None:
    done: list[int] = []
    again: list[int] = []

    def seen(stage: str, k: int, n: int) -> None:
        (done if stage == "test set" else again).append(k)

    found = ran(bundle, data, seen, jobs=2)
    assert alike(found, ran(bundle, data))
    assert again == list(range(found.replayed + 1))
    assert done == sorted(done) and done[0] == 0 and done[-1] == SAMPLES and len(done) == 9


@pytest.mark.usefixtures("small_parts")
def test_a_killed_process_costs_its_part_and_no_other(bundle: Path, data: Path) -> None:
    killed: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        children = multiprocessing.active_children()
        if done and not killed and children:
            killed.append(children[0].pid or 0)
            os.kill(killed[0], signal.SIGKILL)

    found = ran(bundle, data, kill, jobs=2)
    assert killed and alike(found, ran(bundle, data))


def test_a_part_whose_processes_keep_dying_is_given_up(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_runs, "run_task", _dies)
    with pytest.raises(LostWorkers, match="3 times") as e:
        ran(bundle, data, jobs=1)
    assert "--jobs" in str(e.value.remedy)


def _dies(task: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.usefixtures("small_parts")
def test_a_run_that_was_stopped_goes_on_from_its_finished_parts(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"

    def stop(stage: str, done: int, total: int) -> None:
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran(bundle, data, stop, shards=folder)
    names = sorted(p.name for p in folder.iterdir())
    assert names[:2] == ["00000000-00000004.npz", "00000004-00000008.npz"]
    assert len(names) == 4 and names[-1] == "shards.json"
    (folder / names[1]).write_bytes(b"half of")  # a disk that lies: run again, not believed
    found = ran(bundle, data, shards=folder)
    assert found.resumed == 8 and alike(found, ran(bundle, data))
    again = ran(bundle, data, shards=folder)
    assert again.resumed == SAMPLES and alike(again, found)
    assert "30 of them were there from an earlier run" in " ".join(again.lines())


def test_parts_of_another_run_are_not_mixed_in(bundle: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    ran(bundle, data, samples=2, shards=folder)
    with pytest.raises(InputError, match="another run") as e:
        ran(bundle, data, samples=2, shards=folder, backend="onnx")
    assert e.value.found == "another executor" and "--shards" in str(e.value.remedy)
    other = tmp_path / "other.npz"
    with np.load(data) as file:
        np.savez(other, inputs=file["inputs"], labels=file["labels"][::-1])
    with pytest.raises(InputError) as e:
        ran(bundle, other, samples=2, shards=folder)
    assert e.value.found == "another data"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        ran(bundle, data, samples=2, shards=tmp_path / "mine")


@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
def test_a_cluster_says_the_same_and_a_killed_worker_costs_time(
    bundle: Path, data: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        if done and not killed:  # a part has come back, others wait or run
            victim = dask.workers[0]
            victim.kill()
            killed.append(victim.wait())

    with cluster(tmp_path, workers=2) as dask:
        found = ran(bundle, data, scheduler=dask.address)
        lost = ran(bundle, data, kill, scheduler=dask.address)
    assert alike(found, ran(bundle, data))
    assert killed == [-signal.SIGKILL] and alike(lost, found)
    with pytest.raises(ClusterError):
        ran(bundle, data, scheduler="tcp://127.0.0.1:1")
    with pytest.raises(UsageError, match="jobs"):
        ran(bundle, data, scheduler="tcp://127.0.0.1:1", jobs=2)


def test_an_executor_that_differs_is_an_exit_code(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_run = shards.run_onnx

    def lies(*arguments: Any) -> Any:
        trace = true_run(*arguments)
        first = next(n for n in trace.values if n not in read_bundle(bundle).graph.outputs)
        trace.values[first][0, 1].flat[3] = 1 - trace.values[first][0, 1].flat[3]
        return trace

    monkeypatch.setattr(shards, "run_onnx", lies)
    command = ["simulate", str(bundle), "--data", str(data), "--backend", "onnx"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and "NOT EQUAL" in result.output
    assert "(0, 1, " in result.output  # the step and the sample


def test_what_the_command_prints_and_refuses(bundle: Path, data: Path, tmp_path: Path) -> None:
    command = ["simulate", str(bundle), "--data", str(data), "--backend", "onnx"]
    result = CliRunner().invoke(app, [*command, "--shards", str(tmp_path / "parts")])
    assert result.exit_code == 0, result.output
    assert f"{SAMPLES} samples on ONNX Runtime" in result.output
    assert "the cpu executor ran all of them, too" in result.output
    assert "95 % interval" in result.output and "By class" in result.output
    for option, rest in (
        ("--stock", ["--data", str(data)]),
        ("--on", ["onnx"]),
        ("--shards", [str(tmp_path / "parts")]),
    ):
        words = [*rest, option] if option == "--stock" else [option, *rest]
        error = CliRunner().invoke(app, ["simulate", str(bundle), *words]).exception
        assert isinstance(error, UsageError) and f"leave {option} out" in str(error.remedy)
