"""Which of the pinned packages a copy of the Python Packaging Advisory Database names.

``python tests/installs/advisories.py DATABASE CONSTRAINTS...``: DATABASE is a clone of
github.com/pypa/advisory-database. Prints the date of its newest advisory, how many packages it
knows and each advisory that names a pinned version; ends with 1 if there is one.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version


def named(affected: dict[str, Any], version: Version) -> bool:
    """Is a version in the list, or in a range, of one ``affected`` entry of the OSV schema?"""
    for listed in affected.get("versions", ()):
        with suppress(InvalidVersion):  # of before PEP 440: no pin is one of them
            if Version(listed) == version:
                return True
    for spans in affected.get("ranges", ()):
        if spans["type"] != "ECOSYSTEM":  # ranges of commits say nothing of a release
            continue
        inside = False
        # In the order of the versions; "0" stands for every one before the first release.
        events = [(Version(v), kind) for event in spans["events"] for kind, v in event.items()]
        for bound, kind in sorted(events):
            if bound < version or (bound == version and kind != "last_affected"):
                inside = kind == "introduced"
        if inside:
            return True
    return False


def pins(path: Path) -> dict[str, Version]:
    """The versions of a constraints file, by canonical name."""
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    stated = [line.partition(";")[0].partition("==") for line in lines if "==" in line]
    return {canonicalize_name(name.strip()): Version(v.strip()) for name, _, v in stated}


def main(database: Path, files: list[Path]) -> int:
    """Look every pin up; the exit code."""
    wanted = {(name, version) for file in files for name, version in pins(file).items()}
    newest, known, found = "", set(), []
    for path in sorted(database.glob("vulns/*/*.yaml")):
        said = yaml.safe_load(path.read_text())
        newest = max(newest, str(said["modified"]))
        for affected in said.get("affected", ()):
            name = canonicalize_name(affected["package"]["name"])
            hits = [version for n, version in wanted if n == name]
            known |= {name} if hits else set()
            if not said.get("withdrawn"):
                ids = " ".join((said["id"], *said.get("aliases", ())))
                found += [f"{name} {v}: {ids}" for v in hits if named(affected, v)]
    if not newest:
        sys.exit(f"no advisories under {database}/vulns")
    print(f"{len(wanted)} pins, advisories up to {newest}, of {len(known)} of these packages")
    print("\n".join(sorted(found)) or "none names a pinned version")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), [Path(p) for p in sys.argv[2:]]))
