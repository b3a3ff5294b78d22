"""The commands that are killed or lack disk, and what an undisturbed run of each gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.stopping import Stopped
from helpers.user_files import foreign
from purespike.compiler.scratch import HIDDEN
from purespike.targets.lava.worker.session import segments

STATED = "--dt 1e-3 --if-r step --reset zero --steps 6 --fires at --spike-input --lava none"
RECIPE = """[model]
in_channels = 2
classes = 3
steps = 3
size = [4, 4]
stem = 2
widths = [2]
strides = [1]
[train]
epochs = 3
batch_size = 16
"""


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        words: Of the command; ``{made}`` is the folder of `make`.
        code: Its exit code.
        output: What it writes, below the folder where it runs; "" for nothing.
        resumed: Beside ``words`` for the run after one that was ended, if there is that file.
        compared: The part of the output whose bytes have to come out the same.
    """

    words: str
    code: int = 0
    output: str = ""
    resumed: tuple[str, str] = ("", "")
    compared: str = ""

    def typed(self, made: Path, folder: Path | None = None) -> tuple[str, ...]:
        """The command; in a folder with what an ended run left, the one that goes on."""
        option, file = self.resumed
        goes_on = bool(file) and folder is not None and (folder / file).is_file()
        words = tuple(w.format(made=made) for w in self.words.split())
        return (*words, option) if goes_on else words


# A compile without labels is not proved: exit code 1.
CASES = {
    "compile": Case(f"compile {{made}}/user.nir {STATED} --out bundle", 1, "bundle"),
    "train": Case(
        "train {made}/small.toml --data {made}/train.npz --out run",
        output="run",
        resumed=("--resume", "run/last.ckpt"),
        compared="model",
    ),
    "golden": Case("simulate {made}/bundle --samples 2 -q"),
    "test-set": Case(
        "simulate {made}/bundle --data {made}/test.npz --shards parts --jobs 1 -q", output="parts"
    ),
    "verify": Case("verify {made}/bundle -q"),
    "report": Case("report {made}/bundle --format html --out report.html", output="report.html"),
}


def make(folder: Path) -> Path:
    """The networks and data of all commands."""
    foreign(folder / "user.nir")
    (folder / "small.toml").write_text(RECIPE)
    r = np.random.default_rng(3)
    x = (r.random((3, 64, 2, 4, 4)) < 0.4).astype(np.uint8)
    np.savez(folder / "train.npz", inputs=x, labels=r.integers(0, 3, 64))
    x = (r.random((6, 1024, 2)) < 0.4).astype(np.uint8)
    np.savez(folder / "test.npz", inputs=x, labels=r.integers(0, 3, 1024))
    compiled(folder, *CASES["compile"].typed(folder))
    return folder


def compiled(folder: Path, *words: str) -> None:
    """A bundle of the network without labels, which is not proved."""
    running = start(folder, words)
    running.leave()
    assert running.process.wait(300) == 1, running.text()


def older_output(made: Path, name: str) -> Path:
    """What another run left in the place of an output; it may be nothing."""
    there = made / f"older-{name}"
    if name == "bundle" and not there.exists():
        words = CASES["compile"].typed(made)
        compiled(made, *words[:-1], str(there), "--steps", "5")
    if name == "report.html":
        there.write_text("older")
    return there


def start(folder: Path, words: tuple[str, ...]) -> Stopped:
    """A command that stands at its beginning, with its temporary files in ``tmp`` of its folder."""
    folder.mkdir(exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)
    return Stopped(folder, words, folder / "tmp")


def contents(path: Path) -> dict[str, bytes]:
    """A file, or every file below a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def result(case: Case, folder: Path) -> dict[str, bytes]:
    """The output whose bytes have to come out the same; `leftovers` has what a kill left in it."""
    if not case.output:
        return {}
    found = contents(folder / case.output / case.compared)
    return {name: data for name, data in found.items() if not name.startswith(HIDDEN)}


@dataclass(frozen=True)
class Whole:
    """An undisturbed run.

    Attributes:
        made: The folder of the inputs.
        folder: Where it ran.
        text: What it printed.
        points: How often it was stopped.
        shown: The stop since which its output, or its temporary files, are on the disk. (What it
            makes before that, to see whether it may write, is gone at once.)
    """

    made: Path
    folder: Path
    text: str
    points: int
    shown: int


def undisturbed(case: Case, made: Path, folder: Path) -> Whole:
    """Run a command and count its stops."""
    running = start(folder, case.typed(made))
    shown, before = 0, False
    while running.go(running.at + 1):
        now = bool(traces(folder))
        shown, before = running.at if now and not before else shown, now
    assert running.process.returncode == case.code, running.text()
    assert not leftovers(folder)
    return Whole(made, folder, running.text(), running.at, shown or running.at // 2)


def traces(folder: Path) -> list[Path]:
    """What a command has written so far, but not the file by which tempfile tries its folder."""
    return [p for p in (*folder.glob("*"), *folder.glob("tmp/purespike-*")) if p.name != "tmp"]


def leftovers(folder: Path) -> list[Path]:
    """Temporary files but torch's own (empty) folder, and hidden folders beside outputs."""
    temporary = [p for p in folder.glob("tmp/*") if not p.name.startswith("torchinductor_")]
    return [*temporary, *folder.rglob(f"{HIDDEN}*")]


def processes(folder: Path) -> dict[int, int]:
    """The living processes of a command, whatever their session: by id, their session."""
    mark = f"TMPDIR={folder / 'tmp'}\0".encode()
    found: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes():
                fields = (entry / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
                if fields[0] not in "ZX":
                    found[int(entry.name)] = int(fields[3])
        except OSError:
            continue
    return found


def shared_memory(sessions: set[int]) -> list[str]:
    """What Lava runs of these sessions have in shared memory."""
    return [path for number in sessions for path in segments(number)]


def fresh(folder: Path, case: Case, whole: Whole, *, older: bool) -> Callable[[], bool]:
    """Make a command's folder, perhaps with an older output in it.

    Returns:
        Whether the output is whole, still the older one, or not there. Of a test set, which has
        many parts, each is there or not.
    """
    folder.mkdir()
    before: dict[str, bytes] = {}
    if older and case.output and not case.resumed[0]:
        there, here = older_output(whole.made, case.output), folder / case.output
        if there.exists():
            shutil.copytree(there, here) if there.is_dir() else shutil.copy(there, here)
        before = contents(here)
    expected = result(case, whole.folder)

    def holds() -> bool:
        found = result(case, folder)
        if case.output == "parts":
            return found.items() <= expected.items()
        return not found or found in (before, expected)

    return holds
