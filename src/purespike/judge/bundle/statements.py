"""What a bundle's report must say, from its network and golden samples, as far as they decide it.

`expected_report` takes the report and puts in the place of every statement what follows: from the
network (rules, bounds, timing, cores, the drawing), from the run of the golden samples (census,
firing, accuracy), or from other statements of the report (sums, rates, intervals, the verdict).
Figures over more samples than the golden ones are kept where the golden ones allow them. Nothing
in a bundle decides the name, the accuracy of the trained network, what earlier passes did, where
classes are written, and the versions of other packages: these are kept as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.proofs.counts import dense_census, total_counts
from purespike.compiler.report.report import Accuracy, Chance, Report, describe
from purespike.compiler.rules.energy import TABLES
from purespike.compiler.rules.finding import (
    AUXILIARY,
    EXECUTORS,
    SPIKE_RUN,
    Finding,
    fill_missing,
)
from purespike.compiler.rules.measure import Measured
from purespike.compiler.rules.policy import Policy, apply_policy
from purespike.compiler.rules.waiver import Waiver, Waivers, apply_waivers
from purespike.judge.bundle.consistency import foreign_version
from purespike.judge.bundle.figures import Part, part_of
from purespike.judge.evidence import accuracy_finding, not_asked_for
from purespike.judge.fast import replayed
from purespike.judge.independent import compare_verdicts, second_verdict
from purespike.judge.static import chip_findings, network_findings
from purespike.targets.agreement import Executor, Mismatch, agreement
from purespike.targets.bundle.bundle import Bundle, make_manifest
from purespike.targets.lava.lower.schedule import Schedule
from purespike.targets.onnx.read import read_onnx
from purespike.targets.resources.chips import CHIPS
from purespike.targets.resources.mapping import map_network
from purespike.targets.spec import LOIHI2

CAPTURED = "torch, captured"
TRAINED = ("trained (torch)", "trained (the graph as read)")
TOLERANCE = 1e-9  # relative, of means: sums in another order
SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Difference:
    """A statement that does not follow: its place, what is said, and what follows."""

    at: str
    found: str
    follows: str

    @property
    def words(self) -> str:
        """What is said and what follows."""
        return f"says {self.found}, and {self.follows} follows"


def differences(found: Any, follows: Any, at: str = "") -> Iterator[Difference]:
    """Every place in which two JSON values differ; means may differ by their rounding."""
    if isinstance(found, dict) and isinstance(follows, dict):
        for key in sorted(found.keys() | follows.keys()):
            place = f"{at}.{key}" if at else str(key)
            if key in found and key in follows:
                yield from differences(found[key], follows[key], place)
            else:
                yield Difference(place, *(_short(x.get(key, _NOTHING)) for x in (found, follows)))
    elif isinstance(found, list) and isinstance(follows, list) and len(found) == len(follows):
        for k, (one, other) in enumerate(zip(found, follows, strict=True)):
            yield from differences(one, other, f"{at}[{k}]")
    elif not _equal(found, follows):
        yield Difference(at, _short(found), _short(follows))


_NOTHING = object()


def _short(x: Any) -> str:
    if x is _NOTHING:
        return "missing"
    if isinstance(x, list):
        return f"a list of {len(x)}"
    text = json.dumps(x)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _equal(a: Any, b: Any) -> bool:
    if type(a) is type(b) and a == b:
        return True
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b))
    if numbers:
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
    return False


def expected_report(bundle: Bundle, measured: Measured, plan: Schedule) -> dict[str, Any]:
    """The report with what follows in the place of what is said.

    Args:
        bundle: Its report is valid by the schema.
        measured: What the interpreter did on the golden samples.
        plan: The Lava schedule of the network.

    Raises:
        KeyError, TypeError, ValueError: If the report cannot be of this network at all.
    """
    said, graph = bundle.report, bundle.graph
    policy = Policy(said["policy"], **said["policy_choices"])
    waivers = _waivers(said["waivers"])
    part = part_of(bundle, measured)
    executors = _executors(bundle, part)
    accuracy = _accuracy(said["accuracy"], part)
    chance = part.chance() if accuracy else None
    joins = plan.joins()
    report = Report(
        model=said["model"],
        target=LOIHI2.name,
        policy=said["policy"],
        samples=part.samples,
        findings=_findings(bundle, part, executors, (accuracy, chance), policy, waivers),
        chance=chance,
        counted="integer network",
        counted_samples=part.samples,
        census=part.census(),
        ledger=(),
        accuracy=accuracy,
        timing=tuple(vars(a) for a in joins),
        updates=part.updates(),
        versions=said["versions"],
        conventions=part.conventions(),
        network=_network(said["network"], graph),
        activity=part.activity(),
        membrane_limit=LOIHI2.fixed.limit / 2**LOIHI2.fixed.fraction_bits,
        choices=policy.choices(),
        waivers=waivers.data() if waivers else None,
        sources=said["sources"],
        resources=map_network(graph, CHIPS[LOIHI2.name]).data(),
        ac_range=part.ac_range(TABLES[0]),
        executors={name: e.data() for name, e in executors.items()},
        options=_options(said.get("options", {}), bundle, part),
    )
    follows: dict[str, Any] = json.loads(report.to_json())
    follows["ledger"] = _ledger(said, bundle, part)
    if part.host:  # the chip's file does not hold the encoder
        follows["census"]["layers"] = part.host_rows() + follows["census"]["layers"]
    kept = [e for e in said["executors"] if e["name"] == CAPTURED]
    follows["executors"] = kept + follows["executors"]
    return follows


def _waivers(said: Mapping[str, Any] | None) -> Waivers | None:
    if said is None:
        return None
    entries = [Waiver(**{**e, "until": date.fromisoformat(e["until"])}) for e in said["entries"]]
    return Waivers(tuple(entries), date.fromisoformat(said["today"]))


def _network(said: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """The drawing; what runs on the host stays as it was drawn."""
    drawn = describe(graph, "quantize")
    host = [n for n in said["nodes"] if n["role"] == "host"]
    if not host:
        return drawn
    return {**drawn, "inputs": said["inputs"], "nodes": [*host, *drawn["nodes"]]}


def _executors(bundle: Bundle, part: Part) -> dict[str, Executor]:
    """What every executor has to say, given that they agree: nothing differs anywhere."""
    neurons = [n for n in bundle.graph.nodes if isinstance(n.op, Neuron)]
    fires = {n.name for n in neurons if isinstance(n.op, Neuron) and n.op.fires}

    def rows(samples: int, membranes: Iterable[str]) -> tuple[Mismatch, ...]:
        values = {n.name: bundle.graph.steps * samples * math.prod(n.output.shape) for n in neurons}
        spikes = [Mismatch(n, "spikes", values[n], 0, None) for n in values if n in fires]
        return (*spikes, *(Mismatch(n, "membranes", values[n], 0, None) for n in membranes))

    everywhere = [n.name for n in neurons]
    found = {}
    for name in ("ONNX Runtime", "cpu", "NIR, read back"):
        samples = len(replayed(bundle.graph, part.golden)) if name == "cpu" else part.golden
        found[name] = Executor(samples, rows(samples, everywhere))
    if part.lava:
        integrators = [n.name for n in neurons if n.name not in fires]
        found["Lava"] = Executor(part.lava, rows(part.lava, integrators))
    return found


def _findings(
    bundle: Bundle,
    part: Part,
    executors: Mapping[str, Executor],
    accuracies: tuple[tuple[Accuracy, ...], Chance | None],
    policy: Policy,
    waivers: Waivers | None,
) -> tuple[Finding, ...]:
    said, graph = bundle.report, bundle.graph
    lines = [line for line in said["ledger"] if line["name"] == "strip_auxiliary"]
    notes = tuple(lines[0]["notes"]) if lines else ()
    found = network_findings(graph, notes)
    found += _captured(said["findings"], said["executors"])
    where = f"all {part.samples} samples, {graph.steps} steps each: only 0 and 1"
    found += [
        Finding(SPIKE_RUN, f.where, "PASS", where, f.limit) if f.status == "PASS" else f
        for f in part.measured.findings
    ]
    found += chip_findings(graph, policy)
    second = second_verdict(bundle.document)
    found += compare_verdicts(second, found, leak_multiplies=policy.leak_multiplies)
    for name, executor in executors.items():
        found += agreement(name, executor.samples, executor.rows)
    accuracy, chance = accuracies
    trained = accuracy[0] if accuracy else None
    integer = next((a for a in accuracy if a.stage.startswith("integer")), None)
    found.append(accuracy_finding(trained if integer else None, integer, policy, chance))
    if not part.lava:
        found.append(not_asked_for())
    judged = apply_waivers(apply_policy(found, graph, policy), waivers)
    judged = fill_missing(judged, "not measured in this run")
    return tuple(_host_words(f, said["findings"]) if part.host else f for f in judged)


def _captured(said: list[dict[str, Any]], executors: list[dict[str, Any]]) -> list[Finding]:
    """The one finding about the module itself, which is not in the bundle; kept in its form."""
    rows = [f for f in said if f["where"] == "torch: captured graph"]
    if not rows:
        return []
    samples = next(e["samples"] for e in executors if e["name"] == CAPTURED)
    off, _, limit = rows[0]["measured"].removeprefix("outputs differ by ").partition(" ")
    measured = f"outputs differ by {float(off):.3g} at most over {samples} samples"
    fits = float(off) >= 0 and bool(limit)
    return [Finding(EXECUTORS, rows[0]["where"], "PASS" if fits else "FAIL", measured, "1e-06")]


def _host_words(f: Finding, said: list[dict[str, Any]]) -> Finding:
    """Findings at the border of host and chip name the encoder, which the bundle does not hold."""
    if f.status != "PASS" or not (" input" in f.measured or f.rule == AUXILIARY):
        return f
    for row in said:
        if (row["rule"], row["where"], row["status"]) == (f.rule.id, f.where, "PASS"):
            return replace(f, measured=row["measured"])
    return f


def _accuracy(said: list[dict[str, Any]], part: Part) -> tuple[Accuracy, ...]:
    """The stages with their rates; correct decisions as far as the golden samples bound them."""
    if not said:
        return ()
    n, golden = part.samples, part.golden
    trained, floating, integer, *lava = said
    stage = trained["stage"] if trained["stage"] in TRAINED else TRAINED[0]
    same = int(part.between(integer["decisions_identical_to_previous_stage"], 0, n))
    right = int(part.between(integer["correct"], part.right, part.right + n - golden))
    others = n - same  # decisions that may be right before and wrong after
    before = int(part.between(floating["correct"], max(0, right - others), min(n, right + others)))
    rows = [
        Accuracy(stage, min(trained["correct"], n), n),
        Accuracy("float, fused", before, n),
        Accuracy("integer (interpreter)", right, n, same),
    ]
    if part.lava:
        count = part.lava
        low = max(part.right, right - (n - count))
        high = min(part.right + count - golden, right)
        correct = int(part.between(lava[0]["correct"] if lava else low, low, high))
        rows.append(Accuracy(f"Lava ({part.mode} convolution)", correct, count, count))
    return tuple(rows)


def _options(said: Mapping[str, Any], bundle: Bundle, part: Part) -> dict[str, Any]:
    """The options, where network, report and files do not contradict them."""
    options = dict(said)
    if part.samples > part.golden or options["golden"] < part.golden:
        options["golden"] = part.golden
    tuned = any(line["name"] == "fine_tune" for line in bundle.report["ledger"])
    if tuned != bool(options["qat"]):
        options["qat"] = int(tuned)
    if part.host:
        options["host_encoder"] = True
    weights = [getattr(n.op, "weight", None) for n in bundle.graph.nodes]
    largest = max((float(np.abs(w).max()) for w in weights if w is not None), default=0.0)
    compiled = any(line["name"] == "quantize" for line in bundle.report["ledger"])
    if compiled and largest > 2 ** (options["weight_bits"] - 1):
        options["weight_bits"] = math.ceil(math.log2(largest)) + 1
    return options


def _ledger(said: Mapping[str, Any], bundle: Bundle, part: Part) -> list[dict[str, Any]]:
    """What earlier passes did, as said, where lines do not contradict each other or the network."""
    lines: list[dict[str, Any]] = [dict(line) for line in said["ledger"]]
    for before, after in pairwise(lines):
        after["nodes_before"] = before["nodes_after"]
        after["counts_before"] = before["counts_after"]
    for line in lines:
        shares = line["layers"].values()
        if line["divergence"] is None:
            line["agreement"], line["layers"] = 1.0, dict.fromkeys(line["layers"], 1.0)
        elif shares:
            line["agreement"] = part.between(line["agreement"], min(shares), max(shares))
        if line["promise"] == "same":
            line["deviation"] = 0.0
    if lines:
        graph = bundle.graph
        lines[-1]["nodes_after"] = len(said["network"]["nodes"])
        scaled = next((line for line in reversed(lines) if line["scales"]), lines[-1])
        scaled["scales"] = dict(bundle.notes.get("scales", {}))
        if not part.host:
            lines[-1]["counts_after"] = vars(total_counts(dense_census(graph).values()))
    return lines


def expected_manifest(bundle: Bundle, unwritten: Mapping[str, str]) -> dict[str, Any]:
    """The manifest that belongs to the files, to the report, and to what could not be written."""
    said = bundle.report
    policy = {"name": said["policy"], **said["policy_choices"]}
    options = {**said.get("options", {}), "policy": policy, "waivers": said["waivers"]}
    versions = dict(said["versions"])
    if foreign_version(bundle):  # then comparisons may fail; the golden model names its writer too
        versions["purespike"] = read_onnx(bundle.folder / "model.onnx").producer_version
    manifest = make_manifest(bundle.folder, options, versions)
    return {**manifest, **({"not_written": dict(unwritten)} if unwritten else {})}
