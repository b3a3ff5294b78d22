"""An interrupted training says how to go on, goes on by what its folder holds, or is finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import purespike as ps
from purespike.cli.app import app
from purespike.trainer.training.interrupted import another_training
from purespike.trainer.training.learner import Learner

NETWORK = """
import torch
import purespike as ps


def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        ps.nn.Conv2d(2, 4, 3, padding=1), ps.nn.IF(), ps.nn.GlobalAvgPool2d(), ps.nn.Flatten(),
        ps.nn.TimeMean(), torch.nn.Linear(4, 3),
    )
"""
START = ("train", "my_small:make", "--data", "train.npz", "--epochs", "3")
QUICK = ("--set", "train.batch_size=20")


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


def words(done: Any) -> str:
    """The error of a command, as the terminal says it."""
    text: str = done.exception.text("command line")
    return text


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A training of an own network that Ctrl-C ended in its second of three epochs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("my_small.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    spikes = (rng.random((3, 60, 2, 6, 6)) < 0.4).astype(np.uint8)
    np.savez("train.npz", inputs=spikes, labels=rng.integers(0, 3, 60))
    original = Learner.training_step

    def step(self: Any, given: Any, batch_idx: int) -> Any:
        if (self.current_epoch, batch_idx) == (1, 1):
            raise KeyboardInterrupt
        return original(self, given, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "training_step", step)
        return run(*START, *QUICK, "--out", "runs/my run")


GO_ON = "`purespike train --resume --out 'runs/my run'`"
FINISH = "`purespike train --resume --finish --out 'runs/my run'`"


def test_what_ctrl_c_leaves_says_how_far_it_is_and_both_commands(cut: Any) -> None:
    said = words(cut)
    assert "found: Ctrl-C, after epoch 1 of 3" in said and GO_ON in said and FINISH in said
    for source in ("runs/my run", "runs/my run/last.ckpt"):
        refused = words(run("compile", source))
        assert "this training is not finished" in refused and GO_ON in refused
        assert "epoch 1 of 3 is complete" in refused and FINISH in refused


def test_resume_alone_goes_on_by_the_recipe_in_the_folder(cut: Any) -> None:
    gone_on = run("train", "--resume", "--out", "runs/my run", "--quiet")
    assert gone_on.exit_code == 0 and not gone_on.stderr
    assert " ".join(gone_on.stdout.split()).startswith("Trained in ")
    assert "Checkpoint" not in gone_on.stdout
    told = run(*START, *QUICK, "--out", "runs/whole")
    assert told.exit_code == 0 and "Checkpoint: runs/whole" in told.stdout
    files = [Path(r, "model", "weights.safetensors") for r in ("runs/my run", "runs/whole")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "resume a training from, not a network" in words(run("check", "runs/my run/last.ckpt"))


def test_what_was_learnt_can_be_taken_as_it_is(cut: Any) -> None:
    assert "found: --finish" in words(run("train", "--finish", "--out", "runs/my run"))
    before = Path("runs/my run/last.ckpt").read_bytes()
    assert run("train", "--resume", "--finish", "--out", "runs/my run").exit_code == 0
    assert run(*START[:-1], "1", *QUICK, "--out", "runs/one").exit_code == 0
    sizes = [Path(r, "model", "weights.safetensors") for r in ("runs/my run", "runs/one")]
    assert sizes[0].stat().st_size == sizes[1].stat().st_size
    assert Path("runs/my run/last.ckpt").read_bytes() == before  # it still can go on
    assert run("train", "--resume", "--out", "runs/my run").exit_code == 0


def test_only_the_keys_that_differ_are_named(cut: Any) -> None:
    changed = words(run("train", "--resume", "--out", "runs/my run", "--set", "train.seed=5"))
    assert "found: train.seed 0 in the file, 5 asked for\n" in changed
    assert "leave out what differs: --resume without a network" in changed
    other = words(run("train", "digits", "--resume", "--out", "runs/my run"))
    assert "found: model.module my_small:make in the file, none asked for\n" in other


def test_a_training_without_a_recipe_says_so_by_what_differs(cut: Any) -> None:
    order = Path("runs/my run/layers.json")
    order.write_text(json.dumps({**json.loads(order.read_text()), "recipe": None}))
    said = words(run("train", "--resume", "--out", "runs/my run"))
    assert "model.module my_small:make in the file, none asked for" in said
    with pytest.raises(ps.UsageError, match=r"model\.module my_small:make"):
        ps.train(out="runs/my run", resume=True, progress=False)


def test_many_differences_are_counted() -> None:
    error = another_training({"train": dict.fromkeys("abcdefgh", 1)}, {"train": {}})
    assert "train.f 1 in the file, none asked for; and 2 more" in error.found
    assert another_training(None, {"train": {"a": 1}}).found.startswith("train.a none in the file")
