"""`purespike new` makes a project that runs as it is written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.cli.commands.new import FILES, commands


def new(folder: Path) -> None:
    done = CliRunner().invoke(app, ["new", str(folder)])
    assert done.exit_code == 0, done.output
    assert all(command in done.output for command in commands())


def test_a_project_is_whole_and_bears_its_name(tmp_path: Path) -> None:
    new(tmp_path / "deep" / "my_project")
    folder = tmp_path / "deep" / "my_project"
    made = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert made == set(FILES)
    assert [p.name for p in folder.parent.iterdir()] == ["my_project"]  # nothing hidden is left
    readme = (folder / "README.md").read_text()
    assert readme.startswith("# my_project\n") and "{{" not in readme
    os.umask(mask := os.umask(0))
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask
    again = CliRunner().invoke(app, ["new", str(folder)])
    assert "something of this name already" in str(again.exception)


KILLED = """
import os, signal, sys
from purespike.cli.commands import new
class Files(dict):
    def items(self):
        yield from list(super().items())[:2]
        os.kill(os.getpid(), signal.SIGKILL)
new.FILES = Files(new.FILES)
new.new(new.Path(sys.argv[1]))
"""


def test_what_a_killed_one_left_goes_with_the_next(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "p")], check=False)
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    new(tmp_path / "q")
    assert [p.name for p in tmp_path.iterdir()] == ["q"]


def test_the_workflow_gates_with_commands_that_exist(tmp_path: Path) -> None:
    new(tmp_path / "p")
    text = (tmp_path / "p" / ".github" / "workflows" / "spike-only.yml").read_text()
    steps = yaml.safe_load(text)["jobs"]["verdict"]["steps"]
    assert all("run" in s or "uses" in s for s in steps)
    lines = [line.strip() for s in steps for line in str(s.get("run", "")).splitlines()]
    ours = [line for line in lines if line.startswith("purespike ")]
    assert any("diff main-bundle bundle --fail-on" in line for line in ours)
    for line in ours:  # every one of README's that makes the bundle, too
        words = re.sub(r" >> .*", "", line).split()[1:]
        done = CliRunner().invoke(app, [words[0], "--help"])
        assert all(w in done.output for w in words if w.startswith("--")), line
    assert set(commands()[:3]) <= set(lines)


@pytest.mark.slow
def test_every_command_of_its_readme_runs(tmp_path: Path) -> None:
    new(tmp_path / "p")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = {}
    for command in commands():
        done = subprocess.run(
            command.split(),
            cwd=tmp_path / "p",
            env={**os.environ, "PATH": path, "COLUMNS": "100"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        said[command.split()[1]] = done.stdout
    assert "SPIKE-ONLY: every rule was checked and holds" in said["compile"]
    assert "strip_auxiliary" in said["compile"] and "lower_gates" in said["explain"]
    assert "all bit for bit equal" in said["verify"]
