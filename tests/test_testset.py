"""`purespike simulate BUNDLE --data FILE`: a whole test set on the cpu executor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.flow_cases import CLASSES, FAST, STEPS, resnet, subject
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.labels import LabelError
from purespike.errors import InputError
from purespike.flow import testset
from purespike.flow.build import build
from purespike.flow.testset import run_test_set
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.onnx.run import run_onnx

SAMPLES = 45


def quiet(stage: str, done: int, total: int) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("testset") / "bundle"
    build(subject(resnet("or")), FAST).save(folder)
    return folder


@pytest.fixture
def data(bundle: Path, tmp_path: Path) -> Path:
    shape = read_bundle(bundle).graph.inputs[0].shape
    rng = np.random.default_rng(5)
    x = (rng.random((STEPS, SAMPLES, *shape)) < 0.4).astype(np.uint8)
    path = tmp_path / "test.npz"
    np.savez(path, inputs=x, labels=rng.integers(0, CLASSES, SAMPLES))
    return path


@pytest.mark.parametrize("spikes_at_a_time", [1 << 28, 3000])
def test_accuracy_classes_and_rates_are_those_of_onnx_runtime(
    bundle: Path, data: Path, spikes_at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testset, "BYTES", spikes_at_a_time)
    loaded = read_bundle(bundle)
    stages: list[int] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "test set":
            stages.append(done)

    found = run_test_set(loaded.graph, data, progress=progress)
    with np.load(data) as file:
        x, labels = file["inputs"], file["labels"]
    run = run_onnx(bundle / "model.onnx", loaded.graph, x)
    name = loaded.graph.outputs[0]
    # An integrator is read at the last step; a neuron that fires by its spikes.
    scores = run.values[name].sum(0) if name in run.values else run.membranes[name][-1]
    if name in loaded.golden.membranes and name not in loaded.golden.spikes:
        scores = run.membranes[name][-1]
    decided = scores.reshape(SAMPLES, -1).argmax(1)
    assert found.accuracy is not None
    assert found.accuracy.correct == int((decided == labels).sum())
    for k, of, right, named in found.classes:
        assert of == int((labels == k).sum()) and named == int((decided == k).sum())
        assert right == int(((labels == k) & (decided == k)).sum())
    assert len(found.classes) == CLASSES and found.samples == stages[-1] == SAMPLES
    assert (len(stages) > 2) == (spikes_at_a_time == 3000)
    for layer, rate in found.rates.items():
        assert rate == pytest.approx(float(run.values[layer].mean()), rel=1e-12)
    assert set(found.rates) == set(loaded.golden.spikes) and not found.different


def test_the_command_says_what_ran_and_what_was_compared(bundle: Path, data: Path) -> None:
    result = CliRunner().invoke(app, ["simulate", str(bundle), "--data", str(data)])
    assert result.exit_code == 0, result.output
    assert f"{SAMPLES} samples on the cpu executor" in result.output
    assert "95 % interval" in result.output and "every spike and membrane" in result.output
    few = ["simulate", str(bundle), "--data", str(data), "--samples", "5"]
    assert "5 samples on the cpu executor" in CliRunner().invoke(app, few).output


def test_a_difference_from_the_interpreter_is_an_exit_code(
    bundle: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = testset.run

    def other(graph, x, **kept):  # type: ignore[no-untyped-def]
        trace = real(graph, x, **kept)
        name = graph.outputs[0]
        trace.membranes[name][1, 0] += 1  # one membrane by one unit
        return trace

    monkeypatch.setattr(testset, "run", other)
    result = CliRunner().invoke(app, ["simulate", str(bundle), "--data", str(data)])
    assert result.exit_code == 1 and "NOT EQUAL" in result.output
    assert "every spike and membrane" not in result.output


def test_data_of_another_network_is_refused(bundle: Path, data: Path, tmp_path: Path) -> None:
    graph = read_bundle(bundle).graph
    with np.load(data) as file:
        x, labels = file["inputs"], file["labels"]
    other = tmp_path / "other.npz"

    def refused(error: type[Exception], words: str, **arrays: object) -> None:
        np.savez(other, **arrays)  # type: ignore[arg-type]
        with pytest.raises(error, match=words):
            run_test_set(graph, other, progress=quiet)

    refused(InputError, "does not fit the network", inputs=x[:2], labels=labels)
    refused(InputError, "does not fit the network", inputs=x[..., :-1], labels=labels)
    refused(InputError, "receives spikes", inputs=x * 2, labels=labels)
    refused(LabelError, "none of the classes", inputs=x, labels=labels + CLASSES)
    np.savez(other, inputs=x)
    found = run_test_set(graph, other, progress=quiet)
    assert found.accuracy is None and "no labels" in " ".join(found.lines())
