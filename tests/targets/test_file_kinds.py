"""The table of files in docs/inputs.md says what happens."""

from __future__ import annotations

import pytest
from helpers.file_kinds import table, written


def test_the_table_of_file_kinds_is_what_happens() -> None:
    pytest.importorskip("lava.lib.dl", reason="lava-dl is not installed")
    assert table() == written(), "run python tests/helpers/file_kinds.py"
