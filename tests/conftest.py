"""What all tests share."""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, settings

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests get the time they need unless they say otherwise."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1200))
