"""The tutorials of docs/tutorials/, from top to bottom, in one folder, as a reader types them."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.docs_blocks import blocks

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
ON_DIGITS = ["first-verdict", "bits", "lava-and-timing", "test-sets"]  # the first trains
OTHERS = ["your-own-network", "fixing-violations"]


def test_no_page_is_left_over() -> None:
    assert {p.stem for p in FOLDER.glob("*.md")} == {*ON_DIGITS, *OTHERS}


def follow(page: str, folder: Path) -> None:
    """Write its files, run its commands; Python without a file's name runs in one namespace."""
    python = ""
    for block in blocks(f"docs/tutorials/{page}.md"):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            python += block.text
        else:
            assert block.language == "console", block
            for line in block.text.splitlines():
                type_in(line.removeprefix("$ "), folder)
    if python:
        (folder / "page.py").write_text(python, encoding="utf-8")
        type_in("python page.py", folder)


def type_in(line: str, folder: Path) -> None:
    program, *words = shlex.split(line)
    module = [] if program == "python" else ["-m", program]
    done = subprocess.run(
        [sys.executable, *module, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    allowed = (0, 1) if program == "purespike" and words[0] in ("compile", "diff") else (0,)
    assert done.returncode in allowed and "Traceback" not in done.stderr, (line, done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorials_on_digits(tmp_path: Path) -> None:
    for page in ON_DIGITS:
        follow(page, tmp_path)
    assert (tmp_path / "bits-3-tuned" / "report.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", OTHERS)
def test_a_tutorial_of_its_own(page: str, tmp_path: Path) -> None:
    follow(page, tmp_path)
