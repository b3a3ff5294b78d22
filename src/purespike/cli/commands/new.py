"""purespike new."""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from purespike.compiler.storage import OutputError, said

# By the name in the project, the file beside this package: it holds no names with a dot in front.
FILES = {
    "README.md": "README.md",
    "network.py": "network.py",
    "data.py": "data.py",
    "recipe.toml": "recipe.toml",
    "policy.toml": "policy.toml",
    ".gitignore": "gitignore",
    ".github/workflows/spike-only.yml": "workflow.yml",
}


def new(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Made anew; its name is the project's.")
    ],
) -> None:
    """Start a project: network, data, recipe, policy, and a CI workflow with the gate."""
    if os.path.lexists(folder):
        raise OutputError(
            "there is something of this name already",
            where=str(folder),
            remedy="name a folder that does not exist yet",
        )
    source = resources.files("purespike.cli") / "project"
    with said(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".purespike-", dir=folder.parent))
        try:
            for name, file in FILES.items():
                text = (source / file).read_text(encoding="utf-8")
                path = stage / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.replace("{{name}}", folder.name), encoding="utf-8")
            stage.chmod(0o755)  # of a folder for temporary files nobody else reads anything
            stage.rename(folder)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
    typer.echo(f"{folder}: {', '.join(FILES)}")
    typer.echo("Next, each command as it stands in README.md:")
    typer.echo(f"  cd {folder}")
    for command in commands():
        typer.echo(f"  {command}")


def commands() -> list[str]:
    """The commands of the project's README, in order."""
    text = (resources.files("purespike.cli") / "project" / "README.md").read_text(encoding="utf-8")
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
