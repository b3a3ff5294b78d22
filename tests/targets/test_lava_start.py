"""What a worker loads before it runs: scipy.signal for the stock convolution, numpy.f2py never."""

from __future__ import annotations

import subprocess
import sys

import pytest

from purespike.targets.lava.run.python import WORKER

SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("worker_main", sys.argv[1])
main = importlib.util.module_from_spec(spec)
spec.loader.exec_module(main)
main.bootstrap()
assert not main.versions()["missing"]
from purespike.targets.lava.worker import build
from lava.proc.conv import utils
for conv in ("fast", "stock"):
    build.run_config({"conv": conv})
    print(conv, "scipy.stats" in sys.modules, hasattr(utils.signal, "convolve2d"))
print("numpy.f2py.crackfortran" in sys.modules)
from scipy import signal
print(signal is utils.signal)
"""


def test_scipy_signal_is_loaded_for_the_stock_convolution_alone() -> None:
    """It brings scipy.stats along: together they are two thirds of a worker's start."""
    pytest.importorskip("lava.proc", reason="lava-nc is not installed")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(WORKER)], capture_output=True, text=True, timeout=120
    )
    shown = ["fast False False", "stock True True", "False", "True"]
    assert done.stdout.splitlines() == shown, done.stderr
