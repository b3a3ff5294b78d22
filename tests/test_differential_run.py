"""Which slices of the numbered networks ``benchmarks/differential.py`` runs."""

from pathlib import Path

import pytest
from helpers.numbered import COUNT, LAVA_SLICES, SLICE

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def differential(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return pytest.importorskip("differential")


@pytest.mark.parametrize(
    ("given", "slices"),
    [
        ([], range(COUNT // SLICE)),
        (["5"], range(5, COUNT // SLICE)),
        (["5", "7"], range(5, 7)),
        (["--lava"], range(LAVA_SLICES)),
        (["5", "--lava"], range(5, LAVA_SLICES)),
    ],
)
def test_slices_run_to_the_end_unless_told_where_to_stop(differential, given, slices):
    options = differential.arguments(["log.jsonl", *given])
    assert range(options.first, options.last) == slices


@pytest.mark.parametrize("given", [["7", "7"], ["-1"], ["0", "100000"], ["many"]])
def test_slices_that_there_are_not_are_refused(differential, capsys, given):
    with pytest.raises(SystemExit) as ended:
        differential.arguments(["log.jsonl", *given])
    assert ended.value.code == 2
    assert "FIRST" in capsys.readouterr().err.splitlines()[-1]
