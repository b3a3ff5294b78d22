"""Write the tables and figures of docs/depth.md from benchmarks/evidence.jsonl.

    python benchmarks/evidence_page.py [--figures]

Text between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` is what stands in the files of
trainings and of scans; the rest of the page is written by hand. Intervals are of 95 %: of one seed
over the images (Wilson; of differences Newcombe), of several over the seeds (Student's t).
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from math import exp, log, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from evidence import read_rows
from evidence_cells import METHODS, NAMES, layers
from scipy import stats

from purespike.compiler.statistics import wilson_interval
from purespike.trainer.training.health import SILENT
from purespike.trainer.training.logs import Run
from purespike.trainer.training.plots import by_depth, curves, save

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "depth.md"
GATES = ("or", "sn", "iand", "xor", "and")
DEPTHS = ("10", "18", "34")
SHORT = 8  # epochs of the map
Row = dict[str, Any]
Key = tuple[str, str, str, str]  # depth, gate, method, variant


class Evidence:
    """The trainings on MNIST by cell, each with its seeds in order, and the scans before them."""

    def __init__(self, rows: Sequence[Row], scans: Sequence[Row]) -> None:
        self.rows, self.scans = rows, scans

    def cell(self, key: Key, part: str = "validation", epochs: int = SHORT) -> list[Row]:
        """The seeds of one cell."""
        names = ("network", "gate", "method", "variant")
        found = [
            r
            for r in self.rows
            if (r["data"], r["part"], r["epochs"]) == ("mnist-5k", part, epochs)
            and tuple(r[n] for n in names) == key
        ]
        return sorted(found, key=lambda r: r["seed"])


def share(rows: Sequence[Row]) -> str:
    """Accuracy in % with its interval."""
    values = [100 * r["correct"] / r["n"] for r in rows]
    if len(rows) == 1:
        low, high = (100 * x for x in wilson_interval(rows[0]["correct"], rows[0]["n"]))
        return f"{values[0]:.1f} [{low:.1f}, {high:.1f}]"
    half = _half(values)
    return (
        f"**{mean(values):.1f}** [{mean(values) - half:.1f}, {min(100.0, mean(values) + half):.1f}]"
    )


def points(rows: Sequence[Row], plain: Sequence[Row]) -> str:
    """What a cell has more than another, in points, over the seeds that both have."""
    other = {r["seed"]: r for r in plain}
    pairs = [(r, other[r["seed"]]) for r in rows if r["seed"] in other]
    values = [100 * (a["correct"] / a["n"] - b["correct"] / b["n"]) for a, b in pairs]
    if not pairs:
        return ""
    if len(pairs) > 1:
        half, middle = _half(values), mean(values)
        return f"**{middle:+.1f}** [{middle - half:+.1f}, {middle + half:+.1f}]"
    a, b = pairs[0]
    (la, ua), (lb, ub) = (wilson_interval(r["correct"], r["n"]) for r in (a, b))
    pa, pb = a["correct"] / a["n"], b["correct"] / b["n"]
    low = values[0] - 100 * sqrt((pa - la) ** 2 + (ub - pb) ** 2)
    high = values[0] + 100 * sqrt((ua - pa) ** 2 + (pb - lb) ** 2)
    return f"{values[0]:+.1f} [{low:+.1f}, {high:+.1f}]"


def _half(values: Sequence[float]) -> float:
    n = len(values)
    return float(stats.t.ppf(0.975, n - 1)) * stdev(values) / sqrt(n)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def methods(evidence: Evidence) -> str:
    """How many points each method adds, by depth and gate."""

    def rows() -> Iterator[Sequence[str]]:
        for gate in GATES:
            for depth in DEPTHS:
                plain = evidence.cell((depth, gate, "vanilla", ""))
                if plain:
                    added = [
                        points(evidence.cell((depth, gate, m, "")), plain)
                        for m in METHODS
                        if m != "vanilla"
                    ]
                    yield [gate.upper(), depth, share(plain), *added]

    return _table(["gate", "layers", "plain %", *(m for m in METHODS if m != "vanilla")], rows())


def kept(evidence: Evidence) -> str:
    """The deployed network beside the one whose pathway is kept (DSNN)."""

    def rows() -> Iterator[Sequence[str]]:
        for gate in GATES:
            for depth in DEPTHS:
                found = evidence.cell((depth, gate, "AAP", ""))
                if found:
                    with_path = [{**r, "correct": round(r["heads"]["aap"] * r["n"])} for r in found]
                    yield [
                        gate.upper(),
                        depth,
                        share(found),
                        share(with_path),
                        points(found, with_path),
                    ]

    head = ["gate", "layers", "deployed %", "with the path kept %", "deployed - kept, points"]
    return _table(head, rows())


def signals(evidence: Evidence) -> str:
    """Gradients and firing rates by layer in the first epoch, and where spikes die out."""

    def rows() -> Iterator[Sequence[str]]:
        for gate in GATES:
            for depth in DEPTHS:
                for method in ("vanilla", "AAP"):
                    found = evidence.cell((depth, gate, method, ""))
                    if found:
                        yield [gate.upper(), depth, method, *_signal(found[0], depth)]

    head = ["gate", "layers", "method", "first layer", "lowest of a layer", "highest"]
    return _table([*head, "blocks' rates, first to last", "silent from"], rows())


def _signal(row: Row, depth: str) -> list[str]:
    gradients = [v for k, v in row["gradients"].items() if _main(k) and not k.startswith("fc")]
    blocks = [row["rates_first"][f"blocks.{i}"] for i in range(len(layers(int(depth)).widths))]
    silent = next((f"block {i + 1}" for i, rate in enumerate(blocks) if rate < SILENT), "")
    some = [blocks[0], blocks[len(blocks) // 2], blocks[-1]]
    return [
        f"{row['gradients'].get('stem.0', 0.0):.2g}",
        f"{min(gradients):.2g}",
        f"{max(gradients):.2g}",
        ", ".join(f"{rate:.2g}" for rate in some),
        silent,
    ]


def _main(name: str) -> bool:
    return "identity" not in name.split(".")


def variants(evidence: Evidence) -> str:
    """What changes of the network do at 34 layers."""

    def rows() -> Iterator[Sequence[str]]:
        seen = {
            (r["gate"], r["method"], r["variant"])
            for r in evidence.rows
            if r["data"] == "mnist-5k" and r["network"] == "34" and r["variant"]
        }
        for gate, method, variant in sorted(seen):
            found = evidence.cell(("34", gate, method, variant))
            base = evidence.cell(("34", gate, method, ""))
            width = f" (width {found[0]['width']:g})" if "width" in found[0] else ""
            rate = min(v for k, v in found[0]["rates_first"].items())
            yield [
                gate.upper(),
                method,
                variant + width,
                share(found),
                points(found, base),
                f"{rate:.2g}",
            ]

    head = ["gate", "method", "changed", "%", "points", "lowest rate of a layer, first epoch"]
    return _table(head, rows())


def longer(evidence: Evidence) -> str:
    """Trainings of other lengths, and those that read the test part."""

    def rows() -> Iterator[Sequence[str]]:
        seen = {
            (r["part"], r["epochs"], r["network"], r["gate"], r["method"], r["variant"])
            for r in evidence.rows
            if r["data"] == "mnist-5k" and (r["part"] == "test" or r["epochs"] != SHORT)
        }
        for part, epochs, *key in sorted(seen):
            found = evidence.cell(tuple(key), part, epochs)  # type: ignore[arg-type]
            depth, gate, method, variant = key
            name = f"{method}, {variant}" if variant else method
            seeds = str(len(found))
            yield [depth, gate.upper(), name, str(epochs), part, seeds, share(found)]

    return _table(["layers", "gate", "method", "epochs", "images", "seeds", "%"], rows())


PREDICTIONS: dict[str, Callable[[Row], float]] = {
    "gain of the gradient near 1": lambda r: -abs(log(max(r["gain"], 1e-6))),
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
            for name, value in PREDICTIONS.items():
                values = [value(s) for s in scans]
                rho = float(stats.spearmanr(values, outcomes).statistic)
                tau = float(stats.kendalltau(values, outcomes).statistic)
                yield [group, str(len(scans)), name, _with_interval(rho, len(scans)), f"{tau:.2f}"]

    return _table(["trainings", "n", "foretold by", "Spearman", "Kendall"], rows())


def _with_interval(rho: float, n: int) -> str:
    """Fisher's z with the variance of Bonett and Wright (2000)."""
    bounded = max(-0.999, min(0.999, rho))
    z, half = 0.5 * log((1 + bounded) / (1 - bounded)), 1.96 * sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = ((exp(2 * x) - 1) / (exp(2 * x) + 1) for x in (z - half, z + half))
    return f"{rho:+.2f} [{low:+.2f}, {high:+.2f}]"


