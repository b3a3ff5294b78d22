"""What a pass is, what it promises, and what is kept of a compilation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.divergence import Divergence
from purespike.compiler.ir.graph import Graph
from purespike.compiler.pipeline.changes import Change
from purespike.compiler.proofs.counts import Counts


class PassError(PurespikeError):
    """A pass broke the graph or its promise."""


@dataclass(frozen=True)
class Promise:
    """What a pass promises about the main outputs on the probe.

    Attributes:
        kind: ``same`` is bit-equal, ``close`` within ``tolerance``, ``rewrites meaning`` is
            measured and reported, not bounded.
        tolerance: Largest absolute change of an output; there is no default for ``close``.
    """

    kind: str
    tolerance: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} ({self.tolerance:g})" if self.kind == "close" else self.kind


SAME = Promise("same")
REWRITES = Promise("rewrites meaning")


def close(tolerance: float) -> Promise:
    """Outputs may move by ``tolerance`` at most."""
    return Promise("close", tolerance)


@dataclass(frozen=True)
class Pass:
    """A named rewrite, its promise, and what to note about what it did."""

    name: str
    rewrite: Callable[[Graph], Graph]
    promise: Promise
    notes: Callable[[Graph, Graph], tuple[str, ...]] = lambda before, after: ()
    # What an edge's values are multiplied by (quantization): outputs are compared in real units.
    scales: Callable[[Graph], Mapping[str, float]] = lambda before: {}


@dataclass(frozen=True)
class LedgerLine:
    """What one pass did, measured on the probe."""

    name: str
    promise: Promise
    nodes_before: int
    nodes_after: int
    counts_before: Counts  # per sample and time step, every spike present
    counts_after: Counts
    deviation: float | None  # largest absolute change of an output; None on a short probe
    agreement: float | None  # share of equal spikes over all layers that both graphs have, if any
    layers: Mapping[str, float]  # the same by layer
    divergence: Divergence | None
    notes: tuple[str, ...] = ()
    # Integer = scale * real number, by synapse and neuron; only quantization has any.
    scales: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)  # by node; others are as before


@dataclass(frozen=True)
class Compiled:
    """The graph after every pass that was kept, by pass name; ``captured`` is the first."""

    stages: dict[str, Graph]
    ledger: tuple[LedgerLine, ...]

    @property
    def graph(self) -> Graph:
        """The last stage."""
        return list(self.stages.values())[-1]

    @property
    def scales(self) -> Mapping[str, float]:
        """Integer = scale * real number, by synapse and neuron; empty before quantization."""
        return next((line.scales for line in reversed(self.ledger) if line.scales), {})

    def notes(self, name: str) -> tuple[str, ...]:
        """What the pass of that name noted; nothing if it did not run."""
        return next((line.notes for line in self.ledger if line.name == name), ())


@dataclass(frozen=True)
class Pipeline:
    """The passes in order: to the fused network in real numbers, then to the chip's integers.

    Attributes:
        network: Passes after which the network is judged, still in real numbers.
        chip: Passes that make the chip's integers of it; none for a network that has them.
    """

    network: tuple[Pass, ...]
    chip: tuple[Pass, ...] = ()

    def __iter__(self) -> Iterator[Pass]:
        yield from (*self.network, *self.chip)

    def __getitem__(self, name: str) -> Pass:
        """The pass of that name; raises PassError if there is none."""
        for p in self:
            if p.name == name:
                return p
        names = ", ".join(p.name for p in self)
        raise PassError("the pipeline has no pass of that name", found=name, allowed=names)

    def before(self, name: str, *new: Pass) -> Pipeline:
        """With ``new`` in front of a pass, on its side of the two."""
        return self._with(name, (*new, self[name]))

    def after(self, name: str, *new: Pass) -> Pipeline:
        """With ``new`` behind a pass, on its side of the two."""
        return self._with(name, (self[name], *new))

    def replaced(self, name: str, *new: Pass) -> Pipeline:
        """With ``new`` in the place of a pass; nothing leaves it out."""
        return self._with(name, (*new,))

    def _with(self, name: str, new: tuple[Pass, ...]) -> Pipeline:
        self[name]  # refuses a name that is none

        def edited(passes: tuple[Pass, ...]) -> tuple[Pass, ...]:
            return tuple(q for p in passes for q in (new if p.name == name else (p,)))

        return Pipeline(edited(self.network), edited(self.chip))
