"""The folder of a C program, and what happens when it is compiled and run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.kinds import PROGRAM
from purespike.compiler.files.writing import staged_folder
from purespike.compiler.ir.graph import Graph
from purespike.targets.bundle.manifest import file_hash
from purespike.targets.c.emit import Form
from purespike.targets.c.footprint import Footprint, footprint, require_ram
from purespike.targets.c.golden import write_c

MANIFEST = PROGRAM.manifest
SECONDS = 600  # that compiling or replaying may take


class CRunError(PurespikeError):
    """The C program could not be compiled or run here."""


@dataclass(frozen=True)
class Replayed:
    """What the program's own check said.

    Attributes:
        equal: Whether every output, spike and membrane was the golden one.
        text: What it printed.
    """

    equal: bool
    text: str


def write_program(
    graph: Graph,
    folder: Path,
    inputs: NDArray[Any],
    spikes: Mapping[str, NDArray[Any]],
    membranes: Mapping[str, NDArray[Any]],
    *,
    ram: int | None = None,
    form: Form = "c",
    version: str,
) -> Footprint:
    """Write the C program of a network, whole or not at all.

    Args:
        graph: The network, the part on the chip.
        folder: Where; a C program of ours that is there is replaced.
        inputs: Of golden samples, as `write_c` takes them.
        spikes: Likewise.
        membranes: Likewise.
        ram: Bytes of working memory that it may have.
        form: ``hls`` puts in the pragmas of Vitis HLS.
        version: Of purespike.

    Raises:
        CError: If the network has no such form, or needs more memory.
        OutputError: If the folder holds something else, or cannot be written.
    """
    needs = footprint(graph)
    if ram is not None:
        require_ram(needs, ram)
    with staged_folder(folder, PROGRAM) as stage:
        samples = write_c(graph, stage, inputs, spikes, membranes, form)
        manifest = {
            **PROGRAM.mark,
            "format": 1,
            "versions": {"purespike": version},
            "form": form,
            "golden_samples": samples,
            "footprint": needs.data(),
            "files": {
                p.name: {"bytes": p.stat().st_size, "sha256": file_hash(p)}
                for p in sorted(stage.iterdir())
            },
        }
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        (stage / MANIFEST).write_text(text, encoding="utf-8")
    return needs


def compiler() -> list[str] | None:
    """The C compiler: ``CC`` of the environment, cc, gcc or clang; None if there is none."""
    chosen = shlex.split(os.environ.get("CC", ""))
    for command in [chosen] if chosen else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None


def replay_program(folder: Path, scratch: Path, *, flags: str = "-O1", run: str = "") -> Replayed:
    """Compile a C program and let it replay its golden samples, with every spike and membrane.

    Args:
        folder: That holds its files; nothing is written there.
        scratch: An empty folder for what is built.
        flags: For the compiler.
        run: A command that runs the program, such as ``qemu-arm``.

    Raises:
        CRunError: If there is no compiler, or the program does not compile or does not end.
    """
    command = compiler()
    if command is None:
        raise CRunError(
            "the C program was not run: no C compiler is found",
            remedy="install gcc or clang, or set CC",
        )
    names = ("main.c", "network.c", "parameters.c", "golden.c")
    program = scratch / "trace"
    build = [*command, "-std=c99", *shlex.split(flags), "-DTRACE", "-o", str(program)]
    try:
        done = subprocess.run(
            [*build, *(str(folder / n) for n in names)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if done.returncode:
            raise CRunError(
                "the C program does not compile",
                where=str(folder),
                found=done.stderr.strip()[-500:],
            )
        ran = subprocess.run(
            [*shlex.split(run), str(program)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise CRunError("the C program did not end", where=str(folder), found=str(e)) from e
    if ran.returncode not in (0, 1):
        raise CRunError(
            "the C program did not run to its end",
            where=str(folder),
            found=f"exit {ran.returncode}: {(ran.stderr or ran.stdout).strip()[-300:]}",
        )
    return Replayed(ran.returncode == 0, ran.stdout.strip())
