"""Which of the known names was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable


def nearest(found: str, known: Iterable[str]) -> str:
    """The name that is nearest to what was written; empty if none is near."""
    from difflib import get_close_matches  # only where something is wrong

    names = {name.lower(): name for name in known}
    close = get_close_matches(found.lower(), names, 1)
    if not close:  # lr: learning_rate
        close = [n for n in names if "".join(w[:1] for w in re.split(r"[._-]", n)) == found.lower()]
    if not close:  # bits: weight_bits, if no other name has that part
        close = [n for n in names if found.lower() in re.split(r"[._-]", n)]
        close = close if len(close) == 1 else []
    return names[close[0]] if close else ""


def did_you_mean(found: str, known: Iterable[str], otherwise: str = "") -> str:
    """The remedy that names it, or what else to do."""
    name = nearest(found, known)
    return f"did you mean {name}?" if name else otherwise
