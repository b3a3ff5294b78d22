"""The user's own code, by its dotted path ``package.module:name``."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from purespike.compiler.packages import install

__all__ = ["dotted", "import_remedy"]


def dotted(path: str) -> Any:
    """What a dotted path names. This runs the user's code, as Python's import does.

    Modules in the current folder are found, as ``python -m`` finds them: the installed command
    ``purespike`` would otherwise look beside itself. The folder comes last, so that nothing in it
    hides a package; it stays, for what the code imports later and in worker processes.

    Raises:
        ImportError: if there is no such module.
        AttributeError: if it has no such name.
    """
    module, _, name = path.partition(":")
    here = os.getcwd()
    if not {"", here} & set(sys.path):
        sys.path.append(here)
    importlib.invalidate_caches()  # it may have been written a moment ago
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def import_remedy(error: Exception, path: str) -> str:
    """What to do where `dotted` failed: a package that the user's module imports may be missing."""
    top = path.partition(":")[0].partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and (error.name or top).partition(".")[0] != top:
        return install(str(error.name))
    return "run in the folder that holds it, put that folder on PYTHONPATH, or install its package"
