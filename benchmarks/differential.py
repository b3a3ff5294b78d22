"""Run slices of the 10,000 numbered networks on every executor, and append a line for each.

python benchmarks/differential.py LOG [FIRST [LAST]] [--lava]

A slice is 50 networks (with --lava: ten that Lava can say, of 300). Slices from FIRST up to, and
without, LAST are run: all of them, where neither is given. A line is JSON: networks, values
compared by executor, refusals, mismatches, seconds of processor time. Slices that the log has
already are left out, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.numbered import COUNT, LAVA_SLICES, SLICE, check, check_lava


def main() -> None:
    """Run, append, and print the sums over the whole log."""
    options = arguments()
    log, lava = options.log, options.lava
    done = {row["slice"] for row in _rows(log)}
    for part in range(options.first, options.last):
        name = f"{'lava ' if lava else ''}{part}"
        if name in done:
            continue
        start = _processor_seconds(), time.monotonic()
        tally = check_lava(part) if lava else check(range(part * SLICE, (part + 1) * SLICE))
        row = {
            "slice": name,
            "networks": tally.networks,
            "values": dict(tally.values),
            "refused": dict(tally.refused),
            "mismatches": tally.mismatches,
            "cpu_seconds": round(_processor_seconds() - start[0], 2),
            "seconds": round(time.monotonic() - start[1], 2),
        }
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    _print_sums(_rows(log))


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The log, the slices from ``first`` up to ``last``, and whether they are Lava's.

    Slices that there are not end the process with exit status 2.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("log", type=Path, metavar="LOG")
    parser.add_argument("first", type=int, nargs="?", default=0, metavar="FIRST")
    parser.add_argument("last", type=int, nargs="?", metavar="LAST")
    parser.add_argument("--lava", action="store_true")
    options = parser.parse_args(given)
    slices = LAVA_SLICES if options.lava else COUNT // SLICE
    if options.last is None:
        options.last = slices
    if not 0 <= options.first < options.last <= slices:
        parser.error(
            f"slices {options.first} up to {options.last}: there are {slices}, so give "
            f"0 <= FIRST < LAST <= {slices}"
        )
    return options


def _processor_seconds() -> float:
    """Of this process and of those that it started: compilers, C programs, Lava."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def _rows(log: Path) -> list[dict[str, Any]]:
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def _print_sums(rows: list[dict[str, Any]]) -> None:
    networks = sum(row["networks"] for row in rows)
    values: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for row in rows:
        values.update(row["values"])
        refused.update(row["refused"])
    wrong = [text for row in rows for text in row["mismatches"]]
    print(f"{networks} networks in {len(rows)} slices, {len(wrong)} mismatches")
    print(f"{sum(r['cpu_seconds'] for r in rows) / max(1, networks):.3f} s of processor time each")
    for kind, counts in (("compared", values), ("refused", refused)):
        for name, count in counts.most_common():
            print(f"  {kind} {name}: {count:,}")
    for text in wrong:
        print(text)


if __name__ == "__main__":
    main()
