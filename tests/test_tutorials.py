"""Every console block of docs/tutorials.md runs, in order, in a folder with one foreign file."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import pytest
from helpers.user_files import foreign
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
