"""Recipes, and trainings of any network on any data."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.flow.inputs.checkpoints import digits_subject
from purespike.trainer.data import DataConfig, load_data
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import NetworkConfig
from purespike.trainer.networks.models import main_only
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.fit import count_correct, train
from purespike.trainer.training.presets import DEMO
from purespike.trainer.training.recipe import RecipeError, read_recipe, shipped_recipes
from purespike.trainer.training.settings import TrainConfig

RECIPE = """
[model]
name = "cifar-resnet-20"
width = 0.0625
in_channels = 2
size = [16, 16]
steps = 2
gate = "or"
pool = "max"
aap = true

[data]
name = "event_digits"

[train]
epochs = 1
batch_size = 90
validation = 90
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    return file


def test_without_a_file_it_is_the_demo():
    read = read_recipe()
    assert (read.model, read.train, read.data) == (DEMO.model, DEMO.train, None)
    assert read_recipe("digits", ["train.integer_epochs=0"]) == read


def test_a_file_names_network_data_and_training(recipe):
    read = read_recipe(recipe, ["train.epochs=2", "model.gate=xor", "train.balance.kind=cosine"])
    assert isinstance(read.model, NetworkConfig) and read.model.gate == "xor"
    assert read.data == DataConfig("event_digits")
    assert read.train.epochs == 2 and read.train.balance.kind == "cosine"
    assert read.train.learning_rate == TrainConfig().learning_rate
    by_hand = read_recipe(None, ["model.name=cifar-resnet-20", "data.name=event_digits"])
    assert by_hand.model.name == "cifar-resnet-20" and by_hand.data == read.data


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ("train.epoch=5", ConfigError, "epochs, batch_size"),
        ("data.nmae=digits", ConfigError, "name, root, encoder"),
        ("model.depth=5", ConfigError, "in_channels, classes"),
        ("model.name=resnet-9000", ConfigError, "cifar-resnet-20"),
        ("data.name=mnist", ConfigError, "digits, event_digits"),
        ("run.epochs=5", RecipeError, r"\[model\], \[data\] and \[train\]"),
        ("epochs=5", RecipeError, "table.key=value"),
        ("train.epochs=[", RecipeError, "not TOML"),
        ("train.encoder=rate", RecipeError, r"train\.encoder"),
        ("train.epochs=many", ConfigError, "train.epochs"),
        ("train.epochs=1.5", ConfigError, "allowed: int"),
        ("train.epochs=true", ConfigError, "allowed: int"),
        ("train.seed=99999999999999999999", ConfigError, "seed"),
        ("train.learning_rate=nan", ConfigError, "> 0"),
        ("train.balance=0.5", ConfigError, "train.balance"),
        ("train=5", RecipeError, "table.key=value"),
        ("train..epochs=1", RecipeError, "not TOML"),
        ("model.neuron.tau=2", ConfigError, "decay, input_scale"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_allowed(recipe, change, error, says):
    with pytest.raises(error, match=says):
        read_recipe(recipe, [change])


@pytest.mark.parametrize("root", ["/data/cifar 10", "~/cifar", "../x", "data/ä-1.0", "C:\\\\data"])
def test_paths_need_no_quotes(root):
    changes = ["data.name=cifar10", f"data.root={root}", 'data.augment=["flip"]']
    assert read_recipe(None, changes).data == DataConfig("cifar10", root, augment=("flip",))
    dotted = read_recipe(None, ["data.name=package.module:factory"])
    assert dotted.data.name == "package.module:factory"


def test_none_takes_a_value_away(recipe):
    recipe.write_text(RECIPE + "gradient_clip = 1.0\n")
    assert read_recipe(recipe).train.gradient_clip == 1.0
    assert read_recipe(recipe, ["train.gradient_clip=none"]).train.gradient_clip is None


def test_a_missing_file_is_refused_with_the_shipped_names(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read") as caught:
        read_recipe(tmp_path / "none.toml")
    assert all(name in str(caught.value) for name in shipped_recipes())


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_be_read(name):
    read = read_recipe(name)
    assert read.train.epochs >= 1
    if read.data is not None:
        assert read.data.code in read.data.encoders


@pytest.mark.filterwarnings("ignore::purespike.trainer.training.learner.DeadLayerWarning")
def test_any_network_trains_on_any_data_and_comes_back(recipe, tmp_path):
    read = read_recipe(recipe)
    folder = tmp_path / "run"
    result = train(read.model, read.train, folder, data=read.data, progress=False)
    loaded = load_checkpoint(result.checkpoint)
    assert loaded.data == read.data and loaded.model.config == read.model
    assert set(result.heads) == {"main", "aap"} and (folder / "best.ckpt").is_file()
    data = load_data(loaded.data, loaded.model.config.steps)
    test = data.loader(data.test, batch_size=100)
    assert count_correct(main_only(loaded.model), test) == {"main": (result.correct, result.n)}
    subject = digits_subject(result.checkpoint)
    assert subject.spikes.shape == (2, 360, 2, 16, 16) and subject.domain == SPIKE
    assert np.array_equal(subject.labels, np.concatenate([labels for _, labels in test]))
    assert subject.calibration is not None and subject.calibration.shape[1] == 128
    with (folder / "log" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"gradient/fc", "rate/blocks.0", "val_accuracy"} <= set(rows[0])


def test_data_that_do_not_fit_are_refused_before_training(recipe, tmp_path):
    read = read_recipe(recipe)
    with pytest.raises(ConfigError, match="event_digits in the events code") as caught:
        train(replace(read.model, classes=11), read.train, tmp_path / "run", data=read.data)
    assert "classes=10" in str(caught.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("table", "meant"),
    [('[data]\nfiel = "x.npz"', "file"), ('[model]\nmodul = "my:net"', "module")],
)
def test_a_misspelt_key_that_says_which_kind_of_table_it_is(
    tmp_path: Path, table: str, meant: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(table + "\n")
    with pytest.raises(ConfigError, match="unknown names") as e:
        read_recipe(path)
    assert meant in e.value.allowed.split(", ")
    assert e.value.remedy.startswith(f"did you mean {meant}?")
