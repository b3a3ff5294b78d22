"""The user's own code, by its dotted path ``package.module:name``."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.parsing import parsed
from purespike.compiler.files.reading import read_bytes
from purespike.compiler.near import nearest
from purespike.compiler.packages import install

__all__ = ["dotted", "import_remedy", "meant", "require_findable"]
_LARGEST, _SHOWN = 1 << 20, 3  # bytes of a file that is read for names; names that are suggested
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
    module = path.partition(":")[0]
    if module.endswith(".py") and (remedy := meant(path)):
        raise error("a module is not a file", where=path, allowed=allowed, remedy=remedy)
    top = module.partition(".")[0]
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
            remedy=meant(path) or import_remedy(gone, path),
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
    module, _, name = path.partition(":")
    if isinstance(error, AttributeError) and module in sys.modules:
        known = [n for n in vars(sys.modules[module]) if not n.startswith("_")]
        near = nearest(name, known)
        return f"did you mean {module}:{near}?" if near else f"write {name} in {module}"
    return "run in the folder that holds it, put that folder on PYTHONPATH, or install its package"


def meant(source: str) -> str:
    """The remedy for a network that was named otherwise than ``package.module:name``.

    Args:
        source: Such as ``my_net.py``, ``my_net.py:make``, ``my_net.make``, or ``my_net``.

    Returns:
        The dotted path that may be meant, of names that the file defines; empty if there is no such
        file. Nothing is run.
    """
    front, colon, name = source.partition(":")
    stem, dot, last = front.removesuffix(".py").rpartition(".")
    tries = [(front.removesuffix(".py"), name)]
    tries += [(stem, last)] if dot and not colon and not front.endswith(".py") else []
    for module, wanted in tries:
        file = Path(module.replace(".", "/") + ".py")
        if not file.is_file():
            continue
        path = ".".join(file.with_suffix("").parts) if not file.is_absolute() else file.stem
        known = _defined(file)
        found = [wanted] if wanted in known else [nearest(wanted, known)] if wanted else known
        named = [f"{path}:{n}" for n in found if n][:_SHOWN] or [f"{path}:NAME"]
        folder = f" in {file.parent}" if file.is_absolute() else ""
        return f"did you mean {' or '.join(named)}{folder}? (package.module:name, without .py)"
    return ""


def _defined(file: Path) -> list[str]:
    """Names of classes and functions of a file, and what it assigns; it is read, and not run."""
    try:
        text = read_bytes(file, _LARGEST, PurespikeError, "the module")
        body = parsed(lambda: ast.parse(text)).body
    except (PurespikeError, OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    defined = [n.name for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    targets = [t for n in body if isinstance(n, ast.Assign) for t in n.targets]
    return defined + [t.id for t in targets if isinstance(t, ast.Name)]
