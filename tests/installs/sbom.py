"""Is a list of packages valid CycloneDX, and the core as it is pinned? Run by ``make release``.

``python tests/installs/sbom.py FILE.cdx.json CONSTRAINTS`` reads the list with another program
than the one that wrote it: the validator of cyclonedx-python-lib, which holds the official schemas.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name


def faults(text: str, pinned: dict[str, str]) -> list[str]:
    """What is wrong with a list: with its form, its packages, or its links between them."""
    said = json.loads(text)
    version = SchemaVersion.from_version(said["specVersion"])
    if wrong := JsonStrictValidator(version).validate_str(text):
        return [f"CycloneDX {said['specVersion']}: {wrong}"]
    parts = said["components"]
    found = [f"{p['name']} has no version or purl" for p in parts if not p.get("purl")]
    for part in parts:
        name = canonicalize_name(part["name"])
        if name != "purespike" and pinned.get(name) != part.get("version"):
            found.append(f"{name} {part.get('version')}, where {pinned.get(name)} is pinned")
    refs = {p["bom-ref"] for p in parts} | {said["metadata"]["component"]["bom-ref"]}
    for row in said["dependencies"]:
        lost = {row["ref"], *row.get("dependsOn", ())} - refs
        found += [f"a link to {ref}, which is not listed" for ref in sorted(lost)]
    return found


def main(file: Path, constraints: Path) -> None:
    """Print what was held, or end with what is wrong."""
    rows = [line.split("==") for line in constraints.read_text().splitlines() if "==" in line]
    pinned = {canonicalize_name(name): version.strip() for name, version in rows}
    text = file.read_text(encoding="utf-8")
    if found := faults(text, pinned):
        sys.exit("\n".join(found))
    said = json.loads(text)
    listed = len(said["components"])
    print(f"{file.name}: valid CycloneDX {said['specVersion']}, {listed} packages as pinned")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
