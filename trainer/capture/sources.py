"""Where a layer is written: the class of a user's module, its file and line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import nn

from purespike.compiler.files.parsing import parsed


def find_sources(model: nn.Module, paths: Iterable[str]) -> dict[str, dict[str, str | int]]:
    """The innermost class around each module path that is neither torch's nor one of our layers.

    Args:
        model: The module that was captured.
        paths: Dotted module paths in it.

    Returns:
        By path: ``class``, ``file`` (of the Python package, never of this machine) and ``line``
        where the class begins. Classes whose source cannot be read are left out.
    """
    modules = dict(model.named_modules())
    sources = {kind: _source(kind) for kind in {type(m) for m in modules.values()}}
    found = {}
    for path in paths:
        parts = path.split(".") if path else []
        around = [".".join(parts[:k]) for k in range(len(parts), -1, -1)]
        types = (type(modules[p]) for p in around if p in modules)
        source = next((s for t in types if (s := sources[t])), None)
        if source:
            found[path] = dict(source)
    return found


_NOT_THE_USERS = ("torch.", "purespike.trainer.nn.layers", "purespike.trainer.nn.neuron")
_KNOWN: WeakKeyDictionary[type[nn.Module], dict[str, str | int] | None] = WeakKeyDictionary()


def _source(kind: type[nn.Module]) -> dict[str, str | int] | None:
    """Of a class, which is looked for once: by parsing its whole file."""
    if kind not in _KNOWN:
        _KNOWN[kind] = _found(kind)
    return _KNOWN[kind]


def _found(kind: type[nn.Module]) -> dict[str, str | int] | None:
    module = kind.__module__
    if module.startswith(_NOT_THE_USERS):
        return None
    try:
        line = parsed(lambda: inspect.getsourcelines(kind))[1]
        file = Path(inspect.getsourcefile(kind) or "")
    except (OSError, TypeError):
        return None  # made in an interactive session
    name = file.name if module == "__main__" else module.replace(".", "/") + ".py"
    return {"class": kind.__qualname__, "file": name, "line": line}
