"""The generator of random networks reaches what it is there for, and its own record is whole."""

from __future__ import annotations

import re

import pytest
from helpers.generator.cases import ELSEWHERE, LINES, PROPERTIES, REFUSED, RULES, UNREACHED
from helpers.generator.reach import ROOT, Record, line_of, raises
from helpers.generator.reached import LEAST, counted, rows
from helpers.generator.refused import FAULTS, refused

from purespike.compiler.errors import Refusal

# Where the numbered cases of a pass stand.
DOCSTRINGS = {
    "strip_auxiliary": "strip_auxiliary.py", "fuse_batchnorm": "fuse_batchnorm.py",
    "fold_scales": "fold_scales/fold_scales.py", "composing": "fold_scales/composing.py",
    "move_delays": "fold_scales/move_delays.py", "fold_constants": "fold_constants.py",
    "unroll_levels": "unroll_levels/unroll_levels.py", "lower_gates": "lower_gates.py",
    "merge_equal": "merge_equal.py", "remove_dead": "remove_dead.py",
    "split_host": "split_host.py", "hold_integers": "hold_integers.py",
    "quantize": "quantize/quantize.py", "calibrate": "quantize/calibrate.py",
    "rounding": "quantize/rounding.py",
}  # fmt: skip


def test_every_numbered_case_is_looked_for() -> None:
    looked = {(name, case.partition(",")[0]) for name, case in (*LINES, *RULES, *PROPERTIES)}
    looked |= REFUSED | {*ELSEWHERE}
    for name, file in DOCSTRINGS.items():
        text = (ROOT / "passes" / file).read_text(encoding="utf-8").split('"""')[1]
        cases = set(re.findall(r"^(\d+)\. ", text, re.M))
        assert cases and cases == {case for n, case in looked if n == name}, name


def test_what_is_looked_for_is_there() -> None:
    for place in LINES.values():
        line_of(*place)
    for file, function in RULES.values():
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), function
    assert {*UNREACHED} <= {*raises().values()}


def test_every_fault_is_refused_by_its_rule() -> None:
    record = Record()
    for seed in range(len(FAULTS)):
        one = refused(seed)
        error = record.refused(one.attempt)
        assert isinstance(error, Refusal) and error.rule == one.rule, (one.fault, error)
        assert error.message, one.fault
    assert {*record.refusals} <= {*raises()}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_everything_is_reached_twenty_times() -> None:
    few = [row for row in rows(counted()) if row[2] < LEAST]
    assert not few
