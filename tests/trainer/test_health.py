"""Warnings of networks that will not learn: silent layers and vanished gradients."""

import json
import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn

from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn.surrogate import Shaped
from purespike.trainer.training import health
from purespike.trainer.training.fit import train
from purespike.trainer.training.health import (
    ENOUGH,
    EVENTS,
    VANISHED,
    AtChance,
    Decisions,
    by_depth,
    diagnose,
    words,
)
from purespike.trainer.training.learner import DeadLayerWarning
from purespike.trainer.training.logs import SILENT
from purespike.trainer.training.recipe import Recipe
from purespike.trainer.training.scan import first_batch, outlook, scan
from purespike.trainer.training.settings import TrainConfig

DEEP = ModelConfig(
    5, 10, steps=1, stem=4, widths=(4,) * 8, strides=(2,) + (1,) * 7, aap=False, shortcut=False
)
# Twelve blocks are enough for AND to swallow every spike.
SILENT_NET = replace(DEEP, gate="and", widths=(4,) * 12, strides=(2,) + (1,) * 11)
NARROW = replace(DEEP, gate="sn", neuron=NeuronConfig(surrogate=Shaped("arctan", width=0.01)))
COUNTS = NeuronConfig(levels=4, reset="subtract")
SHORT = TrainConfig(epochs=2, batch_size=1437, learning_rate=0.01)  # a step an epoch


