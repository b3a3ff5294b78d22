"""Does Lava work on this machine? A tiny network, run for real and compared with numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.scratch import scratch_folder
from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import Connection, Dense, Lif, Program, Source
from purespike.targets.lava.run import python as interpreter
from purespike.targets.lava.run.guard import run_guarded

_STEPS, _FRAMES = 14, 12
_INPUTS, _HIDDEN, _OUTPUTS = 6, 8, 4
_VTH = 100
_SECONDS = 120.0


class LavaDiffers(PurespikeError):
    """Lava computes something else than its specification says."""


@dataclass(frozen=True)
class Probe:
    """A successful probe.

    Attributes:
        versions: What the Python that ran it has.
        spikes: Number of spikes that were compared, of both layers.
        seconds: Time from building to the end, without starting Python.
    """

    versions: interpreter.Versions
    spikes: int
    seconds: float


def probe() -> Probe:
    """Runs two layers of integrate-and-fire neurons in Lava and compares every spike with numpy.

    Raises:
        LavaUnavailable: No Python with Lava.
        LavaRunError: Lava failed.
        LavaDiffers: A spike differs.
    """
    versions = interpreter.versions()
    random = np.random.default_rng(0)
    frames = (random.random((_FRAMES, _INPUTS)) < 0.5).astype(np.uint8)
    first = random.integers(-60, 127, (_HIDDEN, _INPUTS))
    second = random.integers(-60, 127, (_OUTPUTS, _HIDDEN))
    program = Program(
        processes=(
            Source("input", (_INPUTS,), frames),
            Dense("first", first),
            Lif("hidden", (_HIDDEN,), _VTH),
            Dense("second", second),
            Lif("output", (_OUTPUTS,), _VTH),
        ),
        connections=(
            Connection("input", "first"),
            Connection("first", "hidden"),
            Connection("hidden", "second"),
            Connection("second", "output"),
        ),
        steps=_STEPS,
        record=("hidden", "output"),
    )
    with scratch_folder() as folder:
        write(program, folder)
        result = run_guarded(folder, timeout=_SECONDS)
    silence = np.zeros((_STEPS - _FRAMES, _INPUTS), np.uint8)
    hidden = _fire(np.concatenate([frames, silence]), first)
    for name, expected in (("hidden", hidden), ("output", _fire(hidden, second))):
        differing = int((result.spikes[name] != expected).sum())
        if differing:
            raise LavaDiffers(
                "Lava's spikes differ from the reference",
                found=f"{differing} of {expected.size} spikes",
                allowed="none",
                where=f"layer {name!r} of the probe, Lava {versions.lava}",
                remedy="use the versions that the documentation of the Lava target names",
            )
    spikes = sum(int(layer.sum()) for layer in result.spikes.values())
    return Probe(versions=versions, spikes=spikes, seconds=result.total_seconds)


def _fire(frames: NDArray[np.uint8], weight: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A synapse, one step late, into integrate-and-fire neurons with a reset to zero."""
    v = np.zeros(len(weight), np.int64)
    spikes = np.zeros((len(frames), len(weight)), np.uint8)
    for step in range(1, len(frames)):
        v += weight @ frames[step - 1]
        spikes[step] = v > _VTH
        v[v > _VTH] = 0
    return spikes
