"""What is installed, which Lava would be used, and whether it works."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from purespike import telemetry
from purespike.compiler.errors import PurespikeError
from purespike.compiler.native import level
from purespike.compiler.packages import install
from purespike.judge.versions import versions
from purespike.targets.cpu.library import kernels
from purespike.targets.lava.run.probe import probe
from purespike.targets.lava.run.python import VARIABLE, python


@dataclass(frozen=True)
class Line:
    """One thing that was looked at."""

    what: str
    found: str
    works: bool
    remedy: str = ""
    optional: bool = False  # it was not asked for: an extra that is not installed is no fault


@dataclass(frozen=True)
class Use:
    """What can be done with the packages that are here.

    Attributes:
        commands: In words.
        remedy: What brings it where it does not work; empty where it does.
    """

    commands: str
    remedy: str


# What needs packages beside the core, by the names that are imported.
_NEEDS = {
    "compile and check files (.nir, .onnx, .net), verify, replay, simulate, map, export, report, "
    "diff, policy, rule": (),
    "compile and check torch modules, checkpoints and .pt2 files": ("torch", "safetensors"),
    "train, demo": ("torch", "safetensors", "lightning", "PIL", "sklearn"),
    "plot": ("matplotlib",),
    "scan": ("torch", "lightning", "PIL", "sklearn", "matplotlib"),
    "recordings of event cameras": ("torch", "tonic", "aedat"),
    "simulate --scheduler": ("dask", "distributed"),
}
_LAVA = "Lava in compile, check, verify and simulate"


def uses(lines: Sequence[Line]) -> list[Use]:
    """Which commands work, after what was found."""
    found = [Use(what, _missing(*packages)) for what, packages in _NEEDS.items()]
    lava = next(line for line in reversed(lines) if line.what.startswith("Lava"))
    return [*found, Use(_LAVA, "" if lava.works else lava.remedy or "see above")]


def _missing(*packages: str) -> str:
    """The commands that bring what is missing of these."""
    gone = [p for p in packages if importlib.util.find_spec(p) is None]
    return ", ".join(dict.fromkeys(map(install, gone)))


def examine() -> list[Line]:
    """Look at the packages, then run a tiny network on Lava and compare it with numpy."""
    lines = [Line("machine", f"{platform.system()} {platform.machine()}", True)]
    for name, version in versions().items():
        if name != "lava-nc":  # the interpreter that runs Lava may have another one
            here = version != "not installed"
            lines.append(Line(name, version, here, install(name), optional=name == "torch"))
    lines.append(Line("usage telemetry", f"off ({telemetry.VARIABLE}=1)", True))
    lines += [neurons(), simulator()]
    if VARIABLE not in os.environ and importlib.util.find_spec("lava") is None:
        remedy = f"{install('lava')} and pip install 'purespike[lava]'"
        return [*lines, Line("Lava", "not installed", False, remedy, optional=True)]
    try:
        lines.append(Line("Python for Lava", f"{python()} (set {VARIABLE} to choose)", True))
        result = probe()
    except PurespikeError as e:
        found = e.message + (f": {e.found}" if e.found else "")
        return [*lines, Line("Lava", found, False, e.remedy)]
    v = result.versions
    shim = ", with the compatibility shim" if v.shim else ""
    found = f"lava-nc {v.lava} on Python {v.python}, numpy {v.numpy}{shim}"
    lines.append(Line("Lava", found, True))
    done = f"two layers ran in {result.seconds:.1f} s, {result.spikes} spikes equal to numpy"
    return [*lines, Line("Lava, tiny network", done, True)]


def simulator() -> Line:
    """What the cpu executor runs on: the compiled kernels, or numpy."""
    what = "cpu executor"
    try:
        found = kernels()
    except PurespikeError as e:
        return Line(what, f"{e.message}: {e.found}", False, e.remedy)
    if isinstance(found, str):
        return Line(what, f"numpy, same results but slower: {found}", True)
    return Line(what, f"compiled kernels{f' for {level()}' if level() else ''}", True)


def neurons() -> Line:
    """Which kernel the neurons of the trainer run on: the compiled one, or torch operations."""
    what = "neurons on a CPU"
    if importlib.util.find_spec("torch") is None:
        return Line(what, "no torch", False, install("torch"), optional=True)
    from purespike.trainer.nn import native

    try:
        reason = native.available()
    except PurespikeError as e:
        return Line(what, f"{e.message}: {e.found}", False, e.remedy)
    if reason:
        return Line(what, f"torch operations, same results but slower: {reason}", True)
    return Line(what, f"compiled kernel ({native.VARIABLE}=off for torch operations)", True)
