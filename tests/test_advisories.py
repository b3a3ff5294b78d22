"""The check of pinned packages against a copy of the advisory database (SECURITY.md says when)."""

from __future__ import annotations

from pathlib import Path

import pytest
from installs.advisories import main, named, pins
from packaging.version import Version

ADVISORY = """id: PYSEC-2099-1
aliases: [CVE-2099-1]
modified: 2024-10-10T00:00:00Z
affected:
- package: {name: NumPy, ecosystem: PyPI}
  ranges:
  - type: GIT
    events: [{introduced: "0"}]
  - type: ECOSYSTEM
    events: [{introduced: 1.0.0}, {fixed: 1.2.0}, {introduced: "1.10"}, {last_affected: "1.11"}]
  versions: [0.7.1.fix1, 3.0.0rc1]
"""


@pytest.mark.parametrize(
    ("version", "hit"),
    [("0.9", False), ("1.0.0", True), ("1.1.9", True), ("1.2.0", False), ("1.9", False),
     ("1.10.0", True), ("1.11", True), ("1.11.1", False), ("3.0.0rc1", True), ("3.0.0", False)],
)  # fmt: skip
def test_a_version_is_named_by_ranges_and_by_lists(version: str, hit: bool) -> None:
    import yaml

    (affected,) = yaml.safe_load(ADVISORY)["affected"]
    assert named(affected, Version(version)) is hit


def test_pins_that_an_advisory_names_end_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "vulns" / "numpy"
    folder.mkdir(parents=True)
    (folder / "PYSEC-2099-1.yaml").write_text(ADVISORY)
    (tmp_path / "pins.txt").write_text(
        "# all\nnumpy==1.1  # Lava\nh5py==3.1 ; python_version > '3'\n"
    )
    assert pins(tmp_path / "pins.txt") == {"numpy": Version("1.1"), "h5py": Version("3.1")}
    assert main(tmp_path, [tmp_path / "pins.txt"]) == 1
    said = capsys.readouterr().out
    assert "2 pins" in said and "of 1 of these" in said
    assert "numpy 1.1: PYSEC-2099-1 CVE-2099-1" in said
    (folder / "PYSEC-2099-1.yaml").write_text(ADVISORY + "withdrawn: 2024-10-11T00:00:00Z\n")
    assert main(tmp_path, [tmp_path / "pins.txt"]) == 0
    with pytest.raises(SystemExit, match="no advisories"):
        main(tmp_path / "vulns", [])
