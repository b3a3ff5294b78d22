"""How many random networks reach each operation, each case of each pass, and each refusal.

    python benchmarks/reach.py [--share S]

The table of docs/proofs.md. The networks are those of the slow suite, which demands 20 of each.
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.generator.reached import counted, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the networks")
    record = counted(parser.parse_args().share)
    print(f"{record.networks} networks\n\n| what | reached by |\n|---|---|")
    for group, found in groupby(rows(record), key=lambda row: row[0]):
        listed = list(found)
        if group == "refusal":
            for _, text, count in listed:
                print(f"| refused: {text} | {count} |")
        else:
            text = "; ".join(f"{case}: {count}" for _, case, count in listed)
            print(f"| {'operations' if group == 'operation' else f'`{group}`'} | {text} |")


if __name__ == "__main__":
    main()
