"""Seeded edits of three bundles, every hash redone: which check of `purespike verify` caught what.

    python benchmarks/tampering.py [COUNT] [SEED]

Prints the table of docs/proofs.md.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from adversarial.campaign import campaign, table, three_bundles


def main() -> int:
    """Make the edits; 1 if one was not caught."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 20261129
    with tempfile.TemporaryDirectory() as name:
        sightings = list(campaign(three_bundles(Path(name)), count, seed))
    print(table(sightings))
    missed = [s for s in sightings if not s.caught]
    for s in missed:
        print(f"MISSED: {s.edit.file}, {s.edit.kind}, seed {s.seed}, bundle {s.bundle}")
    print(f"{count - len(missed)} of {count} edits caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
