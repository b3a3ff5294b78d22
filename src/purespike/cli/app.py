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
from typing import Annotated

import typer

import purespike
from purespike.cli.commands.check import check
from purespike.cli.commands.compile import compile_
from purespike.cli.commands.demo import demo
from purespike.cli.commands.doctor import doctor
from purespike.cli.commands.execute import replay, simulate, verify
from purespike.cli.commands.export import export
from purespike.cli.commands.map import map_
from purespike.cli.commands.plot import plot
from purespike.cli.commands.report import diff, policy_app, report
from purespike.cli.commands.scan import scan
from purespike.cli.commands.shared import INTERNAL, INTERRUPTED, OK, USAGE, err, out
from purespike.cli.commands.train import train
from purespike.cli.console import print_error
from purespike.cli.flatten import flatten
from purespike.cli.stopping import Stopped, stop_cleanly
from purespike.compiler.errors import PurespikeError
from purespike.compiler.packages import missing_package
from purespike.trainer.errors import TrainingInterrupted

app = typer.Typer(
    name="purespike",
    help="Train full-spike neural networks, compile them to neuromorphic hardware, and prove that "
    "only spikes and additions remain.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # markup eats brackets, and its tables cut words off
    pretty_exceptions_enable=False,
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "train": train,
    "plot": plot,
    "scan": scan,
    "compile": compile_,
    "check": check,
    "simulate": simulate,
    "verify": verify,
    "replay": replay,
    "map": map_,
    "export": export,
    "report": report,
    "diff": diff,
    "doctor": doctor,
}
for _name, _command in _COMMANDS.items():
    # The whole first line: click would cut it at 45 characters.
    app.command(_name, short_help=str(_command.__doc__).splitlines()[0])(flatten(_command))
app.add_typer(policy_app, name="policy")


def _version(asked: bool) -> None:
    if asked:
        out.print(f"purespike {purespike.__version__}")
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
    sys.exit(_guarded(app))


def _guarded(run: Callable[[], object]) -> int:
    """The exit code of a run: usage errors leave typer as SystemExit(2), interrupts as 130."""
    try:
        run()
        return OK
    except SystemExit as e:
        if isinstance(e, Stopped) or e.code == INTERRUPTED:  # typer's own way of ending on Ctrl-C
            err.print("interrupted", style="yellow")
        return e.code if isinstance(e.code, int) else OK
    except KeyboardInterrupt:
        err.print("interrupted", style="yellow")
        return INTERRUPTED
    except PurespikeError as e:
        print_error(e)
        return INTERRUPTED if isinstance(e, TrainingInterrupted) else USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except ImportError as e:
        if error := missing_package(e):
            print_error(error)
            return USAGE
        return _internal()
    except Exception:
        return _internal()


def _internal() -> int:
    """Called where an exception is handled that is a defect of ours."""
    err.print("internal error: please report this", style="bold red")
    if os.environ.get("PURESPIKE_DEBUG"):
        traceback.print_exc()
    else:
        err.print("set PURESPIKE_DEBUG=1 to see where", style="dim")
    return INTERNAL
