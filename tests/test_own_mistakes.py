"""What goes wrong in a user's own module is said with its line, its layer, and what helps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import purespike as ps
from purespike.errors import InputError
from purespike.nn import IF, Conv2d, Flatten, TimeMean
from purespike.trainer.errors import CheckpointError, ConfigError
from purespike.trainer.networks.own import ModuleConfig, own_network, users_module

X = (np.random.default_rng(0).random((5, 6, 1, 6, 6)) < 0.4).astype(np.uint8)
LABELLED = ps.Samples(X, np.arange(6) % 3)
STATED = {"shape": (1, 6, 6), "steps": 5}


def net(*middle: nn.Module, width: int = 144) -> nn.Module:
    return nn.Sequential(*middle, Flatten(), nn.Linear(width, 3), TimeMean())


TIMELESS: dict[str, Callable[[], nn.Module]] = {
    "Conv2d": lambda: net(nn.Conv2d(1, 4, 3, padding=1), IF()),
    "BatchNorm2d": lambda: net(Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), IF()),
    "MaxPool2d": lambda: net(Conv2d(1, 4, 3, padding=1), IF(), nn.MaxPool2d(2), width=36),
    "AvgPool2d": lambda: net(Conv2d(1, 4, 3, padding=1), IF(), nn.AvgPool2d(2), width=36),
}


def refused(kind: str, data: ps.Samples | None) -> InputError:
    stated = {} if data is not None else STATED
    with pytest.raises(InputError) as e:
        ps.compile(TIMELESS[kind](), data, lava="none", **stated)
    return e.value


@pytest.mark.parametrize("kind", TIMELESS)
@pytest.mark.parametrize("data", [LABELLED, ps.Samples(X), None], ids=["labels", "inputs", "none"])
def test_a_layer_of_torch_without_a_time_axis_is_named(kind: str, data: ps.Samples | None) -> None:
    error = refused(kind, data)
    assert f"use purespike.nn.{kind} in its place" in error.remedy
    assert f"nn.{kind} (" in error.remedy and error.found


@pytest.mark.parametrize("kind", TIMELESS)
def test_it_is_named_before_training(kind: str) -> None:
    with pytest.raises(ConfigError) as e:
        own_network(TIMELESS[kind](), ModuleConfig(""), (1, 6, 6), 5)
    assert f"use purespike.nn.{kind} in its place" in e.value.remedy


class Loop(nn.Module):
    """Goes through the steps itself, as models of other frameworks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fire, self.fc = nn.Conv2d(1, 4, 3), IF(), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.fc(self.fire(self.conv(step)).flatten(1)) for step in x]).mean(0)


def test_a_loop_over_time_around_our_neurons_is_refused() -> None:
    """They would integrate over the samples: the run itself raises nothing."""
    assert Loop()(torch.zeros(5, 2, 1, 6, 6)).shape == (2, 3)
    words = "goes through the time steps itself, and purespike's neurons would take samples"
    with pytest.raises(ConfigError, match=words) as e:
        own_network(Loop(), ModuleConfig(""), (1, 6, 6), 5)
    assert (e.value.where, e.value.found) == ("fire", "IF runs 5 times in 5 steps")
    for data in (LABELLED, ps.Samples(X)):
        with pytest.raises(ConfigError, match=words):
            ps.compile(Loop(), data, lava="none")


class Twice(nn.Module):
    """The same neuron at two places is no loop, nor is one that runs on fewer steps once."""

    def __init__(self) -> None:
        super().__init__()
        self.fire, self.fc = IF(), nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fire(self.fire(x)).flatten(2)).mean(0)


def test_a_neuron_that_runs_twice_on_sequences_is_no_loop() -> None:
    assert own_network(Twice(), ModuleConfig(""), (1, 6, 6), 5).classes == 3


MISTAKES = """import torch
from torch import nn
class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
def typo():
    return nn.Lineer(3, 4)
def later():
    class Bad(nn.Module):
        def forward(self, x):
            return x @ torch.zeros(7, 3)
    return Bad()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / f"{tmp_path.name}.py").write_text(MISTAKES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path.name


def test_an_error_in_the_users_code_is_said_with_its_line(module: str) -> None:
    with pytest.raises(ConfigError, match="the code that makes the module fails") as e:
        users_module(f"{module}:typo", f"{module}:typo", ConfigError)
    assert e.value.where == f"{module}:typo, {module}.py:7" and "Lineer" in e.value.found
    assert "did you mean" not in e.value.remedy and "mend that line" in e.value.remedy
    with pytest.raises(ConfigError, match="does not run on such an input") as e:
        own_network(f"{module}:later", ModuleConfig(f"{module}:later"), (4,), 2)
    assert e.value.where == f"{module}.py:11"


def test_what_takes_arguments_is_told_what_does_not(module: str) -> None:
    with pytest.raises(ConfigError, match="the module cannot be made") as e:
        users_module(f"{module}:Net", f"{module}:Net", ConfigError)
    assert "missing 1 required positional argument: 'width'" in e.value.found
    assert "a function without arguments that calls it" in e.value.remedy
    with pytest.raises(ConfigError) as e:
        users_module(f"{module}:Nett", f"{module}:Nett", ConfigError)
    assert e.value.remedy == f"did you mean {module}:Net?"


def test_code_that_does_not_parse_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{tmp_path.name}_broken"
    (tmp_path / f"{name}.py").write_text("import torch\ndef make(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ConfigError, match="the code that makes the module fails") as e:
        users_module(f"{name}:make", f"{name}:make", ConfigError)
    assert e.value.where == f"{name}:make, {name}.py:2" and "SyntaxError" in e.value.found


WIDE = """from torch import nn
from purespike import nn as snn
WIDTH = 8
def make():
    return nn.Sequential(nn.Linear(4, WIDTH), snn.IF(), nn.Linear(WIDTH, 2), snn.TimeMean())
"""


def test_a_training_is_compiled_as_it_is_and_its_code_must_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{tmp_path.name}_wide"
    (tmp_path / f"{name}.py").write_text(WIDE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    r = np.random.default_rng(0)
    x = (r.random((3, 40, 4)) < 0.5).astype(np.uint8)
    np.savez(tmp_path / "d.npz", inputs=x, labels=x.sum(0)[:, 0] % 2)
    changes = ("train.epochs=1", "train.batch_size=8")
    trained = ps.train(f"{name}:make", "d.npz", changes=changes, out="t", progress=False)
    assert ps.compile(trained, lava="none").report.verdict  # its code has run here already
    with pytest.raises(InputError, match="made by code that it names"):
        ps.compile(str(trained.checkpoint), lava="none")
    sys.modules[name].WIDTH = 12
    with pytest.raises(CheckpointError, match="does not fit the described network") as e:
        ps.compile(trained, lava="none")
    assert f"{name}:make makes another network" in e.value.remedy
    assert (e.value.found, e.value.allowed) == (
        "torch.float32 (8, 4)",
        "torch.float32 (12, 4)",
    )
