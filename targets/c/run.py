"""The C program compiled and run on this machine, by its own check and value by value."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.scratch import scratch_folder
from purespike.targets.c.emit import RECORD, packed, sources, text_of
from purespike.targets.c.lower import lower

SECONDS = 600  # that compiling or running may take
FLAGS = "-O1"
NETWORK = ("network.c", "parameters.c")


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


def compiler() -> list[str] | None:
    """The C compiler: ``CC`` of the environment, cc, gcc or clang; None if there is none."""
    chosen = shlex.split(os.environ.get("CC", ""))
    for command in [chosen] if chosen else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None


def replay_program(folder: Path, scratch: Path, *, flags: str = FLAGS, run: str = "") -> Replayed:
    """Compile a C program and let it replay its golden samples, with every spike and membrane.

    Args:
        folder: That holds its files; nothing is written there.
        scratch: An empty folder for what is built.
        flags: For the compiler.
        run: A command that runs the program, such as ``qemu-arm``.

    Raises:
        CRunError: If there is no compiler, or the program does not compile or does not end.
    """
    program = _compile(folder, ("main.c", *NETWORK, "golden.c"), scratch / "trace", flags)
    ran = _run([*shlex.split(run), str(program)], (0, 1))
    return Replayed(ran.returncode == 0, ran.stdout.strip())


def run_c(graph: Graph, inputs: NDArray[Any], *, flags: str = FLAGS, run: str = "") -> Trace:
    """What the C program of a network does, written anew, compiled and run here.

    Args:
        graph: The network, the part on the chip.
        inputs: (T, B, *shape) of 0 and 1.
        flags: For the compiler.
        run: A command that runs the program, such as ``qemu-arm``.

    Returns:
        The spikes of every neuron that fires and the membranes of all, (T, B, *shape).

    Raises:
        CError: If the network has no exact form in integers.
        CRunError: If there is no compiler, or the program does not compile or does not end.
    """
    files = sources(graph)
    with scratch_folder() as folder:
        for file, text in {**files, RECORD: text_of(RECORD)}.items():
            (folder / file).write_text(text, encoding="utf-8")
        program = _compile(folder, (RECORD, *NETWORK), folder / "record", flags)
        steps, samples = inputs.shape[:2]
        given = packed(inputs.reshape(steps, samples, -1).swapaxes(0, 1))
        given.tofile(folder / "inputs")
        _run([*shlex.split(run), str(program), *(str(folder / n) for n in ("inputs", "out"))])
        rows = np.fromfile(folder / "out", np.uint8).reshape(samples, steps, -1)
    return _trace(graph, rows)


def _trace(graph: Graph, rows: NDArray[np.uint8]) -> Trace:
    """The record (B, T, bytes) by layer."""
    spikes: dict[str, NDArray[Any]] = {}
    membranes: dict[str, NDArray[Any]] = {}
    at = 0
    for layer in lower(graph).layers:
        shape = (*rows.shape[:2], *graph.edge(layer.name).shape)
        if layer.line is not None:
            spikes[layer.name] = rows[:, :, at : at + layer.neurons].reshape(shape).swapaxes(0, 1)
            at += layer.neurons
        held = np.ascontiguousarray(rows[:, :, at : at + 4 * layer.neurons]).view("<i4")
        membranes[layer.name] = held.reshape(shape).swapaxes(0, 1)
        at += 4 * layer.neurons
    return Trace(spikes, membranes)


def _compile(folder: Path, names: Sequence[str], program: Path, flags: str) -> Path:
    command = compiler()
    if command is None:
        raise CRunError(
            "the C program was not run: no C compiler is found",
            remedy="install gcc or clang, or set CC",
        )
    build = [*command, "-std=c99", *shlex.split(flags), "-DTRACE", "-o", str(program)]
    done = _done([*build, *(str(folder / n) for n in names)])
    if done.returncode:
        raise CRunError("the C program does not compile", found=done.stderr.strip()[-500:])
    return program


def _run(command: list[str], allowed: Sequence[int] = (0,)) -> subprocess.CompletedProcess[str]:
    ran = _done(command)
    if ran.returncode not in allowed:
        raise CRunError(
            "the C program did not run to its end",
            found=f"exit {ran.returncode}: {(ran.stderr or ran.stdout).strip()[-300:]}",
        )
    return ran


def _done(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as e:
        raise CRunError(
            "the C program did not end", found=f"{Path(command[0]).name} took {SECONDS} seconds"
        ) from e
    except OSError as e:
        raise CRunError("the C program cannot be run here", found=str(e)) from e
