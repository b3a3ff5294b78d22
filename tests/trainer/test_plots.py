"""Logs read back, and the figures made of them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from purespike.compiler.storage import OutputError
from purespike.trainer.training.logs import LogError, read_run
from purespike.trainer.training.places import figure_names, require_figures
from purespike.trainer.training.plots import by_depth, draw, save


def log(folder: Path, *parts: list[str], layers: tuple[str, ...] = ("stem.0", "b.0", "fc")) -> Path:
    for version, lines in enumerate(parts):
        place = folder / "log" / f"version_{version}"
        place.mkdir(parents=True)
        (place / "metrics.csv").write_text("\n".join(lines) + "\n")
    neurons = ["stem.2", "b.2"]
    (folder / "layers.json").write_text(json.dumps({"layers": layers, "neurons": neurons}))
    return folder


HEAD = (
    "accuracy,epoch,first_layer_gradient_norm,gradient/b.0,gradient/fc,gradient/stem.0,"
    "loss,rate/b.2,rate/stem.2,step,val_accuracy"
)
FIRST = [HEAD, ",0,,,,,,,,3,0.25", "0.2,0,5.0,4.0,3.0,5.0,2.3,0.1,0.3,3,"]
SECOND = [HEAD, "0.4,1,2.5,2.0,1.5,2.5,1.9,0.0001,0.2,7,"]


def test_a_resumed_training_is_read_as_one(tmp_path):
    cut = [*FIRST, "0.9,1,9,9,9,9,9,0.9,0.9,7,"]  # trained again after the interruption
    run = read_run(log(tmp_path / "run", cut, SECOND))
    assert run.name == "run" and run.layers == ("stem.0", "b.0", "fc")
    assert run.values["loss"] == {1: 2.3, 2: 1.9} and run.values["val_accuracy"] == {1: 0.25}
    assert run.gradients(1) == [5.0, 4.0, 3.0] and run.gradients(2) == [2.5, 2.0, 1.5]
    assert run.values["rate/b.2"][2] == 0.0001


def test_identity_paths_lie_beside_the_depth(tmp_path):
    run = read_run(log(tmp_path, FIRST, layers=("stem.0", "b.identity.0", "b.0", "fc")))
    assert run.main_layers == ["stem.0", "b.0", "fc"]


def test_figures_show_what_was_logged(tmp_path):
    a, b = (read_run(log(tmp_path / name, FIRST, SECOND)) for name in ("vanilla", "aap"))
    paths = draw([a, b], tmp_path / "plots", epoch=2)
    assert [path.name for path in paths] == ["curves.png", "firing_rates.png", "gradients.png"]
    for path in paths:
        image = imread(path)
        colours = np.ascontiguousarray((image * 255).astype(np.uint8)).view(np.uint32)
        assert min(image.shape[:2]) > 250 and len(np.unique(colours)) > 50
    gradient, rate = by_depth([a, b], 2).axes
    assert [line.get_label() for line in gradient.lines] == ["vanilla", "aap"]
    assert list(gradient.lines[0].get_ydata()) == [2.5, 2.0, 1.5]
    assert list(rate.lines[1].get_ydata()) == [0.2, 0.0001]


def test_figures_as_svg_are_texts_and_the_same_bytes_again(tmp_path):
    figure, file = by_depth([read_run(log(tmp_path / "vanilla", FIRST))], 1), tmp_path / "a.svg"
    first = save(figure, file).read_bytes()
    assert re.search(b">vanilla</text>", first)
    assert save(figure, file).read_bytes() == first  # replaces its own
    file.write_bytes(first.replace(b"purespike", b"someone"))
    with pytest.raises(OutputError, match="did not write"):
        save(figure, file)


def test_older_figures_are_replaced_and_those_of_someone_else_are_not(tmp_path):
    a = read_run(log(tmp_path / "run", FIRST, SECOND))
    place = tmp_path / "plots"
    draw([a], place)
    require_figures(place, figure_names("png"))
    theirs = Figure()
    theirs.savefig(place / "gradients.png")
    before = (place / "gradients.png").read_bytes()
    with pytest.raises(OutputError, match="did not write"):
        require_figures(place, figure_names("png"))
    with pytest.raises(OutputError, match="did not write"):
        draw([a], place)
    assert (place / "gradients.png").read_bytes() == before


def test_a_gradient_of_zero_is_shown_and_said(tmp_path):
    gone = [HEAD, "0.2,0,5.0,0.0,3.0,5.0,2.3,0.1,0.3,3,"]
    axis, _ = by_depth([read_run(log(tmp_path / "deep", gone))], 1).axes
    line, zeros = axis.lines
    assert np.isnan(line.get_ydata()[1]) and list(zeros.get_xdata()) == [2]
    assert zeros.get_label() == "deep: exactly 0"


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "layers.json").unlink(), "no layers.json"),
        (lambda folder: (folder / "layers.json").write_text("[]"), "damaged"),
        (
            lambda folder: (folder / "log" / "version_0" / "metrics.csv").write_text(
                "epoch,loss\n0,many\n"
            ),
            "damaged",
        ),
    ],
)
def test_a_folder_that_is_no_training_is_refused(tmp_path, break_it, says):
    folder = log(tmp_path / "run", FIRST)
    break_it(folder)
    with pytest.raises(LogError, match=says):
        read_run(folder)
    with pytest.raises(LogError, match="no training in this folder"):
        read_run(tmp_path)


def test_an_epoch_that_was_not_trained_is_refused(tmp_path):
    run = read_run(log(tmp_path / "run", FIRST, SECOND))
    with pytest.raises(LogError, match="1 to 2"):
        draw([run], tmp_path / "plots", epoch=3)
    assert not (tmp_path / "plots").exists()
