"""What early signs foretold: those of untrained networks, and those of the first epochs.

Tables of docs/depth.md; benchmarks/evidence_page.py writes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from math import exp, log, sqrt
from statistics import mean

import torch
from evidence_cells import NAMES, VARIANTS
from evidence_rows import GATES, SHORT, Evidence, Row, share, table
from scipy import stats

from purespike.trainer.training.health import ENOUGH, Decisions, diagnose

__all__ = ["ranks", "verdicts", "warned", "widths"]

DEFAULT_WIDTH = 0.637  # of the arctan 1 / (1 + (pi x)^2), at half its height: 2 / pi
LEARNT = 0.8  # accuracy
ENDS = (f"reached {100 * LEARNT:.0f} %", "% reached")
IMAGES, STEPS = 3500, 140  # of an epoch


def warned(evidence: Evidence) -> str:
    """What ``purespike train`` says in the first epochs, and how the trainings ended."""
    groups: dict[str, list[Row]] = {name: [] for name in ("silent or vanished", "chance", "none")}
    for row in evidence.rows:
        if (row["data"], row["part"], row["epochs"]) == ("mnist-5k", "validation", SHORT):
            groups[_warning(row)].append(row)

    def rows() -> Iterator[Sequence[str]]:
        for name, found in groups.items():
            for said, plain in (("plain", True), ("with auxiliary paths", False)):
                ends = [r["correct"] / r["n"] for r in found if (r["method"] == "vanilla") == plain]
                if ends:
                    yield [name, said, str(len(ends)), *_ends(ends)]

    return table(["warning", "trainings", "n", *ENDS], rows())


def _ends(shares: Sequence[float]) -> tuple[str, str]:
    learnt = sum(share >= LEARNT for share in shares)
    return str(learnt), f"{100 * min(shares):.1f} to {100 * max(shares):.1f}"


def _warning(row: Row) -> str:
    if diagnose(row["rates_first"], row["gradients"]):
        return "silent or vanished"
    epochs = -(-ENOUGH // STEPS)
    decisions = Decisions()
    right = round(row["curve"]["accuracy"][epochs - 1] * IMAGES)
    for step in (torch.arange(IMAGES) < right).split(IMAGES // STEPS):
        decisions.note(step, 10)
    return "chance" if decisions.judge(epochs * STEPS) else "none"


def widths(evidence: Evidence) -> str:
    """Widths of the surrogate at 34 layers: what the untrained network says, what is reached."""
    gains = {tuple(s[n] for n in NAMES): s["gain"] for s in evidence.scans}

    def rows() -> Iterator[Sequence[str]]:
        for gate in GATES:
            cells = [
                evidence.cell(("34", gate, "vanilla", variant))
                for variant in VARIANTS
                if not variant or variant.startswith(("width", "tuned"))
            ]
            tried = [(_widths(cell), cell) for cell in cells if cell]
            if len(tried) < 2:
                continue
            for found, cell in sorted(tried, key=lambda t: mean(t[0])):
                note = {"": " (default)", "tuned": " (tuned)"}.get(cell[0]["variant"], "")
                low, high = (f"{w:.3g}" for w in (min(found), max(found)))
                keys = [tuple(r[n] for n in NAMES) for r in cell]
                gain = [gains[key] for key in keys if key in gains]
                yield [
                    gate.upper(),
                    (low if low == high else f"{low} to {high}") + note,
                    f"{mean(gain):.2f}" if gain else "",
                    share(cell),
                ]

    return table(["gate, plain", "width", "gain of the gradient a layer, untrained", "%"], rows())


def _widths(cell: Sequence[Row]) -> list[float]:
    """By seed: a tuned width is that of its own weights."""
    return [float(row.get("width", DEFAULT_WIDTH)) for row in cell]


def verdicts(evidence: Evidence) -> str:
    """What ``purespike scan`` finds wrong with a network, and how its plain training ended."""
    reached = {tuple(r[n] for n in NAMES): r["correct"] / r["n"] for r in evidence.rows}
    groups: dict[str, list[float]] = defaultdict(list)
    for s in evidence.scans:
        cell = tuple(s[n] for n in NAMES)
        plain = (s["data"], s["method"], s["epochs"]) == ("mnist-5k", "vanilla", SHORT)
        if plain and cell in reached:
            groups[" and ".join(s["findings"]) or "nothing"].append(reached[cell])

    def rows() -> Iterator[Sequence[str]]:
        for found, shares in sorted(groups.items()):
            yield [found, str(len(shares)), *_ends(shares)]

    return table(["found", "plain trainings", *ENDS], rows())


WHOLE = "the same over all layers"
PREDICTIONS: dict[str, Callable[[Row], float]] = {
    "gain of the gradient near 1": lambda r: -abs(log(max(r["gain"], 1e-6))),
    WHOLE: lambda r: (
        -abs(log(max(r["gain"], 1e-6))) * (34 if r["network"] == "deep" else int(r["network"]))
    ),
    "lowest firing rate of a layer": lambda r: float(r["rate"]),
    "gradient at the first neurons, all heads": lambda r: float(r["first"]),
}


def ranks(evidence: Evidence) -> str:
    """How well what the untrained network says ranks what its training reaches."""
    reached = {tuple(r[n] for n in NAMES): r["correct"] / r["n"] for r in evidence.rows}
    groups: dict[str, Callable[[Row], bool]] = {
        "MNIST, all": lambda r: r["data"] == "mnist-5k",
        "MNIST, 34 layers": lambda r: r["data"] == "mnist-5k" and r["network"] == "34",
        "MNIST, plain": lambda r: r["data"] == "mnist-5k" and r["method"] == "vanilla",
        "MNIST, plain, 34 layers": lambda r: (
            (r["data"], r["network"], r["method"]) == ("mnist-5k", "34", "vanilla")
        ),
        "digits, 34 layers": lambda r: r["data"] == "digits",
    }

    def rows() -> Iterator[Sequence[str]]:
        for group, inside in groups.items():
            scans = [
                s
                for s in evidence.scans
                if inside(s)
                and s["epochs"] in (SHORT, 10)
                and tuple(s[n] for n in NAMES) in reached
            ]
            outcomes = [reached[tuple(s[n] for n in NAMES)] for s in scans]
            if len(scans) < 5:
                continue
            depths = {s["network"] for s in scans}
            for name, value in PREDICTIONS.items():
                if name == WHOLE and len(depths) == 1:
                    continue  # the same ranking
                values = [value(s) for s in scans]
                rho = float(stats.spearmanr(values, outcomes).statistic)
                tau = float(stats.kendalltau(values, outcomes).statistic)
                yield [group, str(len(scans)), name, _with_interval(rho, len(scans)), f"{tau:.2f}"]

    return table(["trainings", "n", "foretold by", "Spearman", "Kendall"], rows())


def _with_interval(rho: float, n: int) -> str:
    """Fisher's z with the variance of Bonett and Wright (2000)."""
    bounded = max(-0.999, min(0.999, rho))
    z, half = 0.5 * log((1 + bounded) / (1 - bounded)), 1.96 * sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = ((exp(2 * x) - 1) / (exp(2 * x) + 1) for x in (z - half, z + half))
    return f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]"
