"""Layers on the cores of a chip, an estimate."""

from __future__ import annotations

from typing import Literal

from msgspec import field

from purespike.compiler.report.rows.basic import Number, Row, Whole


class Limit(Row, frozen=True):
    """A published limit of a chip; ``value`` None is one that is not published."""

    value: int | None
    unit: str
    source: str


class BlockRow(Row, frozen=True):
    """Channels and positions of a layer."""

    first: int
    last: int
    start: int
    stop: int


class CoreRow(Row, frozen=True):
    """One core and what it needs."""

    block: BlockRow
    neurons: int
    in_axons: int
    out_axons: int
    memory: int
    thresholds: int
    used: dict[str, Number] = field(name="utilisation_percent")


class CoreLayer(Row, frozen=True):
    """A layer and its cores."""

    layer: str
    neurons: Whole
    cores: tuple[CoreRow, ...]


class Violated(Row, frozen=True):
    """One limit that is broken at one place."""

    where: str
    what: str
    measured: int
    limit: int
    unit: str
    remedy: str


class CoreMap(Row, frozen=True):
    """The mapping onto cores, an estimate."""

    label: Literal["estimate"]
    chip: str
    summary: str
    fits: bool
    cores: Whole
    chips: Whole
    limits: dict[str, Limit]
    not_published: tuple[str, ...]
    notes: tuple[str, ...]
    layers: tuple[CoreLayer, ...]
    violations: tuple[Violated, ...]
