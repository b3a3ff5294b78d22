"""The parts of the page about numbers: counts, firing, membranes, timing, ledger, cores, energy."""

from __future__ import annotations

from purespike.compiler.report.page.divergence import divergences
from purespike.compiler.report.page.elements import Child, Html, el, section
from purespike.compiler.report.page.layers import Layers
from purespike.compiler.report.page.tables import shown
from purespike.compiler.report.sentences import counted, joins
from purespike.compiler.report.tables.c_program import c_program_table, sizes
from purespike.compiler.report.tables.counts import (
    aap_table,
    conventions_by_layer,
    conventions_table,
    energy_table,
    known_energy,
    operations_table,
)
from purespike.compiler.report.tables.layers import (
    cores_table,
    firing_table,
    membranes_table,
    timing_table,
    violations_table,
)
from purespike.compiler.report.tables.stages import accuracy_table, layers_table, ledger_table
from purespike.compiler.wording import figure


def counts(layers: Layers) -> Html | None:
    """AC, MAC and ADD by layer."""
    report = layers.report
    words = (
        "AC: a spike meets a weight, which is added. MAC: something that is not a spike meets a "
        "weight, which needs a multiplication. Arrays: how often the synapses stand on the chip, "
        "once for each layer of neurons that reads their current; AC and MAC are those of all of "
        f"them. Counted: {counted(report)}. Unit: {report.census.unit}; by sample: the quietest "
        "and the busiest one."
    )
    more = f" {joins(report)}." if joins(report) else ""
    table = shown(operations_table(report), layers, long=True)
    return _part("counts", "Operations by layer", words + more, table)


def conventions(layers: Layers) -> Html | None:
    """The same run as other tools and the AAP paper count it."""
    report = layers.report
    found = report.census.conventions
    if not found:
        return None
    by_layer = shown(conventions_by_layer(found), layers, long=True)
    return section(
        "conventions",
        "The same run, as other tools count it",
        shown(conventions_table(found)),
        el("details", el("summary", "Layer by layer"), by_layer),
        el("h3", "As the full-spike AAP paper counts"),
        shown(aap_table(found.aap)),
    )


def firing(layers: Layers) -> Html | None:
    """Firing rate by layer and step."""
    report = layers.report
    table = shown(firing_table(report), layers, long=True)
    return _part("firing", "Firing rate by layer and step", "", table)


def membranes(layers: Layers) -> Html | None:
    """The bound for any input against what was observed."""
    report = layers.report
    limit = report.membrane_limit
    held = "" if limit is None else f" The target holds ±{limit:,.0f}."
    words = (
        "Light: what no input can exceed, before the reset. Dark: what all samples reached, "
        f"after the reset. Unit: weights; the scale is a signed square root.{held}"
    )
    table = shown(membranes_table(report), layers, long=True)
    return _part("membranes", "Membranes: proved bound and observed range", words, table)


def timing(layers: Layers) -> Html | None:
    """How long each branch of a join is held back."""
    report = layers.report
    words = (
        "Each synapse takes one step. A branch that arrives early (light) is delayed by its slack "
        "(dark), so that all branches of a join are used in the same step."
    )
    table = shown(timing_table(report), layers, long=True)
    return _part("timing", "Timing of joins", words, table)


def ledger(layers: Layers) -> Html | None:
    """Accuracy by stage; equal spikes by pass and executor, layer by layer; first divergences."""
    report = layers.report
    accuracy, table = shown(accuracy_table(report)), shown(ledger_table(report))
    if table is None and accuracy is None:
        return None
    words = (
        "One cell per layer, the input on the left: blue is equal to the stage before, red is not, "
        "an arrow marks the first difference; below stand both membranes, and how far the first "
        "was from its threshold. Executors are compared with the interpreter, the captured graph "
        "with torch. What the integer network does to all samples, cpu computes where it "
        "equals the interpreter on the samples of row cpu; elsewhere the interpreter does."
    )
    by_layer = shown(layers_table(report), layers)
    return section(
        "ledger",
        "From torch to Lava",
        accuracy,
        el("p", words) if table else None,
        table,
        el("details", el("summary", "In numbers, layer by layer"), by_layer) if by_layer else None,
        divergences(report, layers),
    )


def cores(layers: Layers) -> Html | None:
    """The core map, where the report has a mapping."""
    report = layers.report
    m = report.resources
    if m is None:
        return None
    unknown = ", ".join(m.not_published)
    return section(
        "cores",
        "Cores",
        el("p", m.summary),
        el("p", f"Not published, so not checked: {unknown}.") if unknown else None,
        shown(violations_table(m), layers),
        shown(cores_table(m), layers, long=True),
    )


def c_program(layers: Layers) -> Html | None:
    """What the C program needs, where one was asked for."""
    report = layers.report
    program = report.c_program
    if program is None:
        return None
    words = (
        f"In bytes: {sizes(program)}. Additions of one time step: the most that any input can "
        "cause, and the mean over the samples that ran."
    )
    table = shown(c_program_table(program), layers, long=True)
    return _part("c-program", "The network as a C program", words, table)


def energy(layers: Layers) -> Html | None:
    """The projections side by side."""
    report = layers.report
    known = known_energy(report)
    if not known or not report.census.layers:
        return None
    words = (
        f"Between {figure(min(known), 1)} and {figure(max(known), 1)} nJ, by table and sample. The "
        "scale of the bars is logarithmic."
    )
    table = shown(energy_table(report))
    return _part("energy", "Energy (a projection, not a result)", words, table)


def _part(anchor: str, heading: str, words: str, table: Child) -> Html | None:
    """A table with what has to be said before it; None without a table."""
    return section(anchor, heading, el("p", words) if words else None, table) if table else None
