"""No usage telemetry of other packages in a process of ours.

From some version on (seen in 1.31.1) ``import onnxruntime`` writes a device id and records of use,
with the path of the running program, into the user's cache and the temporary folder, and holds them
ready for an endpoint on the internet. Only a variable in the environment that is set before that
import prevents it; the call of its API, ``disable_telemetry_events``, comes after the first record.

Importing ``purespike`` sets the variable, so that it holds for the process and for all that it
starts: Lava's workers, torchrun's and Dask's, guarded readers.
"""

from __future__ import annotations

import os
import sys
import warnings

VARIABLE = "ORT_DISABLE_TELEMETRY"
_OFF = ("1", "true", "yes")  # what onnxruntime takes for yes


class TelemetryWarning(UserWarning):
    """Another package began to record its use before purespike could switch that off."""


def switch_off() -> None:
    """Switch off onnxruntime's telemetry, here and in all child processes.

    Warns:
        TelemetryWarning: If onnxruntime was imported before, without the variable.
    """
    late = "onnxruntime" in sys.modules and os.environ.get(VARIABLE, "").lower() not in _OFF
    os.environ[VARIABLE] = "1"
    if late:
        # What it has no such call for, it has no telemetry for.
        getattr(sys.modules["onnxruntime"], "disable_telemetry_events", lambda: None)()
        warnings.warn(
            "onnxruntime was imported before purespike: it may have written records of use to disk "
            f"already; later ones are switched off. Import purespike first, or set {VARIABLE}=1",
            TelemetryWarning,
            stacklevel=3,
        )
