"""Commands that are ended, and disks that are full or read-only: nothing half written or left.

Seeds choose when a compile ends. What a run that went on gives is compared with one that nothing
disturbed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from helpers.output_cases import disk, snapshot
from helpers.process_tools import eventually
from helpers.user_files import foreign

from purespike.targets.lava.worker.session import members

STATED = "--dt 1e-3 --if-r step --reset zero --steps 6 --fires at --spike-input --lava none"
PER_SLICE, SLICES = 2, 25


def command(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A command in a session of its own, with a folder for temporary files of its own."""
    (folder / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "purespike", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
    )


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def compiling(out: str) -> tuple[str, ...]:
    return ("compile", "user.nir", *STATED.split(), "--out", out)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder with a network and its bundle, and how many seconds the compile took."""
    folder = tmp_path_factory.mktemp("whole")
    foreign(folder / "user.nir")
    began = time.monotonic()
    running = command(folder, *compiling("bundle"))
    output, _ = running.communicate(timeout=300)
    assert running.returncode == 1, output.decode()  # there are no labels: not proved
    seconds = time.monotonic() - began
    assert not any((folder / "tmp").iterdir())
    return folder, seconds


def end(running: subprocess.Popen[bytes], number: signal.Signals, after: float) -> int:
    """Send a signal after so many seconds; the exit code. No process of the session stays."""
    time.sleep(after)
    running.send_signal(number)
    running.communicate(timeout=120)
    left = eventually(lambda: not members(running.pid), 30)
    assert left, f"{members(running.pid)} go on after {number.name}"
    return running.returncode


def faults(name: str, first: int) -> Iterator[tuple[random.Random, signal.Signals]]:
    for seed in range(first * PER_SLICE, (first + 1) * PER_SLICE):
        r = random.Random(f"{name}{seed}")
        yield r, r.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(SLICES))
def test_a_compile_that_is_ended_anywhere(
    part: int, reference: tuple[Path, float], tmp_path: Path
) -> None:
    whole, seconds = reference
    expected = contents(whole / "bundle")
    (tmp_path / "user.nir").write_bytes((whole / "user.nir").read_bytes())
    for r, number in faults("compile", part):
        out = r.choice(("new", "old"))  # with an older bundle in its place, or without
        code = end(command(tmp_path, *compiling(out)), number, r.uniform(0, 1.1 * seconds))
        assert code in (-number, 130, 1), code
        if (tmp_path / out).exists():
            assert contents(tmp_path / out) == expected
        if number == signal.SIGINT and code == 130:
            assert not any((tmp_path / "tmp").iterdir())
            assert not list(tmp_path.glob(".purespike-*"))
        again = command(tmp_path, *compiling(out))
        output, _ = again.communicate(timeout=300)
        assert again.returncode == 1, output.decode()  # there are no labels: not proved
        assert contents(tmp_path / out) == expected
        assert not any((tmp_path / "tmp").iterdir())
        assert not list(tmp_path.glob(".purespike-*"))


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [4, 16, 40, 64, 100, 140])
def test_a_full_disk_is_one_error_and_leaves_nothing(
    kilobytes: int, reference: tuple[Path, float], tmp_path: Path
) -> None:
    whole, _ = reference
    (tmp_path / "user.nir").write_bytes((whole / "user.nir").read_bytes())
    with disk(tmp_path / "disk", f"{kilobytes}k") as small:
        running = command(tmp_path, *compiling("disk/bundle"))
        output, _ = running.communicate(timeout=300)
        text = output.decode()
        size = sum(len(c) for c in contents(whole / "bundle").values())
        if running.returncode == 1 and size < kilobytes << 10:
            assert contents(small / "bundle") == contents(whole / "bundle")
            return
        assert running.returncode == 2, text
        assert "No space left on device" in text and "Traceback" not in text
        assert not any(small.iterdir())


PARTS, WIDE = 24, 2000


@pytest.fixture(scope="module")
def test_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, samples of many parts, and what they give undisturbed."""
    folder = tmp_path_factory.mktemp("test_set")
    rng = np.random.default_rng(3)
    layers = {
        "in": nir.Input(np.array([2])),
        "w": nir.Affine(rng.uniform(-1, 1, (WIDE, 2)), np.zeros(WIDE)),
        "hidden": nir.IF(np.ones(WIDE), np.ones(WIDE)),
        "v": nir.Affine(rng.uniform(-1, 1, (3, WIDE)), np.zeros(3)),
        "if": nir.IF(np.ones(3), np.ones(3)),
        "out": nir.Output(np.array([3])),
    }
    nir.write(folder / "user.nir", nir.NIRGraph(layers, list(pairwise(layers))))
    x = rng.random((6, 256 * PARTS, 2)) < 0.4
    np.savez(folder / "test.npz", inputs=x.astype(np.uint8), labels=rng.integers(0, 3, x.shape[1]))
    compiled = command(folder, *compiling("bundle"))
    output, _ = compiled.communicate(timeout=300)
    assert compiled.returncode == 1, output.decode()  # its labels are not given: not proved
    whole = command(folder, *simulating(folder, "parts"))
    output, _ = whole.communicate(timeout=300)
    (folder / "result.json").write_bytes(output)
    assert whole.returncode == 0 and len(contents(folder / "parts")) == PARTS + 1, output.decode()
    return folder


def simulating(folder: Path, shards: str) -> tuple[str, ...]:
    data = ("--data", str(folder / "test.npz"), "--json")
    return ("simulate", str(folder / "bundle"), *data, "--jobs", "2", "--shards", shards)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_test_set_that_is_ended_leaves_no_worker_and_goes_on(
    number: signal.Signals, test_set: Path, tmp_path: Path
) -> None:
    running = command(tmp_path, *simulating(test_set, "parts"))
    parts = tmp_path / "parts"
    try:
        assert eventually(lambda: any(parts.glob("*.npz")), 60)
        assert len(members(running.pid)) > 2  # itself and its workers
        running.send_signal(number)
        assert running.wait(timeout=30) == (130 if number == signal.SIGINT else -number)
        gone = eventually(lambda: not members(running.pid), 10)
        assert gone, f"{members(running.pid)} go on after {number.name}"
    finally:
        for pid in members(running.pid):
            os.kill(pid, signal.SIGKILL)
        running.communicate(timeout=30)
    kept = len(list(parts.glob("*.npz")))
    assert 0 < kept < PARTS, "it was not in the middle"
    again = command(tmp_path, *simulating(test_set, "parts"))
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output.decode()
    assert contents(parts) == contents(test_set / "parts")
    found, expected = json.loads(output), json.loads((test_set / "result.json").read_bytes())
    assert found.pop("resumed") == kept * 256 and expected.pop("resumed") == 0
    assert found.pop("seconds") > 0 and expected.pop("seconds") > 0
    assert found == expected
    assert not any((tmp_path / "tmp").iterdir())


@pytest.mark.slow
def test_a_read_only_disk_is_one_error_and_stays_as_it_is(test_set: Path, tmp_path: Path) -> None:
    (tmp_path / "user.nir").write_bytes((test_set / "user.nir").read_bytes())
    with disk(tmp_path / "disk") as small:
        (small / "mine.txt").write_text("mine")
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        before = snapshot(small)
        for words in (compiling("disk/bundle"), simulating(test_set, "disk/parts")):
            running = command(tmp_path, *words)
            output, _ = running.communicate(timeout=300)
            text = output.decode()
            assert running.returncode == 2, text
            assert "Read-only file system" in text and "Traceback" not in text
            assert snapshot(small) == before
            assert not any((tmp_path / "tmp").iterdir())
