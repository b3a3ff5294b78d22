"""The notebooks run from top to bottom, show what they speak of, and are kept without outputs."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nbformat
import pytest

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
PUBLIC = {"matplotlib.pyplot", "numpy", "sklearn.datasets", "torch", "purespike"}


def converter() -> Any:
    """docs/notebook_pages.py, with which the site makes its pages."""
    spec = importlib.util.spec_from_file_location("notebook_pages", DOCS / "notebook_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_is_kept_without_outputs_and_uses_what_is_public(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in code:
        assert cell.outputs == [] and cell.execution_count is None
        assert set(cell.metadata) <= {"alt"}
    text = "\n".join(cell.source for cell in code)
    assert set(re.findall(r"^(?:import|from) ([\w.]+)", text, re.MULTILINE)) <= PUBLIC
    assert re.findall(r"^from purespike\b.*", text, re.MULTILINE) == []


def pictures(page: str) -> list[str]:
    coded = re.findall(r'src="data:image/svg\+xml;base64,([\w+/=]+)"', page)
    return [base64.b64decode(text).decode() for text in coded]


def run(name: str, capfd: pytest.CaptureFixture[str]) -> str:
    page: str = converter().page(DOCS / "notebooks" / name)
    assert "Traceback" not in page + capfd.readouterr().err
    for picture in pictures(page):
        ElementTree.fromstring(picture)
    for alt in re.findall(r'<img alt="([^"]*)"', page):
        assert len(alt) > 40 and "&amp;" not in alt
    return page


@pytest.mark.slow
def test_the_pathway_keeps_the_gradient_that_depth_takes(capfd: pytest.CaptureFixture[str]) -> None:
    page = run("gradients.ipynb", capfd)
    rows = [
        [float(x) for x in line.split()]
        for line in page.split("layers  first block")[2].splitlines()[1:5]
    ]
    assert [row[0] for row in rows] == [10, 18, 34, 66]
    layers, plain, aap, shortcut, ratio = zip(*rows, strict=True)
    assert list(plain) == sorted(plain, reverse=True) and plain[0] > 3 * plain[-1]
    assert min(aap) == aap[0] and min(shortcut) == shortcut[0]
    assert list(ratio) == sorted(ratio) and len(layers) == 4
    curves, captured, chip = pictures(page)
    assert "auxiliary path" in curves
    assert 'class="box auxiliary"' in captured and 'class="box auxiliary"' not in chip
    assert "NOT PROVED: not run PS010, PS012" in page


def test_the_spike_is_late_by_the_synapses_on_its_way(capfd: pytest.CaptureFixture[str]) -> None:
    page = run("two-clocks.ipynb", capfd)
    rows = [line.split() for line in page.split("planned   measured\n")[1].splitlines()[:6]]
    assert [row[0] for row in rows] == ["x", "stem.1", "branch.1", "branch.3", "join", "after.1"]
    for late, (_, logical, lava, planned, measured) in enumerate(rows):
        assert (logical, lava) == ("1", str(1 + late)) and planned == measured == str(late)
    held = re.findall(r"held back by (\d): (\d+) of 504 places", page.split("```text")[-1])
    assert [h for h, wrong in held if wrong == "0"] == ["2"] and len(held) == 3
    assert "SPIKE-ONLY: every rule was checked and holds" in page
    _, moving = pictures(page)
    assert "@keyframes" in moving and "<script" not in moving
