"""How many random networks notice each mutant: directed ones, and ones drawn blind.

    python benchmarks/mutants.py [--networks N]

The table of docs/proofs.md. Directed networks have thresholds that membranes reach exactly or miss
by one, saturation, drift and extreme leaks; blind ones have what a random generator draws. The
mutants are those of the tests, which demand that each is noticed at all.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.mutant_search import networks, noticed
from helpers.mutants import MUTANTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=20, help="of each of the two sorts")
    count = parser.parse_args().networks
    print("| mutant | where | seen by | directed | blind |\n|---|---|---|---|---|")
    totals = [0, 0]
    for name, mutant in MUTANTS.items():
        found = [
            sum(noticed(mutant, *network, directed) for network in networks(count))
            for directed in (True, False)
        ]
        totals = [a + b for a, b in zip(totals, found, strict=True)]
        row = f"| {name} | {mutant.where} | {mutant.seen_by} | {found[0]} | {found[1]} |"
        print(row, flush=True)
    print(f"directed {totals[0]}, blind {totals[1]}")


if __name__ == "__main__":
    main()