def trained(model, folder, config=SHORT):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, config, folder, progress=False)
    texts = [str(w.message) for w in caught if w.category is DeadLayerWarning]
    files = list((folder / "log").glob(f"version_*/{EVENTS}"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return texts, lines


def test_a_silent_network_is_warned_of_once_with_the_layer_and_the_gate(tmp_path):
    texts, lines = trained(SILENT_NET, tmp_path)
    assert len(texts) == 1 and "close to silent" in texts[0] and "model.gate=or" in texts[0]
    silent = next(line for line in lines if line["kind"] == "silent")
    assert texts[0].startswith(silent["layer"]) and silent["value"] < SILENT
    assert silent["epoch"] == 0 and silent["text"] == texts[0]
    # The gradients of the weights in front of silence are gone, too.
    assert any(line["kind"] == "vanished" for line in lines)


def test_vanished_gradients_are_warned_of_with_the_pathway(tmp_path):
    texts, lines = trained(NARROW, tmp_path)
    assert len(texts) == 1 and "gradient has vanished" in texts[0] and "model.aap=true" in texts[0]
    assert [line["kind"] for line in lines] == ["vanished"] and lines[0]["value"] < VANISHED


@pytest.mark.parametrize("model", [DEEP, replace(NARROW, neuron=NeuronConfig())], ids=("or", "sn"))
def test_a_network_that_learns_is_not_warned_of(tmp_path, model):
    assert trained(model, tmp_path, replace(SHORT, epochs=1)) == ([], [])


@pytest.mark.parametrize(
    ("model", "kinds"), [(SILENT_NET, {"silent", "vanished"}), (DEEP, set())], ids=("and", "or")
)
def test_a_scan_finds_it_before_the_training(model, kinds):
    recipe = Recipe(model, SHORT)
    (row,) = scan(recipe, first_batch(recipe, 64), "arctan", [0.6], [1.0])
    assert {finding.kind for finding in outlook(row)} == kinds


def test_the_first_layer_in_depth_is_named_and_the_others_are_counted():
    rates = {"a": 0.2, "b": 0.0005, "c": 0.0}
    (finding,) = diagnose(rates, {"a": 1.0, "b": 0.5})
    assert (finding.layer, finding.layers, finding.of) == ("b", ("b", "c"), 3)
    text = words([finding], nn.Linear(1, 1))
    assert text.startswith("b fires at a rate of 5.0e-04") and "like 1 of the 2 other" in text


@pytest.fixture
def at_once(monkeypatch):
    """A verdict on chance in the epoch of the second step, which a test can wait for."""
    monkeypatch.setattr(health, "ENOUGH", 2)


SMALL = replace(DEEP, stem=16, widths=(8,), strides=(2,))


def test_decisions_at_chance_are_warned_of_once(tmp_path, at_once):
    texts, lines = trained(SMALL, tmp_path, replace(SHORT, epochs=3, learning_rate=1e-9))
    (line,) = lines
    assert (line["kind"], line["epoch"], line["steps"]) == ("chance", 1, 2)
    share = f"After 2 steps {100 * line['value']:.1f} % of the training samples"
    assert texts == [line["text"]] and texts[0].startswith(share) and line["value"] < 0.12
    assert texts[0].endswith(
        "than chance explains (10 classes). Set model.aap=true, or train for longer."
    )


def test_a_network_that_decides_better_than_chance_is_not_warned_of(tmp_path, at_once):
    config = replace(SHORT, epochs=1, batch_size=32, learning_rate=0.02, optimizer="adamw")
    assert trained(SMALL, tmp_path, config) == ([], [])


@pytest.mark.parametrize(("right", "found"), [(403, True), (404, False)])
def test_three_standard_deviations_are_better_than_chance(right, found):
    decisions = Decisions()
    for epoch in range(3):
        hits = torch.arange(3500) < (right if epoch == 2 else 3500)
        for step in hits.split(35):  # chance is 350 of 3500, and a deviation 17.7
            decisions.note(step, 10)
        judged = decisions.judge(100 * (epoch + 1))
    assert judged == ((AtChance(300, right / 3500, 10),) if found else ())
    assert ENOUGH < 300 and decisions.judge(400) == ()  # once


def test_layers_without_any_gradient_have_vanished():
    (finding,) = diagnose({}, {"a": 0.0, "b": 0.0})
    assert finding.kind == "vanished" and finding.layers == ("a", "b") and finding.value == 0.0


def test_a_block_comes_behind_what_is_inside_it():
    model = build(replace(DEEP, widths=(4, 4), strides=(2, 1)), 0)
    names = ["blocks.1", "blocks.0", "blocks.0.neuron2", "blocks.1.neuron1", "stem.2"]
    ordered = list(by_depth(model, dict.fromkeys(names, 0.0)))
    assert ordered == ["stem.2", "blocks.0.neuron2", "blocks.0", "blocks.1.neuron1", "blocks.1"]


@pytest.mark.parametrize(
    ("change", "kind", "advice"),
    [
        ({"gate": "iand"}, "silent", "model.gate=or"),
        ({"zero_init_residual": True}, "silent", "zero_init_residual=false"),
        ({}, "silent", "model.neuron.threshold"),
        ({}, "vanished", "model.aap=true"),
        ({"aap": True}, "vanished", "purespike scan"),
    ],
)
def test_advice_fits_the_network(change, kind, advice):
    values = ({"x": 0.0}, {}) if kind == "silent" else ({}, {"x": 0.0, "y": 1.0})
    assert advice in words(diagnose(*values), build(replace(DEEP, **change), 0))


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"gate": "xor"}, "Set model.aap=true or model.gate=or, or train for longer."),
        ({"gate": "iand", "aap": True}, "Set model.gate=or, or train for longer."),
        ({"gate": "sn"}, "Set model.shortcut=true or model.gate=or, or train for longer."),
        ({"gate": "sn", "neuron": COUNTS}, "Set model.shortcut=true, or train for longer."),
        ({"aap": True}, "Try another learning_rate or surrogate, or fewer layers."),
    ],
)
def test_advice_on_chance_fits_the_network(change, advice):
    text = words([AtChance(280, 0.09, 10)], build(replace(DEEP, **change), 0))
    assert text.endswith(
        f"After 280 steps 9.0 % of the training samples are classified correctly, "
        f"no more than chance explains (10 classes). {advice}"
    )
