"""PS014: the compiler's rules and an independent reading of the NIR file come to one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from purespike.compiler.checker import Problem, Statement, Verdict, inspect
from purespike.compiler.checker.statement import read_statement
from purespike.compiler.ir.graph import Graph
from purespike.compiler.rules.finding import (
    ARITHMETIC,
    BOUNDARY,
    INDEPENDENT,
    OPERATIONS,
    SPIKE_DOMAIN,
    Finding,
    verdict,
)
from purespike.targets.nir.document import Document
from purespike.targets.nir.emit import to_bytes
from purespike.targets.nir.errors import NirError
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.guard.guard import read_back

SHARED = (SPIKE_DOMAIN, OPERATIONS, ARITHMETIC, BOUNDARY)
"""The rules that a NIR file alone can decide, too."""
SHOWN = 3


def second_verdict(document: Document, stated: Conventions | None = None) -> Verdict:
    """What the independent checker says about a NIR file.

    Args:
        document: The file as plain data.
        stated: What the caller states about a file of another tool; our own files say it.
    """
    if document.metadata:
        return inspect(document.nodes, document.edges, read_statement(document.metadata))
    stated = (stated or Conventions()).filled(document)
    statement = Statement(
        dt=stated.dt,
        r_times_dt=stated.if_r == "dt",
        spike_inputs=stated.domain is not None and str(stated.domain) == "spike",
    )
    return inspect(document.nodes, document.edges, statement)


def check_graph(
    graph: Graph,
    findings: Iterable[Finding],
    *,
    leak_multiplies: bool,
    strict: bool = False,
    written: Document | None = None,
) -> Iterator[Finding]:
    """PS014 for a graph: on the bytes of the NIR file that it becomes.

    What plain nodes cannot say is judged in the other form: a verdict is about the network.

    Args:
        graph: Any graph.
        findings: As `compare_verdicts`.
        leak_multiplies: Likewise.
        strict: As `write_nir`.
        written: What such a file of the graph was read back as, if one was made before.
    """
    try:
        document = written or read_back(to_bytes(graph, strict=strict))
    except NirError as e:
        if strict:
            yield from check_graph(graph, findings, leak_multiplies=leak_multiplies)
            return
        measured = f"the graph has no NIR file to check: {e.message}"
        yield Finding(INDEPENDENT, e.where or "whole network", "NOT RUN", measured, remedy=e.remedy)
        return
    yield from compare_verdicts(second_verdict(document), findings, leak_multiplies=leak_multiplies)


def compare_verdicts(
    second: Verdict, findings: Iterable[Finding], *, leak_multiplies: bool
) -> Iterator[Finding]:
    """PS014: one finding with both views; they agree, or it fails.

    Args:
        second: What the independent checker says.
        findings: What the rules say about the graph, before a policy excepts anything by name.
        leak_multiplies: Whether the policy allows the multiplication of a leak, to both.
    """
    first = [f for f in findings if f.status == "FAIL" and f.rule in SHARED]
    problems = second.judged(leak_multiplies=leak_multiplies)
    counted = f"{second.synapses} synapses, {second.neurons} neurons"
    alone = f"the file alone ({counted}): {_problems(problems)}"
    ours = f"the rules on the graph: {_findings(first)}"
    yield verdict(
        INDEPENDENT,
        "model.nir",
        bool(first) == bool(problems),
        f"{alone}; {ours}",
        limit="one verdict",
        remedy="one of the two is wrong: trust neither, and report this file as a defect of "
        "purespike, unless somebody has changed it",
    )


def _problems(problems: tuple[Problem, ...]) -> str:
    if not problems:
        return "spike-only"
    return _listed([f"{p.node}: {p.kind}, {p.why}" for p in problems])


def _findings(findings: list[Finding]) -> str:
    if not findings:
        return "spike-only"
    return _listed([f"{f.rule.id} at {f.where}: {f.measured}" for f in findings])


def _listed(items: list[str]) -> str:
    more = f"; and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"NOT spike-only ({'; '.join(items[:SHOWN])}{more})"
