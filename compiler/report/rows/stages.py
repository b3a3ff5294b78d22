"""What each pass and each executor kept, layer by layer, and what the layers did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from purespike.compiler.report.rows.basic import Number, Positive, Row, Share, Whole, finite
from purespike.compiler.report.rows.census import Operations

if TYPE_CHECKING:
    from purespike.compiler.ir.divergence import Divergence
    from purespike.compiler.pipeline import LedgerLine

NEAR = 64  # steps that are kept on either side of a difference


class Traces(Row, frozen=True):
    """One neuron in two runs, round the first step at which they differ."""

    layer: str
    sample: Whole
    index: tuple[Whole, ...]
    step: Annotated[Whole, Meta(description="the first that differs")]
    start: Annotated[Whole, Meta(description="the step of the first value")]
    membrane: Literal["before the reset", "after the reset"]
    membranes: Annotated[
        tuple[tuple[Number | None, ...], tuple[Number | None, ...]],
        Meta(description="by step, as expected and as found; empty where they are not known"),
    ]
    spikes: tuple[tuple[Number, ...], tuple[Number, ...]]

    @classmethod
    def of(cls, d: Divergence) -> Traces:
        """Of a difference between two graphs, whose runs end there."""
        start = max(0, d.step - NEAR)
        before, after = (tuple(map(finite, row[start:])) for row in d.courses)
        return cls(
            layer=d.node,
            sample=d.index[0],
            index=d.index[1:],
            step=d.step,
            start=start,
            membrane="before the reset",
            membranes=(before, after),
            spikes=(d.spikes[0][start:], d.spikes[1][start:]),
        )


class PassLine(Row, frozen=True, omit_defaults=True):
    """What one pass did, measured on the probe."""

    name: str
    promise: str
    nodes_before: int
    nodes_after: int
    counts_before: Operations  # per sample and time step, every spike present
    counts_after: Operations
    deviation: Annotated[
        Number | None,
        Meta(description="largest change of an output; null where it was not measured"),
    ]
    agreement: Annotated[
        Share | None,
        Meta(description="share of equal spikes; null where no layer could be compared"),
    ]
    layers: Annotated[dict[str, Share], Meta(description="share of equal spikes by layer")]
    divergence: str | None
    notes: tuple[str, ...]
    scales: dict[str, Number]
    changes: Annotated[
        dict[str, Literal["made", "changed", "removed"]] | None,
        Meta(
            description="what became of every node that is not as before; absent in older reports"
        ),
    ] = None
    traces: Annotated[
        Traces | None, Meta(description="of the first spike that differs; absent where none does")
    ] = None

    @classmethod
    def of(cls, line: LedgerLine) -> PassLine:
        """As it is written."""
        same = {f: getattr(line, f) for f in ("name", "nodes_before", "nodes_after", "agreement")}
        return cls(
            promise=str(line.promise),
            counts_before=Operations.of(line.counts_before),
            counts_after=Operations.of(line.counts_after),
            deviation=finite(line.deviation),
            layers=dict(line.layers),
            divergence=str(line.divergence) if line.divergence else None,
            notes=line.notes,
            scales=dict(line.scales),
            changes=dict(line.changes),
            traces=Traces.of(line.divergence) if line.divergence else None,
            **same,
        )


class Equal(Row, frozen=True, omit_defaults=True):
    """Shares of equal values of one layer."""

    spikes: Share | None = None
    membranes: Share | None = None

    def least(self) -> float | None:
        """A layer is as equal as the worse of its spikes and its membranes."""
        return min((x for x in (self.spikes, self.membranes) if x is not None), default=None)


class ExecutorRow(Row, frozen=True, omit_defaults=True):
    """What one executor made of some samples, layer by layer."""

    name: str
    samples: Positive
    layers: dict[str, Equal]
    divergence: str | None
    traces: Annotated[
        Traces | None, Meta(description="of the first difference; absent where nothing differs")
    ] = None

    def shares(self) -> dict[str, float]:
        """Equal values of each layer that was compared."""
        found = {name: row.least() for name, row in self.layers.items()}
        return {name: share for name, share in found.items() if share is not None}


class Join(Row, frozen=True):
    """One branch of a join: when it arrives, and how long it is held back."""

    neuron: str
    synapse: str
    source: str
    earliest: int
    delay: int


class Activity(Row, frozen=True):
    """What one neuron layer did over all samples, and the bounds that were proved for it."""

    name: str
    rate_by_step: tuple[Share, ...]  # spikes per neuron; empty if it never fires
    membrane_observed: Annotated[
        tuple[Number | None, Number | None], Meta(description="after the reset, in weights")
    ]
    membrane_bound: Annotated[
        tuple[Number | None, Number | None],
        Meta(description="before the reset, for any input, in weights"),
    ]
