"""What a bundle's report must say, from its network and golden samples, as far as they decide it.

`expected_report` takes the report and puts in the place of every statement what follows: from the
network (rules, bounds, timing, cores, the drawing), from the run of the golden samples (census,
firing, accuracy), or from other statements of the report (sums, rates, intervals, the verdict).
Figures over more samples than the golden ones are kept where the golden ones allow them. Nothing
in a bundle decides the name, the accuracy of the trained network, what earlier passes did, where
classes are written, and the versions of other packages: these are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec
from msgspec.structs import replace

from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.evidence import Evidence, Judged
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.cores import CoreMap
from purespike.compiler.report.rows.network import Network
from purespike.compiler.report.rows.stages import Join
from purespike.compiler.report.rows.verdict import WaiverList
from purespike.compiler.rules.energy import TABLES
from purespike.compiler.rules.measure import Measured
from purespike.compiler.rules.policy import Policy
from purespike.compiler.rules.waiver import Waiver, Waivers
from purespike.judge.bundle.consistency import foreign_version
from purespike.judge.bundle.expected_findings import agreeing_executors, expected_findings
from purespike.judge.bundle.figures import part_of
from purespike.judge.bundle.history import (
    CAPTURED,
    expected_accuracy,
    expected_ledger,
    expected_options,
)
from purespike.judge.evidence import c_program
from purespike.targets.bundle.bundle import Bundle, make_manifest
from purespike.targets.lava.lower.schedule import Schedule
from purespike.targets.onnx.read import read_onnx
from purespike.targets.resources.chips import CHIPS
from purespike.targets.resources.mapping import map_network
from purespike.targets.spec import LOIHI2


def expected_report(bundle: Bundle, measured: Measured, plan: Schedule) -> Report:
    """The report with what follows in the place of what is said.

    Args:
        bundle: Its report is one of this version.
        measured: What the interpreter did on the golden samples.
        plan: The Lava schedule of the network.

    Raises:
        KeyError, TypeError, ValueError: If the report cannot be of this network at all.
    """
    said, graph = bundle.said, bundle.graph
    policy = Policy(said.policy, **said.policy_choices)  # type: ignore[arg-type]
    waivers = _waivers(said.waivers)
    part = part_of(bundle, measured)
    # The chip's file does not hold the encoder.
    layers = (*(part.host_rows() if part.host else ()), *part.layers())
    needs = c_program(graph, layers) if said.options.get("c") else None
    executors = agreeing_executors(graph, part, c=needs is not None)
    accuracy = expected_accuracy(said.accuracy, part)
    chance = part.chance() if accuracy else None
    found = expected_findings(bundle, part, executors, (accuracy, chance), policy, waivers)
    captured = tuple(e for e in said.executors if e.name == CAPTURED)
    judged = Judged(
        model=said.model,
        target=LOIHI2.name,
        policy=policy,
        waivers=waivers,
        options=expected_options(bundle, part),
        samples=part.samples,
        versions=said.versions,
        sources=said.sources,
        file=said.file,
    )
    evidence = Evidence(
        network=_network(said.network, graph),
        ledger=expected_ledger(bundle, part),
        executors=(*captured, *(e.row(name) for name, e in executors.items())),
        accuracy=accuracy,
        chance=chance,
        layers=layers,
        counted="integer network",
        counted_samples=part.samples,
        ac_range=part.ac_range(TABLES[0]),
        conventions=part.conventions(),
        updates=part.updates(),
        timing=tuple(Join(**vars(a)) for a in plan.joins()),
        latency=plan.latency,
        activity=part.activity(),
        membrane_limit=LOIHI2.fixed.limit / 2**LOIHI2.fixed.fraction_bits,
        c_program=needs,
        resources=msgspec.convert(map_network(graph, CHIPS[LOIHI2.name]).data(), CoreMap),
    )
    return Report.of(judged, found, evidence)


def _waivers(said: WaiverList | None) -> Waivers | None:
    if said is None:
        return None
    entries = [
        Waiver(e.rule, e.where, e.who, e.why, date.fromisoformat(e.until)) for e in said.entries
    ]
    return Waivers(tuple(entries), date.fromisoformat(said.today))


def _network(said: Network | None, graph: Graph) -> Network:
    """The drawing; what runs on the host stays as it was drawn."""
    drawn = Network.of(graph, "quantize")
    host = [n for n in said.nodes if n.role == "host"] if said else []
    if said is None or not host:
        return drawn
    return replace(drawn, inputs=said.inputs, nodes=(*host, *drawn.nodes))


def expected_manifest(bundle: Bundle, unwritten: Mapping[str, str]) -> dict[str, Any]:
    """The manifest that belongs to the files, to the report, and to what could not be written."""
    said = bundle.said
    policy = {"name": said.policy, **said.policy_choices}
    waivers = msgspec.to_builtins(said.waivers)
    options = {**said.options, "policy": policy, "waivers": waivers}
    versions = dict(said.versions)
    if foreign_version(bundle):  # then comparisons may fail; the golden model names its writer too
        versions["purespike"] = read_onnx(bundle.folder / "model.onnx").producer_version
    manifest = make_manifest(bundle.folder, options, versions)
    return {**manifest, **({"not_written": dict(unwritten)} if unwritten else {})}
