"""Which Python runs Lava, and what it has.

Lava 0.10.0 declares Python 3.10 and numpy < 2. The worker also runs on newer ones, with a small
shim (`purespike.targets.lava.worker.shim`), in the current interpreter's environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from purespike.compiler.errors import PurespikeError

VARIABLE = "PURESPIKE_LAVA_PYTHON"
WORKER = Path(__file__).resolve().parents[1] / "worker" / "main.py"
_PROBE_SECONDS = 120.0
_ALLOWED = (
    "lava-nc 0.10.0 with scipy, networkx, asteval < 0.10 and numpy < 2.4, in this Python or in the "
    f"one that {VARIABLE} names"
)
_REMEDY = (
    "`pip install --no-deps --ignore-requires-python lava-nc==0.10.0` and `pip install "
    "purespike[lava]`, or make an environment of Python 3.10 with `pip install lava-nc==0.10.0` "
    f"and set {VARIABLE} to its python"
)


class LavaUnavailable(PurespikeError):
    """No Python that can run Lava."""


@dataclass(frozen=True)
class Versions:
    """What the Python that runs Lava has.

    Attributes:
        executable: Its path.
        python, lava, numpy, scipy: Version numbers.
        shim: Whether Lava needs the shim there.
    """

    executable: str
    python: str
    lava: str
    numpy: str
    scipy: str
    shim: bool


def python() -> str:
    """Path of the Python that runs Lava: `PURESPIKE_LAVA_PYTHON`, or the current one.

    Raises:
        LavaUnavailable: The variable names no file that can be executed.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return sys.executable
    if not (os.path.isfile(named) and os.access(named, os.X_OK)):
        raise LavaUnavailable(
            f"{VARIABLE} names no program",
            found=named,
            allowed="the path of a Python interpreter",
            remedy=f"correct or unset {VARIABLE}",
        )
    # The child runs in another folder. Links stay: they are what makes a virtual environment.
    return os.path.abspath(named)


def environment(executable: str) -> dict[str, str]:
    """Environment variables for the child: one thread per process, since Lava has one per layer."""
    variables = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        variables[name] = "1"
    if executable != sys.executable:
        # They describe this Python; another version cannot use its packages.
        for name in ("PYTHONPATH", "PYTHONHOME"):
            variables.pop(name, None)
    return variables


def versions(executable: str | None = None) -> Versions:
    """Asks the Python that runs Lava what it has.

    Args:
        executable: Its path; by default what `python` says.

    Raises:
        LavaUnavailable: It does not start, or Lava cannot be imported there.
    """
    executable = executable or python()
    try:
        answer = subprocess.run(
            [executable, str(WORKER), "--versions"],
            env=environment(executable),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=True,
        ).stdout
        found = json.loads(answer.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise LavaUnavailable(
            "the Python that should run Lava does not answer",
            found=f"{type(error).__name__}: {error}",
            allowed=_ALLOWED,
            where=executable,
            remedy=_REMEDY,
        ) from error
    if found["missing"]:
        raise LavaUnavailable(
            "Lava cannot be imported",
            found=f"Python {found['python']}: {found['missing']}",
            allowed=_ALLOWED,
            where=executable,
            remedy=_REMEDY,
        )
    return Versions(
        executable=executable,
        python=found["python"],
        lava=found["lava-nc"],
        numpy=found["numpy"],
        scipy=found["scipy"],
        shim=found["shim"],
    )
