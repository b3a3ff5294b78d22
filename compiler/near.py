"""Which of the known names was meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(found: str, known: Iterable[str]) -> str:
    """The name that is nearest to what was written; empty if none is near."""
    from difflib import get_close_matches  # only where something is wrong

    names = {name.lower(): name for name in known}
    close = get_close_matches(found.lower(), names, 1)
    return names[close[0]] if close else ""


def did_you_mean(found: str, known: Iterable[str], otherwise: str = "") -> str:
    """The remedy that names it, or what else to do."""
    name = nearest(found, known)
    return f"did you mean {name}?" if name else otherwise
