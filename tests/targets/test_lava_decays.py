"""A neuron process of Lava has one decay of the current and one of the membrane."""

from __future__ import annotations

import subprocess
import sys

import pytest

from purespike.targets.lava.run.python import WORKER

SCRIPT = """
import importlib.util
spec = importlib.util.spec_from_file_location("worker_main", WORKER)
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)
main.bootstrap()
from lava.proc.lif.process import LIF
neurons = LIF(shape=(3,), du=4095, dv=[0, 2048, 4095], vth=9)
print(neurons.v.shape, neurons.bias_mant.shape, neurons.du.shape, neurons.dv.shape)
print(" ".join(LIF.__doc__.split()).count("only a single decay can be set"))
"""


def test_lif_declares_one_decay_for_its_population() -> None:
    """Its Python model happens to compute with three; the process has room for one, and says so."""
    pytest.importorskip("lava.proc", reason="lava-nc is not installed")
    script = f"WORKER = {str(WORKER)!r}\n{SCRIPT}"
    made = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    assert made.stdout.split("\n")[:2] == ["(3,) (3,) (1,) (1,)", "2"]
