"""What an interrupted training keeps, and that resuming it equals never having stopped."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from purespike.trainer.data import DataConfig, digits
from purespike.trainer.errors import TrainingInterrupted
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.nn.auxiliary import BalanceSchedule
from purespike.trainer.training import batches as feed
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.fit import train
from purespike.trainer.training.learner import Learner
from purespike.trainer.training.logs import read_run
from purespike.trainer.training.settings import TrainConfig

MODEL = ModelConfig(5, 10, steps=2, stem=4, widths=(4, 6), strides=(2, 1))
CONFIG = TrainConfig(epochs=3, batch_size=30, learning_rate=0.1, seed=3)


@pytest.fixture(autouse=True)
def few(monkeypatch) -> None:
    """Ninety digits are enough to tell two trainings apart."""
    d = digits()
    few = replace(
        d,
        train_images=d.train_images[:90],
        train_labels=d.train_labels[:90],
        test_images=d.test_images[:40],
        test_labels=d.test_labels[:40],
    )
    monkeypatch.setattr(feed, "digits", lambda: few)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "model").model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def cut_short(monkeypatch, config, folder, *, epoch, batch=1, model=MODEL, **more) -> str:
    """Train until the user stops it in this batch; the error."""
    original = Learner.training_step

    def step(self, given, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            raise KeyboardInterrupt
        return original(self, given, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "training_step", step)
        with pytest.raises(TrainingInterrupted) as caught:
            train(model, config, folder, progress=False, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "data"),
    [
        ({"precision": "bf16", "recompute": True, "warmup": 1, "gradient_clip": 0.5}, None),
        ({"precision": "bf16", "channels_last": True}, None),
        ({"spike_kernels": True}, None),
        ({"balance": BalanceSchedule(0.25, "cosine"), "optimizer": "adamw"}, None),
        pytest.param({"precision": "bf16"}, None, marks=pytest.mark.slow),
        pytest.param({"recompute": True}, None, marks=pytest.mark.slow),
        pytest.param({"balance": BalanceSchedule(1.0, "constant")}, None, marks=pytest.mark.slow),
        pytest.param({"schedule": "step", "step_epochs": 1}, None, marks=pytest.mark.slow),
        pytest.param({"sync_batchnorm": False, "fusion": "loss"}, None, marks=pytest.mark.slow),
        pytest.param(
            {"batch_size": 479},
            DataConfig(augment=("crop:1", "cutout:2"), encoder="rate"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_resumed_training_equals_one_that_was_never_stopped(tmp_path, monkeypatch, change, data):
    config = replace(CONFIG, **change)
    model = replace(MODEL, in_channels=1) if data else MODEL
    train(model, config, tmp_path / "whole", progress=False, data=data)
    cut_short(monkeypatch, config, tmp_path / "cut", epoch=1, batch=2, model=model, data=data)
    cut_short(
        monkeypatch, config, tmp_path / "cut", epoch=2, batch=1, model=model, data=data,
        resume_from=tmp_path / "cut",
    )  # fmt: skip
    train(model, config, tmp_path / "cut", progress=False, data=data, resume_from=tmp_path / "cut")
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    whole, cut = (read_run(tmp_path / name).values for name in ("whole", "cut"))
    assert whole == cut


def accuracies(monkeypatch, *values: float) -> None:
    """Validation accuracies by epoch, instead of the measured ones."""
    monkeypatch.setattr(
        Learner,
        "on_validation_epoch_end",
        lambda self: self.log("val_accuracy", values[self.current_epoch]),
    )


HELD_OUT = replace(CONFIG, epochs=5, validation=20, deploy="best", batch_size=35)


@pytest.mark.parametrize("moved", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_resumed_training_remembers_its_best_epoch(tmp_path, monkeypatch, moved):
    accuracies(monkeypatch, 0.5, 0.9, 0.6, 0.7, 0.4)
    train(MODEL, HELD_OUT, tmp_path / "whole", progress=False)
    cut_short(monkeypatch, HELD_OUT, tmp_path / "cut", epoch=2)
    old = folder = tmp_path / "cut"
    if moved:  # to another machine, say, and resumed into yet another folder
        old, folder = tmp_path / "moved", tmp_path / "new"
        shutil.move(tmp_path / "cut", old)
    train(MODEL, HELD_OUT, folder, progress=False, resume_from=old)
    best = torch.load(folder / "best.ckpt", weights_only=True)
    assert best["epoch"] == 1
    assert same(weights(tmp_path / "whole"), weights(folder))


@pytest.mark.parametrize("epoch", [pytest.param(2, marks=pytest.mark.slow), 3, None])
def test_a_resumed_training_stops_early_where_the_whole_one_does(tmp_path, monkeypatch, epoch):
    """Interrupted while it waits, in its last epoch, and after it has stopped."""
    config = replace(HELD_OUT, patience=2, deploy="last")
    accuracies(monkeypatch, 0.5, 0.6, 0.6, 0.55, 0.9)
    train(MODEL, config, tmp_path / "whole", progress=False)
    if epoch is None:
        train(MODEL, config, tmp_path / "cut", progress=False)
    else:
        cut_short(monkeypatch, config, tmp_path / "cut", epoch=epoch)
    train(MODEL, config, tmp_path / "cut", progress=False, resume_from=tmp_path / "cut")
    assert sorted(read_run(tmp_path / "cut").values["loss"]) == [1, 2, 3, 4]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_resuming_a_finished_training_changes_nothing(tmp_path):
    config = replace(CONFIG, epochs=1)
    first = train(MODEL, config, tmp_path, progress=False)
    before = weights(tmp_path)
    again = train(MODEL, config, tmp_path, progress=False, resume_from=tmp_path)
    assert same(before, weights(tmp_path)) and again.correct == first.correct


def test_a_new_training_in_an_old_folder_has_a_log_of_its_own(tmp_path, monkeypatch):
    train(MODEL, CONFIG, tmp_path, progress=False)
    short = replace(CONFIG, epochs=2, seed=4)
    says = cut_short(monkeypatch, short, tmp_path, epoch=0)
    assert "start again" in says and "last.ckpt" not in says  # that one is the old training's
    assert "resume from" in cut_short(monkeypatch, short, tmp_path, epoch=1)
    train(MODEL, short, tmp_path, progress=False, resume_from=tmp_path)
    assert sorted(read_run(tmp_path).values["loss"]) == [1, 2]


def test_an_interruption_names_the_file_it_was_resumed_from(tmp_path, monkeypatch):
    cut_short(monkeypatch, CONFIG, tmp_path / "a", epoch=1)
    says = cut_short(monkeypatch, CONFIG, tmp_path / "b", epoch=1, resume_from=tmp_path / "a")
    assert f"resume from {tmp_path / 'a' / 'last.ckpt'}" in says
