"""What is installed, which Lava would be used, and whether it works."""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass

from purespike import telemetry
from purespike.compiler.errors import PurespikeError
from purespike.compiler.native import level
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


def examine() -> list[Line]:
    """Look at the packages, then run a tiny network on Lava and compare it with numpy."""
    lines = [Line("machine", f"{platform.system()} {platform.machine()}", True)]
    for name, version in versions().items():
        if name != "lava-nc":  # the interpreter that runs Lava may have another one
            lines.append(Line(name, version, version != "not installed", f"pip install {name}"))
    lines.append(Line("usage telemetry", f"off ({telemetry.VARIABLE}=1)", True))
    lines += [neurons(), simulator()]
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
        return Line(what, "no torch", False, "pip install torch")
    from purespike.trainer.nn import native

    try:
        reason = native.available()
    except PurespikeError as e:
        return Line(what, f"{e.message}: {e.found}", False, e.remedy)
    if reason:
        return Line(what, f"torch operations, same results but slower: {reason}", True)
    return Line(what, f"compiled kernel ({native.VARIABLE}=off for torch operations)", True)
