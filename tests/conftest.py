"""Settings of all tests: hypothesis sets no time limit on an example, since machines are shared."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("purespike", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("purespike")
