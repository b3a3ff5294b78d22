"""What can be said of an error that the user's own code raised: its line, and what helps."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path

from torch import nn

from purespike.trainer.nn import layers

__all__ = ["counterpart", "first_line", "place_of"]

_OURS = ("purespike", "torch", "importlib")  # packages whose lines help nobody here
_OTHERS = {"AdaptiveAvgPool2d": "GlobalAvgPool2d"}
_PACKAGES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


def first_line(error: BaseException) -> str:
    """Type and first line of an error."""
    text = str(error)
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"


def place_of(error: BaseException) -> str:
    """The last line of the user's own code that an error came through, as ``net.py:7``, or ""."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return f"{_short(error.filename)}:{error.lineno}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file, name = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in _OURS and not file.startswith((*_PACKAGES, "<")):
            return f"{_short(file)}:{line}"
    return ""


def counterpart(error: BaseException, module: nn.Module) -> str:
    """What to do where a layer of torch that has no time axis was given one; "" if none raised.

    Args:
        error: That the forward of ``module`` raised.
        module: The network, which names the layer.
    """
    names = {part: name for name, part in module.named_modules()}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        part = frame.f_locals.get("self")
        if not isinstance(part, nn.Module) or part not in names:
            continue
        kind = type(part).__name__
        if not type(part).__module__.startswith("torch.nn."):
            return ""
        if (ours := _OTHERS.get(kind, kind)) not in layers.__all__:
            continue
        where = f" ({names[part]})" if names[part] else ""
        return f"nn.{kind}{where} takes no time axis: use purespike.nn.{ours} in its place"
    return ""


def _short(file: str) -> str:
    """A file as it is seen from the current folder or from where modules are found."""
    path = Path(file)
    for top in (Path.cwd(), *map(Path, sys.path)):
        if top.parts and path.is_relative_to(top):
            return str(path.relative_to(top))
    return file
