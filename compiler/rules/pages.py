"""The page about each rule: what it checks, why, an example that fails, how to fix it."""

from __future__ import annotations

from pathlib import Path

from purespike.compiler.errors import UsageError
from purespike.compiler.rules.finding import RULES, WAIVERS

__all__ = ["read_page"]

_HERE = Path(__file__).parent
_FOLDERS = (_HERE / "pages", _HERE.parents[1] / "docs" / "rules")  # installed, in the repository


def read_page(rule: str) -> str:
    """The page about a rule, in Markdown.

    Args:
        rule: Its id, such as ``PS005``; small letters and the bare number will do.

    Raises:
        UsageError: If there is no such rule.
    """
    known = [r.id for r in (WAIVERS, *RULES)]
    name = rule.strip().upper()
    name = f"PS{int(name):03}" if name.isascii() and name.isdigit() else name
    if name not in known:
        raise UsageError("there is no such rule", found=rule, allowed=", ".join(known))
    path = next(p for folder in _FOLDERS if (p := folder / f"{name}.md").is_file())
    return path.read_text(encoding="utf-8")
