"""What is cheap to look at is said first: before torch is loaded, and before data are run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from helpers.user_files import foreign
from typer.testing import CliRunner

from purespike.axes import AxesWarning
from purespike.cli.app import app, main
from purespike.cli.commands.shared import say_axes
from purespike.compiler.errors import UsageError
from purespike.flow.inputs.datafile import read_data
from purespike.flow.inputs.recipes import look_at_training
from purespike.subject import Samples
from purespike.trainer.training.recipe_keys import KEYS

STATED = ("--dt", "1e-3", "--if-r", "step", "--reset", "subtract", "--steps", "6")
STATED += ("--spike-input", "--fires", "at")
MODULE = ("--shape", "2", "--steps", "4")
# Command, and a part of what it says.
MISSING = {
    ("compile", "net:make"): "leaves open: shape, steps",
    ("compile", "net:make", "--data", "no.npz"): "No such file",
    ("compile", "no_such_package:make", *MODULE): "no module of this name",
    ("compile", "net:make", *MODULE, "--qat", "2"): "fine-tuning needs training data",
    ("compile", "net:make", *MODULE, "--calibration", "agreement"): "needs data",
    ("compile", "net:make", *MODULE, "--policy", "no"): "unknown policy",
    ("compile", "user.nir"): "leaves open",
    ("compile", "user.nir", *STATED, "--data", "no.npz"): "No such file",
    ("check", "net:make"): "leaves open: shape, steps",
    ("check", "no.nir"): "no network of this name",
    ("train", "no"): "the recipe cannot be read",
    ("train", "broken.toml"): "not TOML",
    ("train", "digits", "--set", "epochs"): "a change cannot be read",
    ("train", "--data", "no.npz", "--set", "data.sha256=x"): "No such file",
    ("train", "net:make"): "needs data to be trained on",
    ("train", "no_such_package:make", "--data", "d.npz"): "no module of this name",
    ("train", "net:make", "--data", "no_such_package:data"): "no module of this name",
    ("train", "digits", "--set", "train.epoch=5"): "did you mean epochs?",
    ("train", "digits", "--set", "model.nonsense=5"): "unknown names",
    ("train", "digits", "--set", "model.neuron.decya=0.5"): "did you mean decay?",
    ("train", "digits", "--set", "train.balance.kinds=linear"): "where: train.balance",
    ("train", "digits", "--set", "data.nonsense=5"): "unknown names",
    ("train", "key.toml"): "where: train found: epoch allowed: epochs,",
    ("scan", "digits", "--set", "train.epoch=5"): "did you mean epochs?",
    ("train", "--resume", "--out", "nowhere"): "nothing to resume from",
    ("scan", "no"): "the recipe cannot be read",
    ("simulate", "nowhere"): "not a bundle",
    ("simulate", "nowhere", "--data", "no.npz"): "not a bundle",
    ("simulate", "bundle", "--data", "no.npz"): "No such file",
    ("replay", "nowhere"): "not a bundle",
    ("report", "nowhere"): "cannot be read",
    ("plot", "nowhere"): "no training",
    ("verify", "nowhere"): "not a bundle",
    ("export", "nowhere"): "not a bundle",
    ("map", "nowhere"): "not a bundle",
}
SCRIPT = """
import contextlib, io, json, sys, time
from purespike.cli.app import main
said = []
for words in 2 * json.loads(sys.argv[1]):
    sys.argv = ["purespike", *words]
    out, began = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        try:
            import purespike.cli.terminal as console
            console.err.file = console.out.file = out
            main()
        except SystemExit as e:
            said.append([e.code, out.getvalue(), "torch" in sys.modules, time.process_time()-began])
