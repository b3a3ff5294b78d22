"""PS013: does the network fit the target's resources? An estimate from published values."""

from __future__ import annotations

from collections.abc import Iterator

from purespike.compiler.rules.finding import RESOURCES, Finding, verdict
from purespike.targets.resources.mapping import LABEL, Mapping

# PS008 judges these with the target's own table.
_ELSEWHERE = ("weight_bits", "bias", "threshold")


def check_resources(mapping: Mapping) -> Iterator[Finding]:
    """One finding for every layer that fits, one for every limit that is broken, one in total."""
    broken = [v for v in mapping.violations if v.what not in _ELSEWHERE]
    for v in broken:
        yield verdict(
            RESOURCES,
            v.where,
            False,
            f"{v.what} {v.measured}",
            limit=f"{v.what} {v.limit}",
            unit=v.unit,
            remedy=v.remedy,
        )
    bad = {v.where for v in broken}
    for layer in mapping.layers:
        if layer.where not in bad:
            full = max(max(mapping.utilisation(c).values()) for c in layer.cores)
            measured = f"{_cores(len(layer.cores))}, the fullest {full:.1f} % full"
            yield verdict(RESOURCES, layer.where, True, measured, limit="100 % of a core")
    if not broken:
        missing = ", ".join(mapping.chip.unpublished()) or "nothing"
        yield verdict(
            RESOURCES,
            "whole network",
            True,
            f"{_cores(mapping.cores)}, {mapping.chips} chip{'s' * (mapping.chips != 1)}; {LABEL}, "
            f"not published: {missing}",
            limit="every published limit",
        )


def _cores(count: int) -> str:
    return f"{count} core{'s' * (count != 1)}"
