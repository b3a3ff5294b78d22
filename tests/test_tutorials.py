"""Every console block of docs/tutorials.md runs, in order, in a folder with one foreign file."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import nir
import pytest
import torch
from helpers.docs_blocks import blocks
from helpers.user_files import foreign
from torch import nn
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import PurespikeError

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(
    r"^## (.*?)$|```console\n(.*?)```",
    (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run."""
    made = tmp_path_factory.mktemp("tutorials")
    foreign(made / "model.nir")
    return made


def test_the_commands_run_as_they_stand(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    ran = 0
    for _, block in BLOCKS:
        commands = [x.removeprefix("$ ") for x in block.splitlines() if x.startswith("$ ")]
        shown = [x.strip() for x in block.splitlines() if x and not x.startswith("$ ")]
        for command in commands:
            program, *words = command.split()
            assert program == "purespike", command
            done = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
            error = done.exception
            said = error.text("command line") if isinstance(error, PurespikeError) else done.output
            assert error is None or isinstance(error, SystemExit | PurespikeError), error
            if shown:  # an error is what this block is about
                assert isinstance(error, PurespikeError)
                for line in shown:
                    assert line.removesuffix("...").removeprefix("error:").strip() in said, line
            else:
                assert error is None or isinstance(error, SystemExit), (command, said)
                assert done.exit_code in (0, 1), (command, said)  # a verdict may say no
            ran += 1
    assert ran >= 9
    assert (folder / "bundle" / "manifest.json").exists()
    assert (folder / "my_project" / "network.py").exists()
    with h5py.File(folder / "bundle" / "model.nir") as file:
        assert set(file["node/nodes"])


@pytest.mark.filterwarnings("ignore")  # of SpikingJelly's imports
def test_the_session_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a file as SpikingJelly writes it; what is shown between dots is what is said."""
    from spikingjelly.activation_based import neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    torch.manual_seed(0)
    layers = nn.Conv2d(2, 8, 3, padding=1), neuron.IFNode(), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(512, 10), neuron.LIFNode(tau=2.0))
    monkeypatch.chdir(tmp_path)
    nir.write("theirs.nir", export_to_nir(model, torch.zeros(1, 2, 8, 8), dt=1e-3))
    *_, session = blocks("README.md", "console")
    for command, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)+)", session.text, re.MULTILINE):
        words = command.split()[1:] + (["--lava", "none"] if "compile" in command else [])
        done = CliRunner().invoke(app, words, env={"COLUMNS": "100"})
        error = done.exception
        said = error.text("command line") if isinstance(error, PurespikeError) else done.output
        for line in shown.splitlines():
            expected = " ".join(line.removeprefix("error: ").split())
            if "compile" in command:  # the test leaves Lava out
                expected = expected.replace("PS012", "PS010, PS012")
            # where a line is broken depends on the terminal
            assert expected == "..." or expected in " ".join(said.split()), (line, said)
