"""purespike scan: widths and heights of the surrogate, tried on one batch."""

import csv
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.writing import OutputError
from purespike.trainer.errors import ConfigError, DataError
from purespike.trainer.networks.models import build_network
from purespike.trainer.nn.surrogate import Shaped
from purespike.trainer.training.gradients import layer_gradients
from purespike.trainer.training.recipe import read_recipe
from purespike.trainer.training.scan import draw_scan, first_batch, scan, write_scan

SMALL = ["model.stem=4", "model.widths=[4,6]", "model.strides=[2,1]", "model.steps=2"]
DEEP = ["model.width=0.0625", "model.size=8", "model.steps=2"]


def test_rows_are_the_gradients_of_the_bare_network_with_that_surrogate() -> None:
    recipe = read_recipe("cifar-resnet-18", DEEP)
    batch = first_batch(recipe, 4, random=True)
    assert batch[0].shape == (2, 4, 3, 8, 8) and set(batch[0].unique().tolist()) == {0.0, 1.0}
    rows = scan(recipe, batch, "arctan", [0.5, 2.0], [1.0, 1.5])
    assert [(r.surrogate.height, r.surrogate.width) for r in rows] == [
        *((1.0, 0.5), (1.0, 2.0)),
        *((1.5, 0.5), (1.5, 2.0)),
    ]
    model = build_network(
        "cifar-resnet-18", seed=0, width=0.0625, size=8, steps=2, shortcut=False,
        neuron={"surrogate": {"name": "Shaped", "shape": "arctan", "width": 2.0, "height": 1.5}},
    )  # fmt: skip
    assert rows[-1].layers == layer_gradients(model, *batch)
    assert rows[1].gain > rows[0].gain


def test_the_batch_is_the_recipes_own_data() -> None:
    changes = ["data.name=digits", "data.encoder=latency", "model.in_channels=1"]
    waits = ["train.validation=100", "train.patience=3", "train.deploy=best"]
    recipe = read_recipe(None, [*changes, *waits])
    spikes, labels = first_batch(recipe, 3)
    assert spikes.shape == (4, 3, 1, 8, 8) and labels.shape == (3,)
    assert spikes.sum(0).max() == 1  # one spike per pixel, at most
    with pytest.raises(DataError, match="/nowhere"):
        first_batch(read_recipe("cifar-resnet-18", ['data.root="/nowhere"']), 3)


def test_the_figure_draws_every_row() -> None:
    recipe = read_recipe(None, SMALL)
    rows = scan(recipe, first_batch(recipe, 4), "fast_sigmoid", [0.5, 1.0, 4.0], [0.5, 1.0])
    left, right, gains = draw_scan(rows, "digits").axes
    assert [len(axis.lines) for axis in (left, right, gains)] == [3, 3, 3]  # and the line at 1
    assert [line.get_label() for line in left.lines] == ["0.5", "1", "4"]
    shown = [layer.gradient for layer in rows[0].layers if "identity" not in layer.name]
    assert list(left.lines[0].get_ydata()) == shown
    assert list(gains.lines[1].get_ydata()) == [row.gain for row in rows[3:]]


def test_the_command(tmp_path) -> None:
    command = ["scan", "--out", str(tmp_path), "--widths", "0.5,2", "--samples", "4"]
    done = CliRunner().invoke(app, [*command, *(x for s in SMALL for x in ("--set", s))])
    assert done.exit_code == 0, done.output
    assert "gain" in done.output
    assert min(imread(tmp_path / "surrogates.png").shape[:2]) > 250
    with (tmp_path / "surrogates.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["width"] for line in lines} == {"0.5", "2.0"}
    assert all(float(line["gradient"]) >= 0 and 0 <= float(line["rate"]) <= 1 for line in lines)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (["--widths", "0.5;2"], PurespikeError, "numbers with commas"),
        (["--heights", "0"], ConfigError, "height"),
        (["--shape", "round"], ConfigError, "fast_sigmoid"),
    ],
)
def test_what_cannot_be_scanned(options, error, says, tmp_path) -> None:
    done = CliRunner().invoke(app, ["scan", "--random", "--out", str(tmp_path / "new"), *options])
    assert isinstance(done.exception, error) and says in str(done.exception)
    assert not (tmp_path / "new").exists()


def test_a_scan_leaves_the_random_numbers_of_torch_alone() -> None:
    recipe = read_recipe(None, SMALL)
    before = torch.get_rng_state()
    rows = scan(recipe, first_batch(recipe, 2, random=True), "arctan", [1.0], [1.0])
    assert rows[0].surrogate == Shaped("arctan", 1.0, 1.0)
    assert torch.equal(before, torch.get_rng_state())


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(OutputError, match="a file is where a folder has to be"):
        write_scan((), tmp_path / "plots" / "surrogates.csv")
    assert (tmp_path / "plots").read_text() == "in the way"
