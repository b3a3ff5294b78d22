"""HTML and SVG elements that escape whatever is put into them."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Html(str):
    """Text that is markup already; everything else is escaped."""


Child = str | None | Iterable["Child"]
_VOID = ("meta", "br", "path", "rect", "line", "circle")


def el(tag: str, *children: Child, **attributes: str | float | bool | None) -> Html:
    """One element.

    Args:
        tag: Its name.
        children: Elements, texts, or iterables of them; None is left out.
        attributes: ``class_`` is class, other underscores are hyphens; None and False are left
            out, True stands without a value.
    """
    parts = [f"<{tag}"]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        text = number(value) if isinstance(value, int | float) else escape(value)
        parts.append(f" {key}" if value is True else f' {key}="{text}"')
    if tag in _VOID and not children:
        return Html("".join(parts) + ("/>" if tag not in ("meta", "br") else ">"))
    return Html("".join(parts) + ">" + join(children) + f"</{tag}>")


def join(children: Iterable[Child]) -> Html:
    """Children one after the other."""
    parts: list[str] = []
    for c in children:
        if isinstance(c, Html):
            parts.append(c)
        elif isinstance(c, str):
            parts.append(escape(c))
        elif c is not None:
            parts.append(join(c))
    return Html("".join(parts))


def number(x: float) -> str:
    """A coordinate: at most two decimals."""
    return f"{x:.2f}".rstrip("0").rstrip(".") if x % 1 else str(int(x))


def section(anchor: str, heading: str, *children: Child) -> Html:
    """A part of the page with its heading."""
    return el("section", el("h2", heading, id=anchor), *children, aria_labelledby=anchor)
