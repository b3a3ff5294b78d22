"""Every example runs, and says what it is meant to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
        "integer (interpreter): 34",
        "Lava (fast convolution): ",
    ],
}


def test_every_example_is_listed() -> None:
    assert {p.name for p in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    for text in SAYS[name]:
        assert text in done.stdout
