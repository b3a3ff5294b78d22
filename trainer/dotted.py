"""The user's own code, by its dotted path ``package.module:name``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from typing import Any

from purespike.compiler.errors import PurespikeError
from purespike.compiler.packages import install

__all__ = ["dotted", "import_remedy", "require_findable"]
MADE = "package.module:name of an nn.Module, or of a callable without arguments"


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
    _look_here()
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def require_findable(path: str, allowed: str, error: type[PurespikeError]) -> None:
    """Raise if there is no package of a dotted path's first name; nothing is imported.

    Args:
        path: ``package.module:name``.
        allowed: What it may name.
        error: What is raised.
    """
    _look_here()
    top = path.partition(":")[0].partition(".")[0]
    try:
        found = top in sys.modules or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):  # such as an empty name
        found = False
    if not found:
        gone = ModuleNotFoundError(f"No module named {top!r}", name=top)
        raise error(
            "there is no module of this name",
            where=path,
            found=str(gone),
            allowed=allowed,
            remedy=import_remedy(gone, path),
        )


def _look_here() -> None:
    here = os.getcwd()
    if not {"", here} & set(sys.path):
        sys.path.append(here)
    importlib.invalidate_caches()  # it may have been written a moment ago


def import_remedy(error: Exception, path: str) -> str:
    """What to do where `dotted` failed: a package that the user's module imports may be missing."""
    top = path.partition(":")[0].partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and (error.name or top).partition(".")[0] != top:
        return install(str(error.name))
    return "run in the folder that holds it, put that folder on PYTHONPATH, or install its package"
