"""What all tests share."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, settings

# Tests that start Lava runs: some look at all its processes and shared memory, so one at a time.
RUNS_LAVA = (
    "test_lava_",
    "test_cli",
    "test_verdict",
    "test_bundle",
    "test_examples",
    "test_netx_lava",
)

if "PYTEST_XDIST_WORKER" in os.environ:  # one core a worker, also for the processes it starts
    os.environ["OMP_NUM_THREADS"] = "1"

_START = time.monotonic()

# Machines are shared: a slow example is no failure.
settings.register_profile("purespike", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("purespike")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """CI runs slow tests while time allows: past PURESPIKE_SLOW_SECONDS the rest is skipped."""
    budget = os.environ.get("PURESPIKE_SLOW_SECONDS")
    if budget and item.get_closest_marker("slow") and time.monotonic() - _START > float(budget):
        pytest.skip(f"out of time: slow tests may start for {budget} s")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests get the time they need unless they say otherwise.

    On several workers (``pytest -n 2 --dist loadgroup``) a file stays together, for the sake of its
    fixtures, and so do all that run Lava.
    """
    for item in items:
        lava = item.path.name.startswith(RUNS_LAVA)
        item.add_marker(pytest.mark.xdist_group("lava" if lava else item.path.name))
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))
