"""Write the tables and figures of docs/depth.md from benchmarks/evidence.jsonl.

    python benchmarks/evidence_page.py [--figures]

Text between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` is what stands in the files of
trainings and of scans; the rest of the page is written by hand. Intervals are of 95 %: of one seed
over the images (Wilson; of differences Newcombe), of several over the seeds (Student's t).
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean

from evidence_cells import METHODS, MNIST, NAMES, layers
from evidence_figures import draw
from evidence_foretold import ranks, verdicts, warned, widths
from evidence_rows import (
    DEPTHS,
    GATES,
    SHORT,
    Evidence,
    Row,
    half_width,
    load,
    points,
    share,
    table,
)

from purespike.trainer.training.logs import SILENT

__all__ = [
    "DEPTHS",
    "GATES",
    "METHODS",
    "NAMES",
    "PAGE",
    "Evidence",
    "fill",
    "load",
    "points",
    "share",
]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "depth.md"


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

    return table(["gate", "layers", "plain %", *(m for m in METHODS if m != "vanilla")], rows())


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
    return table(head, rows())


def signals(evidence: Evidence) -> str:
    """Gradients and firing rates by layer in the first epoch, and where spikes die out."""

    def rows() -> Iterator[Sequence[str]]:
        for gate in GATES:
            for depth in DEPTHS:
                for method in ("vanilla", "AAP"):
                    found = evidence.cell((depth, gate, method, ""))
                    if found:
                        yield [gate.upper(), depth, method, *_signal(found, depth)]

    head = ["gate", "layers", "method", "first layer", "lowest of a layer", "highest"]
    blocks = ["first block fires", "middle", "last", "silent from"]
    return table([*head, *blocks], rows())


def _signal(rows: Sequence[Row], depth: str) -> list[str]:
    gradients = [
        [v for k, v in r["gradients"].items() if _main(k) and not k.startswith("fc")] for r in rows
    ]
    count = len(layers(int(depth)).widths)
    blocks = [[r["rates_first"][f"blocks.{i}"] for r in rows] for i in range(count)]
    silent = next((f"block {i + 1}" for i, rates in enumerate(blocks) if mean(rates) < SILENT), "")
    return [
        _size([r["gradients"].get("stem.0", 0.0) for r in rows]),
        _size([min(sizes) for sizes in gradients]),
        _size([max(sizes) for sizes in gradients]),
        *(_size(blocks[i]) for i in (0, count // 2, count - 1)),
        silent,
    ]


def _size(values: Sequence[float]) -> str:
    """The mean over the seeds, with its interval where there are three."""
    if len(values) < 3:
        return f"{values[0]:.2g}"
    half, middle = half_width(values), mean(values)
    return f"**{middle:.2g}** [{max(0.0, middle - half):.2g}, {middle + half:.2g}]"


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
            width = ""
            if variant == "tuned":  # to the weights of each seed
                tuned = dict.fromkeys(f"{r['width']:.3g}" for r in found)
                width = f" (width {', '.join(tuned)})"
            yield [
                gate.upper(),
                method,
                variant + width,
                share(found),
                points(found, base),
                _size([min(r["rates_first"].values()) for r in found]),
            ]

    head = ["gate", "method", "changed", "%", "points", "lowest rate of a layer, first epoch"]
    return table(head, rows())


def longer(evidence: Evidence) -> str:
    """Trainings of other lengths, of the event form, and those that read the test part."""

    def rows() -> Iterator[Sequence[str]]:
        names = ("part", "epochs", "data", "network", "gate", "method", "variant")
        seen = {
            tuple(r[n] for n in names)
            for r in evidence.rows
            if r["data"] in MNIST
            and ((r["part"], r["epochs"]) != ("validation", SHORT) or r["data"] != "mnist-5k")
        }
        for part, epochs, data, *key in sorted(seen):
            found = evidence.cell(tuple(key), part, epochs, data)
            depth, gate, method, variant = key
            name = f"{method}, {variant}" if variant else method
            images = part if data == "mnist-5k" else f"{part}, events"
            yield [depth, gate.upper(), name, str(epochs), images, str(len(found)), share(found)]

    return table(["layers", "gate", "method", "epochs", "images", "seeds", "%"], rows())


def machines(evidence: Evidence) -> str:
    """On what the networks were trained."""
    groups: dict[str, list[float]] = defaultdict(list)
    for row in evidence.rows:
        if row["data"] in MNIST and "with" in row:
            groups[row["with"]].append(row["cpu_s"])

    def rows() -> Iterator[Sequence[str]]:
        for name, seconds in groups.items():
            yield [name, str(len(seconds)), f"{sum(seconds) / 3600:.1f}"]

    return table(["trained with", "trainings", "CPU hours"], rows())


TABLES: dict[str, Callable[[Evidence], str]] = {
    "methods": methods,
    "kept": kept,
    "signals": signals,
    "variants": variants,
    "warned": warned,
    "widths": widths,
    "verdicts": verdicts,
    "longer": longer,
    "machines": machines,
    "ranks": ranks,
}


def fill(page: str, evidence: Evidence) -> str:
    """The page with each table as the rows have it."""
    for name, write in TABLES.items():
        begin, end = f"<!-- {name}: begin -->\n", f"\n<!-- {name}: end -->"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        new = f"{begin}\n{write(evidence)}\n{end}"
        page, count = re.subn(pattern, lambda _, new=new: new, page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the table {name}")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figures", action="store_true", help="draw the figures, too")
    evidence = load()
    PAGE.write_text(fill(PAGE.read_text(), evidence))
    for path in draw(evidence, PAGE.parent) if parser.parse_args().figures else ():
        print(path)


if __name__ == "__main__":
    main()
