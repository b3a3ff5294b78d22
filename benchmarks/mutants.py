"""After how many random networks each mutant is noticed, and on which one.

    python benchmarks/mutants.py [--write]

The table of docs/proofs.md. The networks are the slice of `helpers.mutant_search`, in its order.
``--write`` keeps the first network of each mutant in tests/data/mutants.json, on which the quick
tests plant it.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.mutant_search import finder
from helpers.mutants import MUTANTS

KEPT = Path(__file__).resolve().parents[1] / "tests" / "data" / "mutants.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep what is found")
    write = parser.parse_args().write
    print("| mutant | where | seen by | network | number |\n|---|---|---|---|---|")
    found = {}
    for name, mutant in MUTANTS.items():
        first = finder(mutant)
        found[name] = first
        seen = f"{first[1]} {first[2]} | {first[0]}" if first else "none | "
        print(f"| {name} | {mutant.where} | {mutant.seen_by} | {seen} |", flush=True)
    if write:
        text = json.dumps(found, indent=1) + "\n"
        KEPT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
