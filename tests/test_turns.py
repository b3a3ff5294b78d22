"""Slow tests under a limit of time: every one has its turn within some runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
from helpers.turns import TOGETHER, in_turns, seed

HERE = Path(__file__).parent
TESTS = [(file, test) for file in range(30) for test in range(1 + file**2 // 12)]
RUNS = 60

SLOW = """
import pytest
@pytest.mark.slow
@pytest.mark.parametrize("k", range(7))
def test_slow(k): pass
def test_quick(): pass
"""


def by_file(test: tuple[int, int]) -> int:
    return test[0]


def test_an_order_has_every_test_once_and_its_seed_decides_it() -> None:
    one, other = in_turns(TESTS, by_file, "one"), in_turns(TESTS, by_file, "other")
    assert sorted(one) == sorted(other) == TESTS and one != other != TESTS
    assert in_turns(TESTS, by_file, "one") == one
    rows = [len(list(row)) for _, row in groupby(one, by_file)]
    assert sum(rows) / len(rows) > 0.8 * TOGETHER  # fixtures of a file are shared


def test_all_tests_have_their_turn_whatever_their_file() -> None:
    """A fifth of them fits; 60 runs miss one with a chance of 0.8**60, any with 1e-3."""
    fits = len(TESTS) // 5
    turns = Counter(t for n in range(RUNS) for t in in_turns(TESTS, by_file, f"{n}")[:fits])
    assert turns.keys() == set(TESTS)
    small = [turns[t] for t in TESTS if t[0] < 10]
    large = [turns[t] for t in TESTS if t[0] == 29]
    for counts in (small, large):  # 12 are expected
        assert 9 < sum(counts) / len(counts) < 15


@pytest.mark.parametrize(("seconds", "ran"), [("1000", 14), ("0", 0)])
def test_a_run_starts_them_in_its_order_while_there_is_time(
    seconds: str, ran: int, tmp_path: Path
) -> None:
    shutil.copy(HERE / "conftest.py", tmp_path)
    files = [tmp_path / name for name in ("test_a.py", "test_b.py")]
    for file in files:
        file.write_text(SLOW)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    env |= {"PYTHONPATH": str(HERE), "PURESPIKE_SLOW_SECONDS": seconds, "PURESPIKE_SLOW_SEED": "3"}
    options = [
        "-p",
        "no:cacheprovider",
        "-m",
        "slow",
        "-v",
        "-o",
        "markers=slow",
        "-o",
        "timeout=60",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        env=env, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"may start for {seconds} s, in the order of PURESPIKE_SLOW_SEED=3" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines() if "::" in line]
    tests = [f"{f.name}::test_slow[{k}]" for f in files for k in range(7)]
    assert [words[0] for words in lines] == in_turns(tests, lambda t: t.partition("::")[0], "3")
    assert sum(words[1] == "PASSED" for words in lines) == ran
    assert done.stdout.count("SKIPPED") == len(tests) - ran


def test_without_a_seed_the_commit_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PURESPIKE_SLOW_SEED", raising=False)
    command = ["git", "-C", str(HERE), "rev-parse", "HEAD"]
    head = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    assert seed() == (head[:12] or "none")
    monkeypatch.setenv("PURESPIKE_SLOW_SEED", "7")
    assert seed() == "7"
