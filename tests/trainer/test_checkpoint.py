import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.output_cases import disk, snapshot
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from purespike.compiler.errors import PurespikeError
from purespike.compiler.storage import OutputError
from purespike.trainer.errors import CheckpointError, ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig, from_dict, to_dict
from purespike.trainer.networks.models import build
from purespike.trainer.nn.auxiliary import BalanceSchedule
from purespike.trainer.nn.surrogate import Sigmoid, Tanh
from purespike.trainer.training.checkpoint import load_checkpoint, save_checkpoint
from purespike.trainer.training.learner import TrainConfig

MODEL = ModelConfig(
    5,
    10,
    stem=4,
    widths=(4, 6),
    strides=(1, 2),
    gate="xor",
    neuron=NeuronConfig(decay=0.1, reset="subtract", amount=1.0, surrogate=Tanh(2.5)),
)
TRAIN = TrainConfig(epochs=7, balance=BalanceSchedule(0.3, "cosine"), fusion="loss")


@pytest.fixture
def folder(tmp_path):
    model = build(MODEL, 5)
    model(torch.ones(4, 2, 5, 8, 8))  # moves the running statistics away from their start
    return save_checkpoint(tmp_path / "model", model, TRAIN, {"accuracy": 0.5})


def test_round_trip_is_bit_equal(folder):
    model = build(MODEL, 5)
    model(torch.ones(4, 2, 5, 8, 8))
    model.eval()
    loaded = load_checkpoint(folder)
    expected, got = model.state_dict(), loaded.model.state_dict()
    assert list(expected) == list(got)
    assert all(torch.equal(expected[k], got[k]) for k in expected)
    assert loaded.model.config == MODEL and loaded.train_config == TRAIN
    assert not loaded.model.training
    assert loaded.metrics == {"accuracy": 0.5}
    assert set(loaded.versions) == {"purespike", "torch"}
    x = (torch.rand(4, 3, 5, 8, 8) < 0.5).float()
    for head, logits in model(x).items():
        assert torch.equal(logits, loaded.model(x)[head])


def test_same_network_same_bytes_and_nothing_left_beside_it(folder, tmp_path):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert set(before) == {"checkpoint.json", "weights.safetensors"}
    save_checkpoint(folder, load_checkpoint(folder).model, TRAIN, {"accuracy": 0.5})
    assert before == {p.name: p.read_bytes() for p in folder.iterdir()}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "checkpoint.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format_version=2), "another format version"),
        (lambda d: d.pop("format_version"), "another format version"),
        (lambda d: d["model"].update(gate="nand"), "unknown residual gate"),
        (lambda d: d["model"]["neuron"]["surrogate"].update(name="exec"), "unknown surrogate"),
        (lambda d: d["model"].update(depth=3), "unknown names"),
        (lambda d: d["model"].pop("classes"), "names are missing"),
        (lambda d: d["model"].update(widths="wide"), "wrong type"),
        (lambda d: d["model"].update(widths=[4, 8]), "does not fit"),
        (lambda d: d["model"].update(size=[8]), "wrong type"),
        (lambda d: d["model"].update(aap=False), "not those of the described network"),
        (lambda d: d.pop("train"), "wrong type"),
        (lambda d: d["train"].update(epochs=2.5), "wrong type"),
        (lambda d: d["train"]["balance"].update(kind="step"), "unknown schedule"),
    ],
)
def test_wrong_descriptions(folder, change, message):
    edit(folder, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(folder)
    assert caught.value.where and caught.value.remedy and caught.value.allowed


def poison(weights: dict[str, torch.Tensor]) -> None:
    weights["fc.weight"][0, 0] = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("fc.bias"), r"missing: fc\.bias; extra: none"),
        (lambda w: w.update(extra=torch.zeros(1)), "missing: none; extra: extra"),
        (lambda w: w.update({"fc.bias": torch.zeros(11)}), "does not fit"),
        (lambda w: w.update({"fc.bias": torch.zeros(10, dtype=torch.float64)}), "does not fit"),
        (poison, "1 NaN"),
    ],
)
def test_wrong_weights(folder, change, message):
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "weights.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["checkpoint.json", "weights.safetensors"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04garbage", b"[1]", b"[" * 100_000])
def test_missing_and_damaged_files(folder, name, content):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name.split(".")[0]):
        load_checkpoint(folder)


def test_a_missing_folder(tmp_path):
    with pytest.raises(PurespikeError, match="missing"):
        load_checkpoint(tmp_path / "nowhere")


def test_a_diverged_network_is_not_written(tmp_path):
    model = build(MODEL, 0)
    model.fc.weight.data[0, 0] = float("inf")
    with pytest.raises(CheckpointError, match="not finite"):
        save_checkpoint(tmp_path / "model", model, TRAIN, {})
    assert list(tmp_path.iterdir()) == []


def test_other_peoples_folders_are_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        save_checkpoint(tmp_path, build(MODEL, 0), TRAIN, {})
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_users_own_file_in_a_checkpoint_is_not_lost(folder):
    assert json.loads((folder / "checkpoint.json").read_text())["purespike"] == "checkpoint"
    (folder / "notes.txt").write_text("mine")
    before = snapshot(folder.parent)
    with pytest.raises(OutputError, match="did not write") as refused:
        save_checkpoint(folder, build(MODEL, 0), TRAIN, {})
    assert refused.value.found == "notes.txt"
    assert snapshot(folder.parent) == before


def test_a_checkpoint_from_before_the_mark_is_read_and_replaced(folder):
    edit(folder, lambda d: d.pop("purespike"))
    model = load_checkpoint(folder).model
    save_checkpoint(folder, model, TRAIN, {"accuracy": 1})
    assert load_checkpoint(folder).metrics == {"accuracy": 1}


def test_a_full_disk_keeps_the_old_checkpoint(folder, tmp_path):
    with disk(tmp_path / "disk") as small:
        kept = save_checkpoint(small / "model", build(MODEL, 0), TRAIN, {})
        room = os.statvfs(small)
        (small / "filler").write_bytes(b"x" * (room.f_bavail - 3) * room.f_bsize)
        before = snapshot(small)
        with pytest.raises(OutputError, match="cannot be written") as full:
            save_checkpoint(kept, build(MODEL, 1), TRAIN, {})
        assert full.value.where == str(kept) and snapshot(small) == before


@given(
    st.builds(
        ModelConfig,
        in_channels=st.integers(1, 9),
        classes=st.integers(1, 99),
        size=st.tuples(st.integers(1, 64), st.integers(1, 64)),
        widths=st.just((3, 4, 5)),
        strides=st.tuples(*[st.integers(1, 3)] * 3),
        gate=st.sampled_from(["and", "or", "iand", "xor", "sn", "add"]),
        aap=st.booleans(),
        neuron=st.builds(
            NeuronConfig,
            decay=st.floats(0, 1),
            amount=st.none() | st.floats(0.1, 9),
            surrogate=st.builds(Sigmoid, st.floats(0.1, 9)),
        ),
    )
)
def test_configurations_survive_json(config):
    data = json.loads(json.dumps(to_dict(config)))
    assert from_dict(ModelConfig, data) == build(data).config == config


def test_whole_numbers_are_read_as_numbers_and_truth_values_are_not():
    data = to_dict(TRAIN) | {"learning_rate": 1}
    assert from_dict(TrainConfig, data) == replace(TRAIN, learning_rate=1.0)
    with pytest.raises(ConfigError, match=r"TrainConfig\.epochs"):
        from_dict(TrainConfig, to_dict(TRAIN) | {"epochs": True})
