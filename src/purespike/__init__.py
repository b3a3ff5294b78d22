"""purespike: from a full-spike network in torch to neuromorphic hardware, with proof.

    import purespike as ps

    build = ps.compile(model, ps.Samples(x, y))  # a torch module, a file, a checkpoint, ...
    build.compliant, build.headline, build.findings
    build.save("bundle")

The folders follow the data: :mod:`purespike.trainer` makes a torch module,
:mod:`purespike.compiler` turns it into a graph of spikes and additions, and
:mod:`purespike.targets` writes that graph for NIR, ONNX and Lava. What is named here is loaded
when it is used: importing purespike loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module

from purespike.telemetry import switch_off

TYPE_CHECKING = False  # what type checkers take for true; typing itself takes longer than all else
if TYPE_CHECKING:
    from typing import Any

    import purespike.nn as nn
    from purespike.api import check as check
    from purespike.api import compile as compile
    from purespike.api import load as load
    from purespike.api import open_bundle as open_bundle
    from purespike.api import train as train
    from purespike.compiler.errors import PurespikeError as PurespikeError
    from purespike.compiler.errors import Refusal as Refusal
    from purespike.compiler.errors import UsageError as UsageError
    from purespike.options import Options as Options
    from purespike.subject import Samples as Samples

__version__ = "0.2.0.dev3"
__all__ = [
    "Options",
    "PurespikeError",
    "Refusal",
    "Samples",
    "UsageError",
    "__version__",
    "check",
    "compile",
    "load",
    "nn",
    "open_bundle",
    "train",
]

_ROOMS = {
    "Options": "options",
    "PurespikeError": "compiler.errors",
    "Refusal": "compiler.errors",
    "Samples": "subject",
    "UsageError": "compiler.errors",
    "check": "api",
    "compile": "api",
    "load": "api",
    "open_bundle": "api",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    """Load what is public when it is asked for (PEP 562)."""
    if name == "nn":
        return import_module("purespike.nn")
    if name not in _ROOMS:
        raise AttributeError(f"module 'purespike' has no attribute {name!r}")
    found = getattr(import_module(f"purespike.{_ROOMS[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """What is public, loaded or not."""
    return sorted(__all__)


switch_off()  # before anything below imports onnxruntime
