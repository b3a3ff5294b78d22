"""The options of commands: each is listed once, and arrives where it is used."""

from __future__ import annotations

import typing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from purespike.cli.app import COMMANDS as commands
from purespike.cli.app import load_command
from purespike.cli.commands.options import CompileOptions, JudgeOptions, NetworkOptions
from purespike.cli.flatten import flatten
from purespike.compiler.rules.policy import STRICT
from purespike.flow.inputs.stated import NIR, Stated
from purespike.options import Options

COMMANDS = {
    name: {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    for name, command in ((name, load_command(name)) for name in commands)
}


@dataclass(frozen=True)
class Group:
    size: Annotated[int, typer.Option(min=1, help="How many.")]
    loud: Annotated[bool, typer.Option("--loud", help="With a noise.")] = False


def test_a_dataclass_becomes_options() -> None:
    seen: list[object] = []

    def command(name: Annotated[str, typer.Argument()], group: Group, last: int = 3) -> None:
        """What it does."""
        seen.extend([name, group, last])

    one = typer.Typer(rich_markup_mode=None)
    one.command()(flatten(command))
    assert CliRunner().invoke(one, ["x", "--size", "2", "--loud"]).exit_code == 0
    assert seen == ["x", Group(2, True), 3]
    shown = CliRunner().invoke(one, ["--help"]).output
    assert "What it does." in shown and "How many." in shown and "With a noise." in shown
    assert CliRunner().invoke(one, ["x"]).exit_code == 2  # --size has no default
    assert CliRunner().invoke(one, ["x", "--size", "0"]).exit_code == 2


def test_compile_and_check_take_the_same_statements_and_judges() -> None:
    shared = {
        "--" + f.name.replace("_", "-") for g in (NetworkOptions, JudgeOptions) for f in fields(g)
    }
    assert shared <= COMMANDS["compile"] and shared <= COMMANDS["check"]


def test_every_statement_and_every_option_of_a_build_is_there_in_both_interfaces() -> None:
    assert {f.name for f in fields(NetworkOptions)} == {f.name for f in fields(Stated)}
    assert set(NIR) < {f.name for f in fields(Stated)}
    ours = {f.name for f in fields(CompileOptions)} - {"bits", "samples"}
    theirs = {f.name for f in fields(Options)}
    assert ours == theirs - {"weight_bits", "golden", "lava_samples", "policy", "waivers"}


@pytest.mark.parametrize("name", [f.name for f in fields(CompileOptions)])
def test_defaults_are_those_of_a_build(name: str) -> None:
    built = CompileOptions().options(STRICT, None)
    field = {"bits": "weight_bits", "samples": "golden"}.get(name, name)
    assert getattr(built, field) == getattr(Options(), field)


def test_a_shape_and_a_path_arrive() -> None:
    said = NetworkOptions(shape="1,8,8", data=Path("x.npz"), steps=4).stated()
    assert said == Stated(shape=(1, 8, 8), data=Path("x.npz"), steps=4)
    assert typing.get_type_hints(Stated)["steps"] == int | None
