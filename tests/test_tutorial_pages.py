"""The tutorials of docs/tutorials/, from top to bottom, in one folder, as a reader types them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.docs_blocks import blocks
from helpers.flow_cases import FAST, Plain, subject
from torch import nn

from purespike.flow.build import build

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
ON_DIGITS = ["first-verdict", "bits", "lava-and-timing", "test-sets"]  # the first trains
# Each in a folder of its own.
OTHERS = [["your-own-network", "test-bench", "received-bundle"], ["fixing-violations"]]


def test_no_page_is_left_over() -> None:
    assert {p.stem for p in FOLDER.glob("*.md")} == {
        *ON_DIGITS,
        *(page for pages in OTHERS for page in pages),
    }


def follow(page: str, folder: Path) -> str:
    """Write its files, run its commands; Python without a file's name runs in one namespace.

    Returns what that Python printed.
    """
    python = ""
    for block in blocks(f"docs/tutorials/{page}.md"):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            python += block.text
        elif block.language != "text":  # what a command may answer
            assert block.language == "console", block
            for line in block.text.splitlines():
                type_in(line.removeprefix("$ "), folder)
    if python:
        (folder / "page.py").write_text(python, encoding="utf-8")
        return type_in("python page.py", folder)
    return ""


def type_in(line: str, folder: Path) -> str:
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
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorials_on_digits(tmp_path: Path) -> None:
    for page in ON_DIGITS:
        follow(page, tmp_path)
    assert (tmp_path / "bits-3-tuned" / "report.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pages", OTHERS, ids=lambda pages: pages[0])
def test_a_tutorial_of_its_own(pages: list[str], tmp_path: Path) -> None:
    for page in pages:
        follow(page, tmp_path)


def test_a_test_bench_finds_a_stuck_bit(tmp_path: Path) -> None:
    """On any bundle, with nothing but numpy; what it says is golden is so, and it is the first."""
    build(subject(Plain(nn.Identity()), samples=4), FAST).save(tmp_path / "bundle")
    said = follow("test-bench", tmp_path)
    form = r"(\S+): step (\d+), sample (\d+), neuron \(([\d, ]*)\): (-?\d+), golden (-?\d+)\n"
    match = re.fullmatch(form, said)
    assert match, said
    name, step, sample, neuron, found, golden = match.groups()
    index = (int(step), int(sample), *map(int, re.findall(r"\d+", neuron)))
    with np.load(tmp_path / "bundle" / "golden.npz") as file:
        assert file[name][index] == int(golden) != int(found)
        assert name == next(n for n in file.files if n.startswith("membranes/")), "the first layer"
    python = blocks("docs/tutorials/test-bench.md", "python")
    words = [w for b in python for w in re.findall(r"^(?:import|from) (\w+)", b.text, re.M)]
    assert set(words) == {"bench", "json", "numpy", "replay", "sys"}