TABLES: dict[str, Callable[[Evidence], str]] = {
    "methods": methods,
    "kept": kept,
    "signals": signals,
    "variants": variants,
    "longer": longer,
    "ranks": ranks,
}


def fill(page: str, evidence: Evidence) -> str:
    """The page with each table as the rows have it."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        new = f"{begin}\n{table(evidence)}\n{end}"
        page, count = re.subn(pattern, lambda _, new=new: new, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the table {name}")
    return page


def as_run(row: Row, name: str) -> Run:
    """One training as ``purespike plot`` reads it: of rates and gradients, two epochs."""
    values = {name: dict(enumerate(curve)) for name, curve in row["curve"].items()}
    last = row["epochs"] - 1
    ends = {"gradient": ("gradients", "gradients_last"), "rate": ("rates_first", "rates")}
    for metric, (first, final) in ends.items():
        values |= {f"{metric}/{n}": {0: v, last: row[final][n]} for n, v in row[first].items()}
    values["first_layer_gradient_norm"] = values["gradient/stem.0"]
    blocks = range(len(layers(int(row["network"])).widths))
    weights = ("stem.0", *(f"blocks.{i}.conv{k}" for i in blocks for k in (1, 2)), "fc")
    return Run(name, values, weights, tuple(f"blocks.{i}" for i in blocks))


def draw(evidence: Evidence, folder: Path) -> Iterator[Path]:
    """The figures of the page, as ``purespike plot`` draws them."""
    cells = {
        "depth-methods.svg": [(m, ("34", "or", m, "")) for m in METHODS],
        "depth-gates.svg": [(f"{g.upper()}, plain", ("34", g, "vanilla", "")) for g in GATES],
    }
    for name, chosen in cells.items():
        found = [(text, evidence.cell(key)) for text, key in chosen]
        yield save(
            by_depth([as_run(rows[0], text) for text, rows in found if rows], 0), folder / name
        )
    found = [(text, evidence.cell(key)) for text, key in cells["depth-methods.svg"]]
    runs = [as_run(rows[0], text) for text, rows in found if rows]
    yield save(curves(runs), folder / "depth-curves.svg")


def load() -> Evidence:
    """What the committed files hold."""
    scans = (HERE / "evidence_scan.jsonl").read_text().splitlines()
    return Evidence(read_rows(HERE / "evidence.jsonl"), [json.loads(line) for line in scans])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", action="store_true", help="draw the figures, too")
    evidence = load()
    PAGE.write_text(fill(PAGE.read_text(), evidence))
    for path in draw(evidence, PAGE.parent) if parser.parse_args().figures else ():
        print(path)


if __name__ == "__main__":
    main()
