"""Large networks compile in little memory: the benchmark's own child process, on smaller images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "compile_scale.py"


@pytest.mark.slow
def test_fsnn_50_compiles_in_five_times_its_weights() -> None:
    """On 64x64 the weights decide: two graphs in float64, each twice the weights, and some room.

    One more copy of the graph's weights, 195 MB, would be too many.
    """
    command = [sys.executable, str(BENCHMARK), "--child", "fsnn-50", "--size", "64"]
    done = subprocess.run(
        [*command, "--threads", "1"], capture_output=True, text=True, timeout=280, check=True
    )
    rows = json.loads(done.stdout.splitlines()[-1])
    weights = rows["parameters"] * 4 / 2**20
    used = rows["golden network.mb"] - rows["imports.mb"]
    assert weights == pytest.approx(97.5, abs=0.1)
    # Below this the child would not have held what it compiled.
    assert 4 * weights < used < 3 * weights + 256, (used, rows)
