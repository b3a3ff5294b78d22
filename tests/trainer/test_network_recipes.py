"""The shipped recipes: one for each network, valid, as the papers have it."""

import tomllib
from importlib import resources
from pathlib import Path

import pytest

from purespike.trainer.configuration import from_dict
from purespike.trainer.data import DataConfig
from purespike.trainer.models import build, model_config
from purespike.trainer.networks.catalogue import CATALOGUE
from purespike.trainer.training import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {"imagenet": 1000, "cifar10": 10, "cifar100": 100, "dvs_gesture": 11, "cifar10_dvs": 10}


def test_every_network_has_a_recipe_that_the_wheel_holds() -> None:
    folder = resources.files("purespike.trainer") / "recipes"
    assert {f.name for f in folder.iterdir()} >= {f"{name}.toml" for name in CATALOGUE}
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "recipes/*.toml" in tool["package-data"]["purespike.trainer"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_recipes_say_what_the_papers_do(name: str) -> None:
    text = (resources.files("purespike.trainer") / "recipes" / f"{name}.toml").read_text("utf-8")
    tables = tomllib.loads(text)
    assert set(tables) == {"model", "data", "train"}
    config = model_config(tables["model"])
    assert config == CATALOGUE[name].defaults
    data = from_dict(DataConfig, tables["data"], "data")
    train = from_dict(TrainConfig, tables["train"], "train")
    assert config.classes == CLASSES[data.name]
    assert config.in_channels == (2 if data.code == "events" else 3)
    assert (data.size or 32) == config.size[0] == config.size[1]
    assert train.epochs >= 64 and train.label_smoothing in (0.0, 0.1)
    small = {**tables["model"], "width": 1 / 8, "size": [32, 32]}
    assert build(model_config(small), seed=0).config.width == 1 / 8


def test_hyper_parameters_of_the_papers() -> None:
    """Epochs, batch, learning rate, steps: AAP Table 5; the group's code for the other two."""
    expected = {
        "fsnn-18": (320, 128, 0.1, 4),
        "fsnn-101": (320, 128, 0.1, 4),
        "7b-net": (192, 16, 0.005, 16),
        "wide-7b-net": (64, 16, 0.01, 16),
        "spikformer-4-384": (310, 128, 5e-4, 4),
        "cifar-resnet-18": (400, 128, 0.1, 4),
        "cifar-resnet-19": (400, 128, 0.01, 4),
        "vgg-16": (400, 128, 0.01, 5),
    }
    for name, values in expected.items():
        tables = tomllib.loads((ROOT / "trainer" / "recipes" / f"{name}.toml").read_text("utf-8"))
        train = tables["train"]
        found = (train["epochs"], train["batch_size"], train["learning_rate"])
        assert (*found, tables["model"]["steps"]) == values, name
    shortcut = tomllib.loads((ROOT / "trainer/recipes/cifar-resnet-18.toml").read_text("utf-8"))
    assert shortcut["train"]["balance"] == {"initial": 0.25, "kind": "linear"}
