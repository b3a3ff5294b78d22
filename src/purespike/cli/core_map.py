"""The mapping of a network onto a chip's cores, as tables for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from purespike.cli.listing import Listing
from purespike.compiler.wording import spoken
from purespike.targets.resources.mapping import LABEL, LayerMap, Mapping
from purespike.targets.resources.partition import RESOURCES

_NAMES = {
    "neurons": "neurons",
    "in_axons": "in-axons",
    "out_axons": "out-axons",
    "memory": "bytes",
    "thresholds": "thresholds",
}


def render_mapping(mapping: Mapping) -> RenderableType:
    """Layers and their fullest cores, what does not fit, and what nobody published."""
    parts: list[RenderableType] = [_layers(mapping)]
    if mapping.violations:
        broken = Listing("where", "what", "needed", "limit", "to do", title="Does not fit")
        for v in mapping.violations:
            todo = spoken(v.remedy, "command line")
            broken.add_row(v.where, v.what, f"{v.measured:,}", f"{v.limit:,} {v.unit}", todo)
        parts.append(broken)
    missing = ", ".join(mapping.chip.unpublished())
    if missing:
        parts.append(Text(f"Not published for {mapping.chip.title}, so not checked: {missing}."))
    parts += [Text(f"Note: {note}.") for note in mapping.chip.notes]
    parts.append(Text(mapping.summary, style="bold green" if mapping.fits else "bold red"))
    return Group(*parts)


def _layers(mapping: Mapping) -> Listing:
    table = Listing(title=f"{mapping.chip.title} ({LABEL}): the most that a core of a layer needs")
    table.add_column("layer", overflow="fold", min_width=12)
    for name in ("neurons", "cores"):
        table.add_column(name, justify="right")
    for resource in RESOURCES:
        table.add_column(f"{_NAMES[resource]} a core", justify="right")
    for layer in mapping.layers:
        cells = [_cell(mapping, layer, r) for r in RESOURCES]
        table.add_row(layer.where, f"{layer.neurons:,}", f"{len(layer.cores):,}", *cells)
    return table


def _cell(mapping: Mapping, layer: LayerMap, resource: str) -> Text:
    most, limit = layer.most(resource), mapping.chip.values()[resource].value
    if not limit:
        return Text(f"{most:,}")
    percent = 100 * most / limit
    return Text(f"{most:,} ({percent:.0f} %)", style="bold red" if percent > 100 else "")
