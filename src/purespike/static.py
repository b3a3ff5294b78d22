"""The rules that a network alone decides, without data: one list for building and for checking."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from purespike.compiler.compliance.finding import TIMING, Finding
from purespike.compiler.compliance.policy import Policy
from purespike.compiler.compliance.rules import (
    check_arithmetic,
    check_auxiliary,
    check_boundary,
    check_domains,
    check_operations,
    check_ranges,
)
from purespike.compiler.counts import Counts, dense_counts
from purespike.compiler.ir import Graph
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.ranges import bound_neurons
from purespike.targets.agreement import timing
from purespike.targets.lava.legality import registers
from purespike.targets.lava.schedule import ScheduleError, schedule
from purespike.targets.resources.chips import CHIPS
from purespike.targets.resources.layers import ResourceError
from purespike.targets.resources.mapping import map_network
from purespike.targets.resources.rule import check_resources
from purespike.targets.spec import LOIHI2, check

STATIC = (
    *("PS001", "PS003", "PS004", "PS005", "PS006", "PS007", "PS008", "PS009", "PS011", "PS013"),
    "PS014",
)


def network_findings(graph: Graph, notes: tuple[str, ...] = ()) -> list[Finding]:
    """What holds before a chip is chosen: domains, operations, auxiliary paths.

    Args:
        graph: Any stage after `strip_auxiliary`.
        notes: What `strip_auxiliary` said that it did.
    """
    return [*check_domains(graph), *check_operations(graph), *check_auxiliary(graph, notes)]


def chip_findings(
    graph: Graph, policy: Policy, counts: Mapping[str, Counts] | None = None
) -> list[Finding]:
    """What the chip asks of a network in integers.

    Args:
        graph: The last stage.
        policy: What the team accepts.
        counts: Measured operations a sample, by node, for the host's share; None takes the upper
            bound that the graph gives.
    """
    chip = chip_part(graph)
    dense = {n.name: dense_counts(graph, n).times(graph.steps) for n in graph.nodes}
    bounds = bound_neurons(graph, current_limit=LOIHI2.current_limit)
    findings = [
        *check_arithmetic(graph, dense, leak_multiplies=policy.leak_multiplies),
        *check_boundary(graph, dense if counts is None else counts),
        *check(graph, LOIHI2),
        *registers(chip),
        *check_ranges(
            graph,
            bounds,
            current_limit=LOIHI2.current_limit,
            membrane_limit=LOIHI2.fixed.limit / 2**LOIHI2.fixed.fraction_bits,
        ),
    ]
    try:
        findings += timing(schedule(chip))
    except ScheduleError as e:
        findings.append(Finding(TIMING, e.where, "NOT RUN", e.message, remedy=e.remedy))
    with suppress(ResourceError):  # what cannot be laid out fails PS004; PS013 stays NOT RUN
        findings += check_resources(map_network(chip, CHIPS[LOIHI2.name]))
    return findings
