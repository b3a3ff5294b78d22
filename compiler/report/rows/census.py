"""Every operation that ran, as we and as other tools count it, and its projected energy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, field

from purespike.compiler.proofs.counts import Counts
from purespike.compiler.report.rows.basic import Amount, Number, Positive, Row, Share


class Operations(Row, frozen=True):
    """How many operations of each kind."""

    ac: Amount
    mac: Amount
    mul: Amount
    add: Amount
    cmp: Amount
    logic: Amount
    unknown: Amount

    @classmethod
    def of(cls, counts: Counts) -> Operations:
        """The same numbers."""
        return cls(**vars(counts))

    def counts(self) -> Counts:
        """The same numbers, to add up."""
        return Counts(**{name: getattr(self, name) for name in self.__struct_fields__})


class LayerCount(Row, frozen=True):
    """One layer of the census, averaged over the samples that ran."""

    name: str
    origin: str
    operation: str
    runs_on: Literal["chip", "host"]
    counts: Operations  # per sample, all steps
    firing_rate: Share | None  # spikes per neuron and step; None for what does not fire
    ac_by_step: Annotated[
        tuple[Amount, ...],
        Meta(description="mean over the samples; empty where no spikes arrive"),
    ]
    ac_by_sample: Annotated[
        tuple[Amount, Amount] | None, Meta(description="fewest and most over the samples")
    ]
    arrays: Annotated[
        Positive | None,
        Meta(
            description="how often a synapse stands on the chip: once for each neuron layer that "
            "reads its current; null for what is not a synapse, and in reports written in format 2"
        ),
    ]


class AcMac(Row, frozen=True):
    """Two counts."""

    ac: Amount
    mac: Amount


class Tools(Row, frozen=True):
    """The same run as each tool counts it."""

    purespike: AcMac
    neurobench: AcMac = field(name="NeuroBench")
    syops: AcMac = field(name="syops-counter 0.0.5")

    def columns(self) -> dict[str, AcMac]:
        """By the tools' names."""
        names = zip(self.__struct_encode_fields__, self.__struct_fields__, strict=True)
        return {name: getattr(self, f) for name, f in names if f != "name"}

    @classmethod
    def sum(cls, rows: Sequence[Tools]) -> Tools:
        """All layers together."""

        def total(counts: list[AcMac]) -> AcMac:
            return AcMac(ac=sum(c.ac for c in counts), mac=sum(c.mac for c in counts))

        names = cls.__struct_fields__
        return cls(**{name: total([getattr(row, name) for row in rows]) for name in names})


class LayerTools(Tools, frozen=True):
    """The same of one layer."""

    name: str


class AapCost(Row, frozen=True):
    """As the full-spike AAP paper counts."""

    dc: Amount = field(name="dc_nanojoule")
    ec: tuple[Amount, Amount] = field(name="ec_nanojoule")
    snn_to_ann: Annotated[Amount | None, Meta(description="null where no spikes reach a synapse")]
    firing_rate: Annotated[Amount | None, Meta(description="null where no spikes reach a synapse")]
    source: str


class Conventions(Row, frozen=True):
    """The same run as other tools and the AAP paper count it."""

    unit: str
    total: Tools
    layers: tuple[LayerTools, ...]
    why: dict[str, str]
    aap: AapCost


class Census(Row, frozen=True):
    """Every operation that ran."""

    unit: str
    network: Annotated[
        str | None, Meta(description="whose operations these are; null if nothing was counted")
    ]
    samples: Annotated[Positive | None, Meta(description="over which they are averaged")]
    not_counted: Annotated[
        str | None, Meta(description="why nothing was counted; null if something was")
    ]
    chip: Annotated[Operations | None, Meta(description="null if nothing was counted")]
    layers: Annotated[tuple[LayerCount, ...], Meta(description="empty if nothing was counted")]
    conventions: Annotated[
        Conventions | None,
        Meta(description="the same run as other tools count it; null if nothing ran"),
    ]


class Energy(Row, frozen=True):
    """A projection by one published table."""

    table: str
    per_sample: Annotated[
        Number | None,
        Meta(
            description="null where a table has no figure for what runs, and where nothing was "
            "counted"
        ),
    ] = field(name="nanojoule_per_sample")
    range: Annotated[
        tuple[Number | None, Number | None], Meta(description="quietest and busiest sample")
    ] = field(name="nanojoule_range")
    source: str
    boundary: str
    label: Literal["projection"]
