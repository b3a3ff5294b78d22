"""The mapping of a network onto a chip's cores, for the terminal."""

from __future__ import annotations

import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from purespike.cli.console import listing
from purespike.compiler.report.rows.cores import CoreMap
from purespike.compiler.report.tables.layers import cores_table, violations_table
from purespike.targets.resources.mapping import Mapping


def render_mapping(mapping: Mapping) -> RenderableType:
    """Layers and their fullest cores, what does not fit, and what nobody published."""
    found = msgspec.convert(mapping.data(), CoreMap)
    parts = [listing(t) for t in (cores_table(found), violations_table(found)) if t.rows]
    if found.not_published:
        missing = ", ".join(found.not_published)
        parts.append(Text(f"Not published for {mapping.chip.title}, so not checked: {missing}."))
    parts += [Text(f"Note: {note}.") for note in found.notes]
    return Group(*parts, render_summary(mapping))


def render_summary(mapping: Mapping) -> Text:
    """The last line: cores, and whether they are enough."""
    found = msgspec.convert(mapping.data(), CoreMap)
    return Text(found.summary, style="bold green" if found.fits else "bold red")
