"""A network on a chip: cores, chips, utilisation, and everything that does not fit, at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Conv2d, Linear
from purespike.compiler.wording import Advice
from purespike.targets.resources.chips import Chip, Value
from purespike.targets.resources.layers import Layer, Link, layers
from purespike.targets.resources.measure import touched, weight_bits
from purespike.targets.resources.partition import (
    RESOURCES,
    Core,
    Needs,
    core_limits,
    partition,
)

LABEL = "estimate"
_REMEDY = {
    "in_axons": "split the layer, use fewer channels in front of it, or a stride or pool before it",
    "out_axons": "use fewer channels in the layers that read it, so that they fill fewer cores",
    "memory": "use fewer bits per weight, fewer channels, or groups; or split the layer in two",
    "weight_bits": Advice("use fewer bits per weight: {weight_bits}"),
    "bias": "use smaller biases",
    "threshold": "use fewer bits per weight: thresholds shrink with them",
    "delay": "shorten the delay, or relay it through a neuron of its own",
    "soft_reset": "train with reset to zero, or choose a chip with programmable neurons",
    "chips": "use a stride, fewer channels or fewer bits, or allow more chips",
    "neurons": "split the layer, or use a stride",
    "thresholds": "use one threshold per layer: fold the scales into the weights",
}


@dataclass(frozen=True)
class Violation:
    """One limit that is broken at one place."""

    where: str
    what: str
    measured: int
    limit: int
    unit: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what} {self.measured}, limit {self.limit} {self.unit}"


@dataclass(frozen=True)
class LayerMap:
    """A layer and its cores."""

    name: str
    where: str
    neurons: int
    cores: tuple[Core, ...]

    def most(self, resource: str) -> int:
        """Of the core that needs most of it."""
        return max((c.use(resource) for c in self.cores), default=0)


@dataclass(frozen=True)
class Mapping:
    """The whole network; an estimate.

    Attributes:
        chip: The table that it was held against.
        layers: In order of evaluation.
        violations: Everything that does not fit.
        allowed: Chips that it may take; None is any number.
    """

    chip: Chip
    layers: tuple[LayerMap, ...]
    violations: tuple[Violation, ...]
    allowed: int | None = None

    @property
    def fits(self) -> bool:
        """True if no published limit is broken."""
        return not self.violations

    @property
    def cores(self) -> int:
        """Cores that are needed."""
        return sum(len(layer.cores) for layer in self.layers)

    @property
    def chips(self) -> int:
        """Chips that are needed."""
        return -(-self.cores // (self.chip.cores.value or self.cores or 1))

    @cached_property
    def _limits(self) -> dict[str, int]:
        return core_limits(self.chip)

    def utilisation(self, core: Core) -> dict[str, float]:
        """Percent of each published limit of a core."""
        return {r: round(100 * core.use(r) / limit, 2) for r, limit in self._limits.items()}

    @property
    def summary(self) -> str:
        """One line."""
        fullest = max(
            (u for layer in self.layers for c in layer.cores for u in self.utilisation(c).values()),
            default=0.0,
        )
        broken = len(self.violations)
        state = "fits" if self.fits else f"{broken} limit{'s' if broken > 1 else ''} broken"
        return (
            f"{self.chip.title} ({LABEL}): {self.cores} core{'s' if self.cores != 1 else ''} on "
            f"{self.chips} "
            f"chip{'s' if self.chips != 1 else ''}, fullest core {fullest:.1f} %, {state}"
        )

    def data(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "label": LABEL,
            "chip": self.chip.name,
            "summary": self.summary,
            "fits": self.fits,
            "cores": self.cores,
            "chips": self.chips,
            "limits": {name: asdict(value) for name, value in self.chip.values().items()},
            "not_published": list(self.chip.unpublished()),
            "notes": list(self.chip.notes),
            "layers": [
                {
                    "layer": layer.name,
                    "neurons": layer.neurons,
                    "cores": [
                        {**asdict(c), "utilisation_percent": self.utilisation(c)}
                        for c in layer.cores
                    ],
                }
                for layer in self.layers
            ],
            "violations": [asdict(v) for v in self.violations],
        }


def map_network(graph: Graph, chip: Chip, *, chips: int | None = None) -> Mapping:
    """Lay an integer network out on a chip's cores.

    Args:
        graph: What `purespike compile` makes; neurons on the host take no core.
        chip: Its table.
        chips: How many of them there are; None is as many as it takes.

    Returns:
        The mapping with every violation; never an exception for what does not fit.

    Raises:
        ResourceError: If the graph holds what cannot be laid out: real weights, operations other
            than neurons and synapses.
    """
    found = layers(graph)
    limits = core_limits(chip)
    fan = {e.name: np.zeros(int(np.prod(e.shape)), np.int64) for e in graph.edges()}
    blocks = {}
    for layer in reversed(found):  # readers first: their cores decide the axons in front of them
        blocks[layer.name] = partition(layer, Needs(layer, chip, fan[layer.name]), limits)
        for block in blocks[layer.name]:
            for link in layer.links:
                fan[link.source] += link.times * touched(layer, link, block)
    maps = []
    for layer in found:  # once more: in a loop, a reader may come after what it reads
        needs = Needs(layer, chip, fan[layer.name])
        cores = tuple(needs.core(b) for b in blocks[layer.name])
        maps.append(LayerMap(layer.name, layer.where, layer.grid[0] * layer.grid[1], cores))
    violations = [v for m in maps for v in _full(m, chip)]
    # A synapse of several layers breaks a limit once.
    violations += dict.fromkeys(v for layer in found for v in _registers(layer, chip))
    mapping = Mapping(chip, tuple(maps), tuple(violations), chips)
    if chips is not None and mapping.chips > chips:
        over = Violation("whole network", "chips", mapping.chips, chips, "chips", _REMEDY["chips"])
        return Mapping(chip, tuple(maps), (*violations, over), chips)
    return mapping


def _full(layer: LayerMap, chip: Chip) -> Iterator[Violation]:
    """What the layer's cores have too much of."""
    for resource in RESOURCES:
        value = chip.values()[resource]
        yield from _over(layer.where, resource, layer.most(resource), value)


def _registers(layer: Layer, chip: Chip) -> Iterator[Violation]:
    """What no partition can change: the widths of weights, biases, thresholds and delays."""
    for link in layer.links:
        yield from _over(link.name, "weight_bits", weight_bits(link), chip.weight_bits)
        yield from _over(link.name, "delay", link.delay, chip.delay)
        bias = _bias(link)
        if bias is not None:
            yield from _over(link.name, "bias", int(np.ceil(np.abs(bias).max())), chip.bias)
    if layer.neuron.fires:
        top = layer.thresholds.max()
        # Leaky neurons lie a 64th above a whole number; the register holds the number below.
        highest = int(min(np.floor(top), 1 << 62))
        yield from _over(layer.where, "threshold", highest, chip.threshold)
    if layer.neuron.reset == "subtract":
        yield from _over(layer.where, "soft_reset", 1, chip.soft_reset)


def _bias(link: Link) -> NDArray[np.float64] | None:
    return link.op.bias if isinstance(link.op, Conv2d | Linear) else None


def _over(where: str, what: str, measured: int, value: Value) -> Iterator[Violation]:
    if value.value is not None and measured > value.value:
        yield Violation(where, what, measured, value.value, value.unit, _REMEDY[what])
