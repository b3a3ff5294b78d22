"""Which versions of which packages decide the numbers of a report."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

import purespike


def versions() -> dict[str, str]:
    """Of purespike and of what decides the numbers."""
    names = ("torch", "numpy", "nir", "onnx", "onnxruntime", "lava-nc")
    found = {"purespike": purespike.__version__, "python": platform.python_version()}
    return found | {name: _version(name) for name in names}


@cache
def _version(name: str) -> str:
    """Of a package, whose files are searched for it once."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
