"""purespike new."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from purespike.compiler.files.writing import new_folder

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
    source = resources.files("purespike.cli") / "project"
    with new_folder(folder) as stage:
        for name, file in FILES.items():
            text = (source / file).read_text(encoding="utf-8")
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("{{name}}", folder.name), encoding="utf-8")
    typer.echo(f"{folder}: {', '.join(FILES)}")
    typer.echo("Next, each command as it stands in README.md:")
    typer.echo(f"  cd {folder}")
    for command in commands():
        typer.echo(f"  {command}")


def commands() -> list[str]:
    """The commands of the project's README, in order."""
    text = (resources.files("purespike.cli") / "project" / "README.md").read_text(encoding="utf-8")
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
