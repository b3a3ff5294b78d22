"""What a bundle's report says of the past, where nothing else in the bundle contradicts it."""

from __future__ import annotations

import math

import numpy as np
from msgspec.structs import replace

from purespike.compiler.proofs.counts import dense_census, total_counts
from purespike.compiler.report.rows.basic import Choice
from purespike.compiler.report.rows.census import Operations
from purespike.compiler.report.rows.stages import PassLine
from purespike.compiler.report.rows.verdict import COMPILED, READ, TRAINED, Accuracy
from purespike.judge.bundle.figures import Part
from purespike.targets.bundle.bundle import Bundle

CAPTURED = "torch, captured"
STAGES = (TRAINED, READ, COMPILED)  # the first of them


def expected_accuracy(said: tuple[Accuracy, ...], part: Part) -> tuple[Accuracy, ...]:
    """The stages with their rates; correct decisions as far as the golden samples bound them."""
    if not said:
        return ()
    n, golden = part.samples, part.golden
    trained, floating, integer, *lava = said
    stage = trained.stage if trained.stage in STAGES else TRAINED
    same = int(part.between(_known(integer.identical), 0, n))
    right = int(part.between(integer.correct, part.right, part.right + n - golden))
    others = n - same  # decisions that may be right before and wrong after
    before = int(part.between(floating.correct, max(0, right - others), min(n, right + others)))
    rows = [
        Accuracy.of(stage, min(trained.correct, n), n),
        Accuracy.of("float, fused", before, n),
        Accuracy.of("integer network", right, n, same),
    ]
    if part.lava:
        count = part.lava
        low = max(part.right, right - (n - count))
        high = min(part.right + count - golden, right)
        correct = int(part.between(lava[0].correct if lava else low, low, high))
        rows.append(Accuracy.of(f"Lava ({part.mode} convolution)", correct, count, count))
    return tuple(rows)


def expected_options(bundle: Bundle, part: Part) -> dict[str, Choice]:
    """The options, where network, report and files do not contradict them."""
    options = dict(bundle.said.options)
    if part.samples > part.golden or _number(options["golden"]) < part.golden:
        options["golden"] = part.golden
    tuned = any(line.name == "fine_tune" for line in bundle.said.ledger)
    if tuned != bool(options["qat"]):
        options["qat"] = int(tuned)
    if part.host:
        options["host_encoder"] = True
    weights = [getattr(n.op, "weight", None) for n in bundle.graph.nodes]
    largest = max((float(np.abs(w).max()) for w in weights if w is not None), default=0.0)
    compiled = any(line.name == "quantize" for line in bundle.said.ledger)
    if compiled and largest > 2 ** (_number(options["weight_bits"]) - 1):
        options["weight_bits"] = math.ceil(math.log2(largest)) + 1
    return options


def expected_ledger(bundle: Bundle, part: Part) -> tuple[PassLine, ...]:
    """What earlier passes did, as said, where lines do not contradict each other or the network."""
    said = bundle.said
    lines = [said.ledger[0]] if said.ledger else []
    for line in said.ledger[1:]:
        before = lines[-1]
        lines.append(
            replace(line, nodes_before=before.nodes_after, counts_before=before.counts_after)
        )
    lines = [_consistent(line, part) for line in lines]
    if not lines:
        return ()
    scaled = max((k for k, line in enumerate(lines) if line.scales), default=len(lines) - 1)
    lines[scaled] = replace(lines[scaled], scales=dict(bundle.notes.get("scales", {})))
    nodes = len(said.network.nodes) if said.network else 0
    lines = _possible(lines, {n.name for n in said.network.nodes} if said.network else set())
    lines[-1] = replace(lines[-1], nodes_after=nodes)
    if not part.host:
        dense = total_counts(dense_census(bundle.graph).values())
        lines[-1] = replace(lines[-1], counts_after=Operations.of(dense))
    return tuple(lines)


def _possible(lines: list[PassLine], present: set[str]) -> list[PassLine]:
    """Without changes that the network denies: what is there was not removed, and the reverse."""
    last = {name: change for line in lines for name, change in (line.changes or {}).items()}
    wrong = {name for name, change in last.items() if (change == "removed") == (name in present)}
    return [
        line
        if line.changes is None
        else replace(line, changes={n: c for n, c in line.changes.items() if n not in wrong})
        for line in lines
    ]


def _consistent(line: PassLine, part: Part) -> PassLine:
    """One line whose figures do not contradict each other."""
    shares = line.layers.values()
    if line.divergence is None:
        agreement = 1.0 if shares else None  # no layer that both networks have: levels, or none
        equal = dict.fromkeys(line.layers, 1.0)
        line = replace(line, agreement=agreement, layers=equal, traces=None)
    elif shares:
        agreement = part.between(_known(line.agreement), min(shares), max(shares))
        line = replace(line, agreement=agreement)
    return replace(line, deviation=0.0) if line.promise == "same" else line


def _known(x: float | None) -> float:
    if x is None:
        raise ValueError("a figure is missing")
    return x


def _number(x: Choice) -> float:
    if isinstance(x, str):
        raise ValueError(f"{x!r} is not a number")
    return x
