"""What the C program of a network needs: constants, working memory, additions, by layer."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from purespike.compiler.report.rows.basic import Amount, Row, Whole


class CLayer(Row, frozen=True):
    """The input, or one layer of neurons; memory in bytes."""

    name: str
    neurons: Whole
    weights: Whole
    constants: Annotated[Whole, Meta(description="biases, thresholds, tables")]
    state: Annotated[Whole, Meta(description="membranes and synaptic currents")]
    spikes: Annotated[Whole, Meta(description="of as many steps as somebody hears")]
    additions: Annotated[Whole, Meta(description="in a step in which every input fires")]
    measured: Annotated[
        Amount, Meta(description="additions of a step, mean over the samples that ran")
    ]


class CProgram(Row, frozen=True):
    """The whole program, without its code."""

    rom_bytes: Whole
    ram_bytes: Whole
    weight_bytes: Annotated[Whole, Meta(description="part of rom_bytes")]
    additions_per_step: Whole
    layers: tuple[CLayer, ...]
