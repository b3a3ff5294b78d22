"""Which versions of which packages decide the numbers of a report."""

from __future__ import annotations

import platform
from importlib import metadata

import purespike


def versions() -> dict[str, str]:
    """Of purespike and of what decides the numbers."""
    names = ("torch", "numpy", "nir", "onnx", "onnxruntime", "lava-nc")
    found = {"purespike": purespike.__version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
