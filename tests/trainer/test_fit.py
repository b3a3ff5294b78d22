import csv
import os
import shutil
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.output_cases import disk, snapshot
from helpers.process_tools import started

from purespike.compiler.statistics import wilson_interval
from purespike.compiler.storage import OutputError
from purespike.trainer.data import digits
from purespike.trainer.errors import CheckpointError, ConfigError, TrainingDiverged
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build, main_only
from purespike.trainer.nn.auxiliary import BalanceSchedule
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.fit import evaluate, train
from purespike.trainer.training.learner import DeadLayerWarning, Learner, TrainConfig
from purespike.trainer.training.places import require_training

MODEL = ModelConfig(5, 10, steps=2, stem=4, widths=(4, 6), strides=(2, 1))
CONFIG = TrainConfig(epochs=2, batch_size=128, optimizer="sgd", learning_rate=0.1, seed=3)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "model").model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, train(MODEL, CONFIG, folder, progress=False)


def test_training_writes_what_it_says(run):
    folder, result = run
    assert (folder / "last.ckpt").is_file() and not (folder / "best.ckpt").exists()
    assert result.checkpoint == folder / "model"
    with (folder / "log" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert all(0 < float(row["first_layer_gradient_norm"]) < 100 for row in rows)
    assert {"rate/stem.2", "rate/blocks.0", "rate/blocks.1.neuron2"} <= set(rows[0])
    assert result.n == 360 and result.interval == wilson_interval(result.correct, 360)
    assert result.gradient_norm > 0


def test_the_reported_accuracy_is_that_of_the_deployed_network(run):
    folder, result = run
    loaded = load_checkpoint(folder / "model")
    d = digits()
    bare = main_only(loaded.model)
    counted = evaluate(bare, d.test_images, d.test_labels, loaded.train_config.encoder)
    assert counted == {"main": result.correct}
    assert result.heads["main"] == result.accuracy == loaded.metrics["accuracy"]
    assert set(result.heads) == {"main", "aap", "shortcut.0"}


def test_same_seed_same_weights_other_seed_other_weights(run, tmp_path):
    folder, _ = run
    train(MODEL, CONFIG, tmp_path / "again", progress=False)
    assert same(weights(folder), weights(tmp_path / "again"))
    train(MODEL, replace(CONFIG, seed=4), tmp_path / "other", progress=False)
    assert not same(weights(folder), weights(tmp_path / "other"))


INTERRUPTED = """
import os, signal, sys
from pathlib import Path
import lightning as L
from purespike.trainer.training import fit
from purespike.trainer.errors import TrainingInterrupted
from purespike.trainer.training.learner import Learner
sys.path[:0] = {tests!r}
from test_fit import CONFIG, MODEL

original = Learner.training_step
def step(self, batch, batch_idx):
    if self.current_epoch == 1 and batch_idx == 3:
        os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C does
    return original(self, batch, batch_idx)
Learner.training_step = step
handler = signal.getsignal(signal.SIGINT)
try:
    fit.train(MODEL, CONFIG, Path({folder!r}), progress=True)
except TrainingInterrupted as error:
    assert signal.getsignal(signal.SIGINT) is handler
    print(error)
    sys.exit(42)
"""


def test_ctrl_c_and_resume_equal_an_uninterrupted_training_bit_for_bit(run, tmp_path):
    folder, whole = run
    here = Path(__file__).parent
    folders = [str(here), str(here.parent)]  # of this file, and of what it imports
    script = INTERRUPTED.format(tests=folders, folder=str(tmp_path / "cut"))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started([sys.executable, "-c", script], **pipes, text=True) as child:
        output, errors = child.communicate(timeout=200)
    assert child.returncode == 42, errors
    assert "last.ckpt" in output
    for noise in ("GPU", "TPU", "💡", "Detected", "num_workers", "Warning", "Traceback"):
        assert noise not in output + errors
    assert not (tmp_path / "cut" / "model").exists()
    resumed = train(MODEL, CONFIG, tmp_path / "cut", resume_from=tmp_path / "cut", progress=False)
    assert same(weights(folder), weights(tmp_path / "cut"))
    assert resumed.correct == whole.correct


def test_resume_refuses_another_training(run, tmp_path):
    folder, _ = run
    with pytest.raises(CheckpointError, match="another training"):
        train(
            MODEL,
            replace(CONFIG, epochs=3),
            tmp_path,
            resume_from=folder / "last.ckpt",
            progress=False,
        )
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(MODEL, CONFIG, tmp_path, resume_from=tmp_path / "none.ckpt", progress=False)


def test_resume_of_a_damaged_file_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'pwned'}",))

    torch.save({"purespike": Evil()}, tmp_path / "last.ckpt")
    before = snapshot(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        train(MODEL, CONFIG, tmp_path, resume_from=tmp_path, progress=False)
    assert snapshot(tmp_path) == before


def test_a_training_replaces_no_file_of_someone_else(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "last.ckpt").write_text("another tool's")  # a common name among users of Lightning
    with pytest.raises(OutputError, match="holds something else"):
        train(MODEL, CONFIG, mine, progress=False)
    assert snapshot(mine) == {"last.ckpt": b"another tool's"}
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(MODEL, CONFIG, tmp_path / "new", resume_from=tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_ends_a_training_with_one_error(tmp_path):
    with disk(tmp_path / "disk", "40k") as small:
        with pytest.raises(OutputError, match="cannot be written") as full:
            train(MODEL, CONFIG, small / "run", progress=False)
        assert full.value.found == os.strerror(28)
        assert not (small / "run" / "model").exists()
        assert not list(small.rglob(".purespike-*"))
        assert "run" in full.value.where


def test_checkpoints_are_written_where_they_belong(run, tmp_path, monkeypatch):
    """Lightning writes them into TMPDIR; from another disk it copies them: a kill halves one."""
    with disk(tmp_path / "temporary", "4k") as small:
        monkeypatch.setattr("tempfile.tempdir", str(small))
        train(MODEL, CONFIG, tmp_path / "run", progress=False)
    assert (tmp_path / "run/last.ckpt").is_file()
    assert same(weights(tmp_path / "run"), weights(run[0]))


def test_a_users_file_in_the_checkpoint_is_found_before_the_training(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run[0], folder)
    require_training(folder)
    (folder / "model" / "notes.txt").write_text("mine")
    before = snapshot(folder)
    with pytest.raises(OutputError, match="did not write"):
        train(MODEL, CONFIG, folder, progress=False)
    assert snapshot(folder) == before


def test_validation_chooses_the_best_epoch(tmp_path):
    config = replace(CONFIG, validation=200, deploy="best", learning_rate=0.3)
    result = train(MODEL, config, tmp_path, progress=False)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    deployed = {f"model.{k}": v for k, v in weights(tmp_path).items()}
    assert same(best, deployed)
    assert 0 <= result.accuracy <= 1


def test_training_is_quiet(tmp_path, capfd):
    train(MODEL, replace(CONFIG, epochs=1), tmp_path, progress=False)
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


def test_dead_layers_are_named(tmp_path):
    silent = replace(MODEL, zero_init_residual=True)
    config = replace(CONFIG, epochs=1, learning_rate=1e-9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(silent, config, tmp_path, progress=False)
    named = [str(w.message) for w in caught if w.category is DeadLayerWarning]
    assert any(text.startswith("blocks.0.neuron2 ") for text in named)
    assert not any(text.startswith("stem") for text in named)


def test_weight_decay_spares_biases_and_batch_norms():
    learner = Learner(build(MODEL, 0), replace(CONFIG, weight_decay=0.1), iterations=10)
    optimizer = learner.configure_optimizers()["optimizer"]
    decayed, spared = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and spared["weight_decay"] == 0.0
    assert all(p.dim() > 1 for p in decayed["params"])
    assert all(p.dim() == 1 for p in spared["params"])
    count = len(decayed["params"]) + len(spared["params"])
    assert count == len(list(learner.model.parameters()))


@pytest.mark.parametrize(
    ("model", "config", "message"),
    [
        (replace(MODEL, in_channels=1), CONFIG, "in_channels=5"),
        (MODEL, replace(CONFIG, encoder="rate"), "in_channels=1"),
        (replace(MODEL, classes=9), CONFIG, "classes=10"),
        (replace(MODEL, size=(16, 8)), CONFIG, "height=8"),
        (MODEL, replace(CONFIG, validation=1400), "validation <= "),
    ],
)
def test_what_does_not_fit_is_refused_before_training(tmp_path, model, config, message):
    with pytest.raises(ConfigError, match=message):
        train(model, config, tmp_path, progress=False)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "lion"},
        {"epochs": 0},
        {"batch_size": 1.5},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"encoder": "morse"},
        {"fusion": "sum"},
        {"label_smoothing": 1.0},
        {"deploy": "best"},
        {"seed": -1},
        {"seed": 1 << 63},
    ],
)
def test_impossible_trainings_are_refused(change):
    with pytest.raises(ConfigError, match="TrainConfig"):
        replace(CONFIG, **change)


def test_a_diverging_training_stops_at_once(tmp_path):
    config = replace(CONFIG, epochs=50, learning_rate=1e30)
    with pytest.raises(TrainingDiverged, match="learning_rate"):
        train(MODEL, config, tmp_path, progress=False)
    assert not (tmp_path / "model").exists()


def test_the_trained_network_carries_no_hooks(run):
    assert not any(module._forward_hooks for module in run[1].model.modules())


@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_all_objectives_train(kind, tmp_path):
    config = replace(CONFIG, epochs=1, balance=BalanceSchedule(1.0, kind))
    start = time.monotonic()
    result = train(MODEL, config, tmp_path, progress=False)
    assert 0 < result.seconds <= time.monotonic() - start
