"""Warnings as a command line says them: a line of text, not a place in the code."""

from __future__ import annotations

import warnings
from typing import Any


def warn_plainly() -> None:
    """From here on, warnings of purespike are printed as one text to standard error."""
    usual = warnings.showwarning

    def shown(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if not category.__module__.startswith("purespike."):
            usual(message, category, *where, **more)
            return
        from purespike.cli.terminal import err  # rich: only where something is said

        err.print(f"warning: {message}", style="yellow")

    warnings.showwarning = shown