print(json.dumps(said))
"""


def test_what_is_missing_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    foreign(tmp_path / "user.nir")
    (tmp_path / "net.py").write_text("import torch\n")
    (tmp_path / "broken.toml").write_text("[model")
    (tmp_path / "key.toml").write_text("[train]\nepoch = 3\n")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    np.savez(tmp_path / "d.npz", inputs=np.ones((4, 2, 2)), labels=[0, 1])
    command = [sys.executable, "-c", SCRIPT, json.dumps(list(MISSING))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    again = [seconds for *_, seconds in told[len(MISSING) :]]  # all that is needed is loaded
    first = zip(MISSING, told[: len(MISSING)], again, strict=True)
    for words, (code, said, torch, loading), seconds in first:
        assert code == 2, (words, said)
        assert MISSING[words] in " ".join(said.split()), words
        assert not torch, words
        assert loading < 5 and seconds < 1, (words, loading, seconds)


def test_keys_of_a_recipe_are_the_fields_of_its_classes() -> None:
    from purespike.trainer.data.config import DataConfig, DataFile
    from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig
    from purespike.trainer.networks.neurons import NeuronConfig
    from purespike.trainer.networks.own import ModuleConfig
    from purespike.trainer.nn.auxiliary import BalanceSchedule
    from purespike.trainer.training.settings import TrainConfig

    classes = (ModuleConfig, NetworkConfig, ModelConfig, NeuronConfig)
    for cls in (*classes, DataFile, DataConfig, TrainConfig, BalanceSchedule):
        assert KEYS[cls.__name__] == tuple(f.name for f in fields(cls))
    assert len(KEYS) == 8


@pytest.mark.parametrize("words", [("simulate", "b", "--data", "no.npz"), ("verify", "b")])
def test_what_judges_is_not_loaded_for_what_is_missing(words: tuple[str, ...]) -> None:
    script = (
        "import sys; from purespike.cli.app import main\n"
        f"sys.argv = ['purespike', *{words}]\n"
        "try: main()\nfinally: print({'onnx', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "set()\n")


def test_values_of_a_recipe_are_checked_before_lightning_is_loaded(tmp_path: Path) -> None:
    script = (
        "import sys; from purespike.cli.app import main\n"
        "sys.argv = ['purespike', 'train', 'digits', '--set', 'train.nonsense=3']\n"
        "try: main()\nfinally: print('lightning' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert "nonsense" in done.stderr


def test_a_training_that_can_start_is_let_through(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, inputs=np.ones((4, 2, 2)), labels=[0, 1])
    source, changes, table = look_at_training("json:loads", str(path), ["train.epochs=1"])
    assert (source, table) == (None, {"file": str(path)})
    assert changes == ['model.module="json:loads"', "train.epochs=1"]
    assert look_at_training("digits", None) == ("digits", [], None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ["inputs", "calibration", "training_inputs"])
def test_what_is_no_number_is_bad_input_and_never_a_verdict(
    name: str, value: float, tmp_path: Path
) -> None:
    fine = np.random.default_rng(0).random((6, 5, 2)).round()
    given = {n: fine.copy() for n in ("inputs", "calibration", "training_inputs")}
    given[name][2, 1, 0] = value
    path = tmp_path / "d.npz"
    np.savez(path, **given, labels=np.zeros(5, int), training_labels=np.zeros(5, int))
    if (name, value) != ("calibration", 1e300):  # a float64 is kept as it is there
        with pytest.raises(UsageError, match="NaN or infinite") as e:
            read_data(path)
        assert "[2, 1, 0]" in e.value.found and str(path) in e.value.where
    if np.isfinite(value):
        return
    with pytest.raises(UsageError, match="NaN or infinite"):
        Samples(given["inputs"], calibration=given["calibration"],
                training=(given["training_inputs"], np.zeros(5, int)))  # fmt: skip
    source = foreign(tmp_path / "user.nir")
    found = CliRunner().invoke(
        app, ["compile", str(source), *STATED, "--data", str(path), "--out", str(tmp_path / "b")]
    )
    assert isinstance(found.exception, UsageError) and not (tmp_path / "b").exists()


def test_calibration_of_another_length_is_bad_input(tmp_path: Path) -> None:
    x = np.zeros((6, 5, 2))
    np.savez(tmp_path / "d.npz", inputs=x, labels=np.zeros(5, int), calibration=x[:5])
    with pytest.raises(UsageError, match="does not have the form of the inputs") as e:
        read_data(tmp_path / "d.npz")
    assert e.value.found.startswith("(5, 5, 2)") and e.value.allowed.startswith("(6, B, 2)")


def test_inputs_with_as_many_steps_as_samples_are_said_to_have_time_in_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    source = foreign(tmp_path / "user.nir")
    for samples in (5, 6):
        np.savez(tmp_path / f"{samples}.npz", inputs=np.ones((6, samples, 2)))
    say_axes(tmp_path / "5.npz")
    assert capfd.readouterr().err == ""
    data, out = str(tmp_path / "6.npz"), str(tmp_path / "b")
    words = ["compile", str(source), *STATED, "--data", data, "--lava", "none", "--out", out]
    monkeypatch.setattr(sys, "argv", ["purespike", *words])
    with pytest.raises(SystemExit), pytest.warns(AxesWarning, match="T = 6 steps, 6 samples"):
        main()
    assert "as many" not in capfd.readouterr().err  # `simulate` notes it: it has no such warning
    say_axes(tmp_path / "6.npz")
    assert "6 steps and as many samples" in " ".join(capfd.readouterr().err.split())
    assert (tmp_path / "b" / "manifest.json").is_file()
