"""What commands load before they work: torch and terminal libraries come when they are needed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import typer

from purespike.cli.app import COMMANDS, _guarded, load_command


def loaded(script: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded after a script."""
    code = f"import sys\n{script}\nprint(*sorted({{n.partition('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_says_itself(name: str) -> None:
    module, function, short = COMMANDS[name]
    found = getattr(import_module(f"purespike.cli.commands.{module}"), function)
    said = found.info.help if isinstance(found, typer.Typer) else found.__doc__
    assert said.splitlines()[0] == short
    assert load_command(name).name == name


def test_help_loads_neither_numpy_nor_rich() -> None:
    assert not loaded("import purespike.cli.app") & {"numpy", "rich", "torch", "onnx"}


def test_a_network_from_a_file_is_compiled_without_torch() -> None:
    modules = "purespike.flow.build, purespike.flow.inputs.load, purespike.flow.testset"
    assert not loaded(f"import {modules}") & {"torch", "sklearn", "lightning"}


def test_ctrl_c_while_numpy_is_loaded_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numpy cannot be loaded a second time, and the words were printed through what needs it."""

    class Once:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "purespike.cli.terminal":
                raise RuntimeError("CPU dispatcher tracer already initlized")

    monkeypatch.delitem(sys.modules, "purespike.cli.terminal", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Once, *sys.meta_path])
    monkeypatch.delattr("purespike.cli.terminal", raising=False)

    def interrupted() -> None:
        raise KeyboardInterrupt

    assert _guarded(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
