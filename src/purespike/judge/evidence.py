"""What a run shows, as the report's evidence. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import WEIGHT_BITS
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.proofs.ranges import Bounds
from purespike.compiler.report.evidence import Evidence
from purespike.compiler.report.rows.basic import finite
from purespike.compiler.report.rows.c_program import CProgram
from purespike.compiler.report.rows.census import Conventions, LayerCount, Operations
from purespike.compiler.report.rows.stages import Activity
from purespike.compiler.report.rows.verdict import COMPILED, Accuracy, Chance
from purespike.compiler.rules.finding import ACCURACY, Finding, verdict
from purespike.compiler.rules.measure import Measured
from purespike.compiler.rules.policy import Policy
from purespike.compiler.wording import Advice
from purespike.targets.c.footprint import footprint
from purespike.targets.c.layers import CError

Ends = tuple[float, float]


def layer_counts(graph: Graph, measured: Measured) -> tuple[LayerCount, ...]:
    """The operations of each node, per sample."""

    def row(node: Node) -> LayerCount:
        events = measured.events.get(node.name)
        return LayerCount(
            name=node.name,
            origin=node.origin,
            operation=type(node.op).__name__,
            runs_on="host" if node.role == "host" else "chip",
            counts=Operations.of(measured.counts[node.name]),
            firing_rate=measured.rates.get(node.name),
            ac_by_step=() if events is None else tuple(float(e) for e in events.mean(axis=1)),
            ac_by_sample=None if events is None else _ends(events.sum(axis=0)),
            arrays=measured.arrays.get(node.name),
        )

    return tuple(row(n) for n in graph.nodes)


def ac_range(graph: Graph, measured: Measured) -> tuple[float, float] | None:
    """(fewest, most) accumulations of one sample on the chip."""
    chip = [
        measured.events[n.name].sum(axis=0)
        for n in graph.nodes
        if n.role != "host" and n.name in measured.events
    ]
    return _ends(np.sum(chip, axis=0)) if chip else None


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def c_program(graph: Graph, layers: Iterable[LayerCount]) -> CProgram | None:
    """What the C program needs, and what it added in the run that the census is of.

    Args:
        graph: The network, the part on the chip.
        layers: The census.

    Returns:
        None if the network has no form in C.
    """
    added = {c.name: c.counts.ac / (c.arrays or 1) / graph.steps for c in layers}
    try:
        return msgspec.convert(footprint(graph).measured(added), CProgram)
    except CError:
        return None


def activity(
    measured: Measured, bounds: Mapping[str, Bounds] | None = None
) -> tuple[Activity, ...]:
    """What each neuron layer did, beside what was proved for it.

    Args:
        measured: Of the run.
        bounds: By neuron, those that are on the chip; None if nothing was proved.
    """

    def row(name: str, reach: Ends) -> Activity:
        low, high = (None, None) if bounds is None else bounds[name].membrane
        return Activity(
            name=name,
            rate_by_step=measured.step_rates.get(name, ()),
            membrane_observed=(finite(reach[0]), finite(reach[1])),
            membrane_bound=(finite(low), finite(high)),
        )

    reached = measured.membranes.items()
    return tuple(row(name, reach) for name, reach in reached if bounds is None or name in bounds)


def with_run(evidence: Evidence, graph: Graph, found: Measured, counted: str) -> Evidence:
    """The evidence with what a run of ``graph`` counted; ``counted`` is its name in the report."""
    return replace(
        evidence,
        layers=layer_counts(graph, found),
        counted=counted,
        counted_samples=found.samples,
        ac_range=ac_range(graph, found),
        conventions=msgspec.convert(found.conventions, Conventions),
    )


def accuracy_finding(
    trained: Accuracy | None,
    integer: Accuracy | None,
    policy: Policy,
    chance: Chance | None = None,
    bits: int | None = None,
) -> Finding:
    """PS012: what the integers lose against the trained network, in percentage points.

    Where the network was compiled before, the first of them is in integers already.

    Args:
        trained: How many test samples the trained network has right.
        integer: How many of them the integers have.
        policy: The loss that a team accepts.
        chance: What is right without looking.
        bits: Of a weight, as the compiler was told; more are no advice at the most.
    """
    if trained is not None and trained.stage == COMPILED:
        why = "the network was compiled before: what the trained one got right is not in its file"
        remedy = Advice("compile what it was made of; `purespike check` judges a bundle as it is")
        return Finding(ACCURACY, "whole network", "NOT RUN", why, remedy=remedy)
    if trained is None or integer is None:
        why = "no labelled data was given, so no accuracy was measured"
        remedy = Advice("give labelled test inputs: {data}")
        return Finding(ACCURACY, "whole network", "NOT RUN", why, remedy=remedy)
    drop = 100 * (trained.rate - integer.rate)
    holds = drop <= policy.accuracy_drop
    said = ["" if holds else _between(trained, integer), chance.note(integer) if chance else ""]
    note = "; ".join(text for text in said if text)
    fine_tune = "fine-tune with quantized weights: {qat}"
    more = "use more weight bits ({weight_bits}) up to " + f"{WEIGHT_BITS.high}, or "
    return verdict(
        ACCURACY,
        "whole network",
        holds,
        f"{100 * trained.rate:.2f} % trained, {100 * integer.rate:.2f} % integer, N = {integer.n}"
        + (f"; {note}" if note else ""),
        limit=f"drop of at most {policy.accuracy_drop:g}",
        unit="percentage points",
        remedy=Advice(fine_tune if bits == WEIGHT_BITS.high else more + fine_tune),
    )


def _between(trained: Accuracy, integer: Accuracy) -> str:
    """How much a loss of accuracy says about other samples."""
    apart = integer.interval[1] < trained.interval[0]
    return (
        f"{trained.correct - integer.correct} of {integer.n} samples fewer are right; the 95 % "
        + ("intervals do not overlap" if apart else "intervals overlap: within chance at 95 %")
    )
