"""Every example runs, and says what it is meant to show.

In the process of the tests, which has torch and the frameworks already.
"""

from __future__ import annotations

import ast
import runpy
from pathlib import Path

import nbformat
import pytest
import torch

import purespike as ps

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SAYS = {
    "01_judge_a_network.py": [
        "SPIKE-ONLY: every rule was checked and holds",
        "model.nir",
        "Lava (fast convolution): ",
    ],
    "02_find_a_violation.py": [
        "Add: NOT SPIKE-ONLY: broken PS001, PS004",
        "PS001 at behind.0: int[0, 2] from join (Add)",
        "Iand: NOT PROVED",
    ],
    "03_read_the_graph.py": ["%1: 4x6x6 spike = Neuron(%0, threshold", "membrane proved in"],
    "04_other_frameworks.py": [
        "Build('snnTorch', 'NOT PROVED: not run PS010, PS012'",
        "Build('SpikingJelly', 'NOT PROVED: not run PS010, PS012'",
        "Simulation('cpu', samples=16, layers=model.lif1, model.lif2)",
    ],
    "05_a_file_of_another_tool.py": [
        "open: dt, steps, reset, if_r, fires",
        "NOT PROVED: not run PS010, PS012",
        "files, bit for bit",
        "every static rule holds",
    ],
    "06_quantized_ann.py": [
        "quantized ANN in torch: 9",
        "SPIKE-ONLY: every rule was checked and holds",
        "integer network: 34",
        "Lava (fast convolution): ",
    ],
}


LINES = 65  # one job each
NOTEBOOKS = sorted((EXAMPLES.parent / "docs" / "notebooks").glob("*.ipynb"))


def test_every_example_is_listed_and_short() -> None:
    assert {p.name for p in EXAMPLES.glob("*.py")} == set(SAYS)
    for name in SAYS:
        assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= LINES, name


def inside(text: str) -> list[str]:
    """What a text takes of purespike that is not public."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.startswith("purespike.")]
            for a in node.names:
                assert a.name != "purespike" or a.asname == "ps"  # what is looked for below
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("purespike"):
            public = {"purespike": ps.__all__, "purespike.nn": ps.nn.__all__}
            own = public.get(node.module or "", [])
            found += [f"{node.module}.{a.name}" for a in node.names if a.name not in own]
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            own = {"ps": ps.__all__, "ps.nn": ps.nn.__all__}.get(owner, [node.attr])
            found += [f"{owner}.{node.attr}"] if node.attr not in own else []
    return found


@pytest.mark.parametrize("path", [*sorted(EXAMPLES.glob("*.py")), *NOTEBOOKS], ids=lambda p: p.stem)
def test_examples_and_notebooks_use_public_names_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        lines = "\n".join(c.source for c in cells if c.cell_type == "code").splitlines()
        text = "\n".join(line for line in lines if not line.startswith("%"))
    assert inside(text) == []


def test_what_is_not_public_is_found() -> None:
    hidden = ["from purespike.compiler.rules.policy import STRICT", "import purespike.flow.build"]
    hidden += ["import purespike as ps\nps.api", "from purespike.nn import Attached"]
    assert [len(inside(text)) for text in hidden] == [1, 1, 1, 1]


@pytest.mark.filterwarnings("ignore")  # of Brevitas
@pytest.mark.parametrize("name", SAYS)
def test_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    finally:
        torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    for text in SAYS[name]:
        assert text in shown
