"""The networks and data of all faults, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fault_cases import make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made"))
