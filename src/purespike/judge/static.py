"""The rules that a network alone decides, without data: one list for building and for checking."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.proofs.counts import Counts, dense_census
from purespike.compiler.proofs.ranges import bound_neurons
from purespike.compiler.rules.finding import (
    CURRENT_RANGE,
    LEGALITY,
    MEMBRANE_RANGE,
    RESOURCES,
    TIMING,
    Finding,
)
from purespike.compiler.rules.graph_rules import (
    check_arithmetic,
    check_auxiliary,
    check_boundary,
    check_domains,
    check_operations,
    check_ranges,
    chip_nodes,
)
from purespike.compiler.rules.policy import Policy
from purespike.compiler.wording import Advice
from purespike.targets.agreement import timing
from purespike.targets.lava.lower.legality import registers
from purespike.targets.lava.lower.schedule import ScheduleError, schedule
from purespike.targets.resources.chips import CHIPS
from purespike.targets.resources.layers import ResourceError
from purespike.targets.resources.mapping import Mapping as CoreMapping
from purespike.targets.resources.mapping import map_network
from purespike.targets.resources.rule import check_resources
from purespike.targets.spec import LOIHI2, check

STATIC = (
    *("PS001", "PS003", "PS004", "PS005", "PS006", "PS007", "PS008", "PS009", "PS011", "PS013"),
    "PS014",
)


def is_integer(graph: Graph) -> bool:
    """Is the graph in integers already, as `quantize` or a file for a chip leaves it?"""
    neurons = [n.op for n in chip_nodes(graph) if isinstance(n.op, Neuron)]
    return bool(neurons) and all(op.fixed is not None for op in neurons)


def network_findings(graph: Graph, notes: tuple[str, ...] = ()) -> list[Finding]:
    """What holds before a chip is chosen: domains, operations, auxiliary paths.

    Args:
        graph: Any stage after `strip_auxiliary`.
        notes: What `strip_auxiliary` said that it did.
    """
    return [*check_domains(graph), *check_operations(graph), *check_auxiliary(graph, notes)]


def chip_findings(
    graph: Graph,
    policy: Policy,
    counts: Mapping[str, Counts] | None = None,
    cores: CoreMapping | None = None,
) -> list[Finding]:
    """What the chip asks of a network in integers.

    Args:
        graph: The last stage.
        policy: What the team accepts.
        counts: Measured operations per sample, by node, for the host's share; None takes the upper
            bound that the graph gives.
        cores: Its layers on the chip's cores, if they are known already.
    """
    if not is_integer(graph) and _all_real(graph):
        return _real_findings(graph, policy)
    chip = chip_part(graph)
    dense = {name: c.times(graph.steps) for name, c in dense_census(graph).items()}
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
        findings += check_resources(cores or map_network(chip, CHIPS[LOIHI2.name]))
    return findings


def _all_real(graph: Graph) -> bool:
    neurons = [n.op for n in chip_nodes(graph) if isinstance(n.op, Neuron)]
    return bool(neurons) and all(op.fixed is None for op in neurons)


def _real_findings(graph: Graph, policy: Policy) -> list[Finding]:
    """What can be said of a network that was never compiled: registers hold no real numbers."""
    dense = {name: c.times(graph.steps) for name, c in dense_census(graph).items()}
    why = "the network is not in integers"
    return [
        *check_arithmetic(graph, dense, leak_multiplies=policy.leak_multiplies),
        *check_boundary(graph, dense),
        Finding(
            LEGALITY,
            "whole network",
            "FAIL",
            "not in integers: weights, thresholds and membranes are real numbers",
            limit=f"integers of {LOIHI2.name}",
            remedy=Advice("compile it: {compile}"),
        ),
        *(
            Finding(rule, "whole network", "NOT RUN", why)
            for rule in (CURRENT_RANGE, MEMBRANE_RANGE, TIMING, RESOURCES)
        ),
    ]
