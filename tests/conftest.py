"""What all tests share."""

from __future__ import annotations

import faulthandler
import gc
import os
import random
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from helpers.turns import in_turns, seed
from hypothesis import HealthCheck, settings

import purespike  # noqa: F401  # before the tests that import onnxruntime: no telemetry

# Tests that start Lava runs: some look at all its processes and shared memory, so one at a time.
RUNS_LAVA = (
    "test_lava_",
    "test_cli",
    "test_verdict",
    "test_bundle",
    "test_examples",
    "test_netx_lava",
    "test_notebooks",
    "test_representations",
)

if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker, also for the processes it starts
    os.environ["OMP_NUM_THREADS"] = "1"

# A child that a test starts says where it was, too, when a fatal signal ends it.
os.environ.setdefault("PYTHONFAULTHANDLER", "1")

_START = time.monotonic()
_BUDGET = os.environ.get("PURESPIKE_SLOW_SECONDS")
_STDERR = pytest.StashKey[int]()

# Machines are shared: a slow example is not a failure.
settings.register_profile("purespike", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("purespike")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real standard error: while a test runs, it is captured."""
    config.stash[_STDERR] = os.dup(sys.stderr.fileno())


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_STDERR])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process, with every thread's stack, at twice the time limit of the test.

    pytest-timeout interrupts with a signal, which Python handles between two of its instructions:
    never, where a test does not come back from C.
    """
    marker = item.get_closest_marker("timeout")
    limit = marker.args[0] if marker else item.config.getoption("timeout")
    limit = float(item.config.getini("timeout") if limit is None else limit)
    if limit and not item.config.getoption("usepdb"):
        faulthandler.dump_traceback_later(2 * limit, exit=True, file=item.config.stash[_STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def parsed_here() -> Iterator[None]:
    """NIR and netx files are parsed in the test's process: for tests of what the files mean."""
    from helpers.parsing import in_process  # loads what most tests need, but not those of pytest

    with in_process():
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """CI runs slow tests while time allows: past PURESPIKE_SLOW_SECONDS the rest is skipped."""
    if _BUDGET and item.get_closest_marker("slow") and time.monotonic() - _START > float(_BUDGET):
        pytest.skip(f"out of time: slow tests may start for {_BUDGET} s")
    # Weights that a test does not seed must not follow from the tests before it.
    random.seed(0)
    np.random.seed(0)  # code of other packages draws from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: garbage is looked for in the rest, and not so often."""
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_report_header() -> list[str]:
    said = f"slow tests: may start for {_BUDGET} s, in the order of PURESPIKE_SLOW_SEED={seed()}"
    return [said] if _BUDGET else []


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests get the time they need unless they say otherwise, and take turns if it is short.

    On several workers (``pytest -n 2 --dist loadgroup``) a file stays together, for the sake of its
    fixtures, and so do all that run Lava.
    """
    for item in items:
        lava = item.path.name.startswith(RUNS_LAVA)
        item.add_marker(pytest.mark.xdist_group("lava" if lava else item.path.name))
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))
    if _BUDGET:
        slow = [item for item in items if item.get_closest_marker("slow")]
        quick = [item for item in items if not item.get_closest_marker("slow")]
        items[:] = [*quick, *in_turns(slow, lambda item: item.path, seed())]
