"""The command line. It joins the folders and holds no logic of its own.

Commands import what they need when they run: torch alone takes seconds to load, and a hardware
team can check, verify and simulate a bundle where torch is not installed.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer

import purespike
from purespike.cli.codes import INTERNAL, INTERRUPTED, OK, USAGE
from purespike.cli.command import Command, Group
from purespike.cli.stopping import Stopped, stop_cleanly
from purespike.cli.warned import warn_plainly
from purespike.compiler.errors import PurespikeError
from purespike.compiler.memory import TooLittleMemory, ran_out
from purespike.compiler.packages import missing_package
from purespike.compiler.storage import STORAGE, OutputError
from purespike.trainer.errors import TrainingInterrupted

# By name: the module below `purespike.cli.commands`, the function, the first line of its help,
# which stands here since a list of commands shall not load them all.
COMMANDS = {
    "demo": (
        "demo",
        "demo",
        "Train on handwritten digits, compile, run on Lava, judge: the whole chain on real data.",
    ),
    "new": (
        "new",
        "new",
        "Start a project: network, data, recipe, policy, and a CI workflow with the gate.",
    ),
    "train": ("train", "train", "Train a network; auxiliary paths are part of the training only."),
    "plot": (
        "plot",
        "plot",
        "Draw training curves, and firing rates and gradients by depth, of one or more runs.",
    ),
    "scan": (
        "scan",
        "scan",
        "Measure which surrogate carries gradients through an untrained network, and draw it.",
    ),
    "compile": (
        "compile",
        "compile_",
        "Strip, fuse, quantize, write NIR, ONNX, Lava and golden vectors, and judge.",
    ),
    "check": (
        "check",
        "check",
        "Judge a network; exit 0 if it is spike-only, 1 if it is not or could not be proved.",
    ),
    "simulate": (
        "execute",
        "simulate",
        "Run the bundle's Lava program on golden samples, or its network on a whole test set.",
    ),
    "verify": (
        "execute",
        "verify",
        "Run or compare every file of a bundle: hashes, all executors, and what follows from them.",
    ),
    "replay": (
        "execute",
        "replay",
        "Check every hash of a bundle and replay its golden vectors with numpy alone.",
    ),
    "map": (
        "map",
        "map_",
        "Lay a network out on a chip's cores: an estimate; exit 1 if it does not fit.",
    ),
    "export": (
        "export",
        "export",
        "Write a network as a C program or as NIR, or its golden samples as NIR's data.",
    ),
    "targets": (
        "targets",
        "targets",
        "List what each target can say: exactly, with a rewrite, or not at all, and why.",
    ),
    "explain": (
        "explain",
        "explain",
        "Tell one layer's life: module, passes, bounds, bits, counts, timing, cores, files.",
    ),
    "report": (
        "report",
        "report",
        "Write the report as HTML, SARIF, JUnit XML, Markdown, JSON or text.",
    ),
    "diff": ("report", "diff", "Compare two builds; exit 1 if a gate trips."),
    "rule": (
        "rule",
        "rule",
        "Print what a rule checks, why, an example that fails, and how to fix it.",
    ),
    "doctor": (
        "doctor",
        "doctor",
        "Print what is installed, which Lava would be used, and whether it works.",
    ),
    "policy": ("report", "policy_app", "What a team accepts."),
}
_SETTINGS: dict[str, Any] = {
    "add_completion": False,  # of the whole, which adds it once
    "rich_markup_mode": None,  # markup eats brackets, and its tables cut words off
    "pretty_exceptions_enable": False,
}


class Commands(Group):
    """The commands, each loaded when it is asked for."""

    _listing = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name; only its name and help while all are listed."""
        stub = self.commands.get(cmd_name)
        ours = stub is not None and not self._listing and cmd_name in COMMANDS
        return load_command(cmd_name) if ours else stub

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Names that begin so: none of the commands is loaded for that."""
        self._listing = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._listing = False

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """All names with their first line."""
        self._listing = True
        try:
            super().format_commands(ctx, formatter)
        finally:
            self._listing = False


def load_command(name: str) -> Any:
    """The command of that name, made for typer."""
    module, function, short = COMMANDS[name]
    found = getattr(import_module(f"purespike.cli.commands.{module}"), function)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    from purespike.cli.flatten import flatten

    alone = typer.Typer(**_SETTINGS)
    alone.command(name, cls=Command, short_help=short)(flatten(found))
    return typer.main.get_command(alone)


app = typer.Typer(
    name="purespike",
    cls=Commands,
    help="Train full-spike neural networks, compile them to neuromorphic hardware, and prove that "
    "only spikes and additions remain.",
    no_args_is_help=True,
    **{**_SETTINGS, "add_completion": True},
)
for _name, (_, _, _short) in COMMANDS.items():
    # The whole first line: click would cut it at 45 characters.
    app.command(_name, short_help=_short)(lambda: None)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"purespike {purespike.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before every command."""


def main() -> None:
    """The command ``purespike``: one clear error for what a user can cause, never a traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path may hold what no terminal can show
        sys.stdout.reconfigure(errors="backslashreplace")
    stop_cleanly()
    warn_plainly()
    sys.exit(_guarded(app))


def _guarded(run: Callable[[], object]) -> int:
    """The exit code of a run: usage errors leave typer as SystemExit(2), interrupts as 130."""
    try:
        run()
        return OK
    except SystemExit as e:
        if isinstance(e, Stopped) or e.code == INTERRUPTED:  # typer's own way of ending on Ctrl-C
            _say("interrupted", "yellow")
        return e.code if isinstance(e.code, int) else OK
    except KeyboardInterrupt:
        _say("interrupted", "yellow")
        return INTERRUPTED
    except PurespikeError as e:
        _print(e)
        return INTERRUPTED if isinstance(e, TrainingInterrupted) else USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as e:
        return _unexpected(e)


def _unexpected(e: Exception) -> int:
    """The exit code of what the machine did; anything else is a defect of ours."""
    error: PurespikeError | None = None
    if ran_out(e):
        error = TooLittleMemory(str(e))
        traceback.clear_frames(e.__traceback__)  # what they hold makes room for the words
    elif isinstance(e, ImportError):
        error = missing_package(e)
    elif isinstance(e, OSError) and e.errno in STORAGE:  # torch makes a folder while it loads
        words = e.strerror or str(e)
        error = OutputError("a file cannot be written", where=str(e.filename or ""), found=words)
    if error is None:
        return _internal()
    _print(error)
    return USAGE


def _internal() -> int:
    """Called where an exception is handled that is a defect of ours."""
    _say("internal error: please report this", "bold red")
    if os.environ.get("PURESPIKE_DEBUG"):
        traceback.print_exc()
    else:
        _say("set PURESPIKE_DEBUG=1 to see where", "dim")
    return INTERNAL


def _say(words: str, style: str) -> None:
    try:
        from purespike.cli.terminal import err
    except Exception:  # rich is missing, or Ctrl-C came while numpy was loaded: it loads only once
        print(words, file=sys.stderr)
    else:
        err.print(words, style=style)


def _print(error: PurespikeError) -> None:
    try:
        from purespike.cli.terminal import print_error

        print_error(error)
    except (ImportError, MemoryError):
        print("error: " + error.text("command line"), file=sys.stderr)
