"""What the C program needs: constants, working memory, and additions, by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from purespike.compiler.ir.graph import Graph
from purespike.targets.c.emit import memory
from purespike.targets.c.layers import Arm, CError, Layer, Program
from purespike.targets.c.lower import lower

# Bytes of the structures in parameters.h, all of whose members are 32 bits wide.
_LISTED = 4 * 64  # rows of weights in network.c
_LINE, _ARM, _LAYER = 4 * 7, 4 * 22, 4 * 28


@dataclass(frozen=True)
class Row:
    """One layer, or the input.

    Attributes:
        name: Of the layer.
        neurons: How many.
        weights: Bytes of its weights.
        constants: Bytes of its other numbers and tables.
        state: Bytes of its membranes and synaptic currents.
        spikes: Bytes of its spikes, over as many steps as somebody hears.
        additions: In one step in which every synapse hears a spike.
        counted: The nodes of the graph where the census counts these additions.
    """

    name: str
    neurons: int
    weights: int = 0
    constants: int = 0
    state: int = 0
    spikes: int = 0
    additions: int = 0
    counted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Footprint:
    """The whole program, without its code.

    Attributes:
        rows: The input, then every layer.
        sums: Bytes of the sums of one pixel and of the rows that wait to be added.
    """

    rows: tuple[Row, ...]
    sums: int

    @property
    def rom(self) -> int:
        """Bytes of constants; numbers that two layers share are counted twice."""
        return sum(r.weights + r.constants for r in self.rows)

    @property
    def ram(self) -> int:
        """Bytes of working memory."""
        return self.sums + sum(r.state + r.spikes for r in self.rows)

    def data(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "rom_bytes": self.rom,
            "ram_bytes": self.ram,
            "weight_bytes": sum(r.weights for r in self.rows),
            "additions_per_step": sum(r.additions for r in self.rows),
            "layers": [{k: v for k, v in vars(r).items() if k != "counted"} for r in self.rows],
        }

    def measured(self, additions: Mapping[str, float]) -> dict[str, Any]:
        """The same with the additions that a run made, by layer.

        Args:
            additions: By node of the graph, those of a step for one reader of its current.
        """
        data = self.data()
        for row, layer in zip(self.rows, data["layers"], strict=True):
            layer["measured"] = sum(additions[name] for name in row.counted)
        return data


def footprint(graph: Graph) -> Footprint:
    """What the C program of a compiled network needs.

    Raises:
        CError: If the network has no exact form in integers.
    """
    program = lower(graph)
    first = program.lines[0]
    neurons, kept_spikes = int(np.prod(first.place)), first.bytes * first.steps
    rows = [Row(first.name, neurons, constants=_LINE, spikes=kept_spikes)]
    rows += [_row(layer, program) for layer in program.layers]
    kept = memory(program)
    listed = _LISTED + 4 * (kept.column_rows + 2 * kept.columns)
    return Footprint(tuple(rows), listed + 2 * kept.sums16 + 4 * kept.sums32)


def require_ram(found: Footprint, limit: int) -> None:
    """Raise CError if the program needs more working memory, with the layer that breaks it."""
    used = found.sums
    for row in found.rows:
        used += row.state + row.spikes
        if used > limit:
            raise CError(
                "the C program needs more working memory than it may have",
                where=row.name,
                found=f"{found.ram} bytes in all, {used} up to this layer "
                f"({row.state} for membranes, {row.spikes} for spikes)",
                allowed=f"{limit} bytes",
                remedy="use fewer neurons or shorter delays, or allow more",
            )


def _row(layer: Layer, program: Program) -> Row:
    numbers = 4 * (layer.bias.size + layer.threshold.size + layer.amount.size)
    tables = sum(
        (0 if a.late is None else a.late.size) + (0 if a.source is None else 4 * a.source.size)
        for a in layer.arms
    )
    line = program.lines[layer.line] if layer.line is not None else None
    membrane = layer.neurons * (2 if layer.narrow else 4) * layer.stores
    return Row(
        layer.name,
        layer.neurons,
        weights=sum(_weight_bytes(a) for a in layer.arms),
        constants=numbers + tables + _LAYER + _ARM * len(layer.arms) + _LINE * (line is not None),
        state=membrane + 4 * layer.neurons * bool(layer.op.current_decay),
        spikes=line.bytes * line.steps if line else 0,
        additions=sum(_additions(a, layer, program) for a in layer.arms),
        counted=_counted(layer, program),
    )


def _counted(layer: Layer, program: Program) -> tuple[str, ...]:
    """A spike that no synapse weighs is counted at the neuron, however many there are."""
    lines = {line.name for line in program.lines}
    synapses = [a.name for a in layer.arms if a.name not in lines]
    direct = any(a.name in lines for a in layer.arms)
    return (*synapses, *((layer.name,) if direct else ()))


def _weight_bytes(arm: Arm) -> int:
    if arm.bits != 4:
        return int(arm.weight.size) * arm.bits // 8
    row = int(arm.weight.shape[-1])
    return int(arm.weight.size // max(1, row)) * -(-row // 2)


def _additions(arm: Arm, layer: Layer, program: Program) -> int:
    """Additions if every place of the line fires: taps outside of it add nothing."""
    if arm.kind == "points":
        return layer.neurons
    line = program.lines[arm.line]
    pairs = 1
    for axis in range(2):
        pixels, size = layer.place[1 + axis], line.place[1 + axis]
        at = np.arange(pixels)[:, None] * arm.stride[axis]
        at = at + np.arange(arm.kernel[axis]) * arm.dilation[axis] - arm.padding[axis]
        pairs *= int(((at >= 0) & (at < size)).sum())
    if not arm.sliced:
        return int(pairs * line.place[0] * arm.weight.shape[-1])
    return pairs * line.place[0] * layer.place[0]
