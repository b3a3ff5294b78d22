"""The shipped recipes: one for each network, valid, as the papers have it."""

import tomllib
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch

from purespike.trainer.data import DataConfig, load_data
from purespike.trainer.errors import DataError
from purespike.trainer.networks.catalogue import CATALOGUE
from purespike.trainer.networks.configuration import from_dict
from purespike.trainer.networks.models import build, model_config
from purespike.trainer.training.learner import Learner
from purespike.trainer.training.losses import total_loss
from purespike.trainer.training.recipe import read_recipe, shipped_recipes
from purespike.trainer.training.settings import TrainConfig

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


# What a user is told who has not got the data: where to get them, and where they belong.
FROM = {
    "imagenet": ("image-net.org", "train"),
    "cifar10": ("cs.toronto.edu", "cifar-10-batches-bin"),
    "cifar100": ("cs.toronto.edu", "cifar-100-binary"),
    "dvs_gesture": ("download = true", "DVSGesture"),
    "cifar10_dvs": ("download = true", "CIFAR10DVS"),
}


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_recipe_says_what_to_download_and_takes_a_step(name, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(name)
    model = recipe.model
    if recipe.data is not None and recipe.data.name in FROM:
        if recipe.data.code == "events":
            pytest.importorskip("tonic")
        with pytest.raises(DataError) as caught:
            load_data(recipe.data, model.steps)
        assert all(part in str(caught.value) for part in FROM[recipe.data.name])
        model = replace(model, width=1 / 16, size=(32, 32))
    learner = Learner(build(model, seed=0), recipe.train, iterations=1000)
    setup = learner.configure_optimizers()
    generator = torch.Generator().manual_seed(0)
    shape = (model.steps, 2, model.in_channels, *model.size)
    x = (torch.rand(shape, generator=generator) < 0.2).float()
    before = {k: v.clone() for k, v in learner.model.named_parameters()}
    logits = learner.model(x)
    loss = total_loss(logits, torch.tensor([0, 1]), balance=0.25, fusion=learner.fusion)
    loss.backward()
    setup["optimizer"].step()
    setup["lr_scheduler"]["scheduler"].step()
    moved = [k for k, v in learner.model.named_parameters() if not torch.equal(v, before[k])]
    assert torch.isfinite(loss) and len(moved) > 0.5 * len(before)


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
