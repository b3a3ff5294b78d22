"""A test set on several processes that is ended goes on; a read-only disk is one error."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from helpers.fault_cases import STATED, contents
from helpers.output_cases import disk, snapshot
from helpers.process_tools import eventually, heeding, started

from purespike.targets.lava.worker.session import members


def command(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """A command in a session of its own, with a folder for temporary files of its own."""
    (folder / "tmp").mkdir(exist_ok=True)
    with heeding():
        return subprocess.Popen(
            [sys.executable, "-m", "purespike", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
        )


def compiling(out: str) -> tuple[str, ...]:
    return ("compile", "user.nir", *STATED.split(), "--out", out)


# They take some 6 s: what is ended at its first part is not through before a busy machine lets the
# test look at it.
PARTS, WIDE = 240, 2000


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
        assert eventually(lambda: any(parts.glob("*.npz")))
        assert len(members(running.pid)) > 2  # itself and its workers
        running.send_signal(number)
        assert running.wait(timeout=120) == (130 if number == signal.SIGINT else -number)
        gone = eventually(lambda: not members(running.pid))
        assert gone, f"{members(running.pid)} go on after {number.name}"
    finally:
        for pid in members(running.pid):
            with suppress(ProcessLookupError):
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


# A real cluster of two workers, whose processes come back when they are killed; it ends with its
# standard input.
CLUSTER = """
import json, sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        pids = [nanny.pid for nanny in cluster.workers.values()]
        print(json.dumps([cluster.scheduler_address, pids]), flush=True)
        sys.stdin.read()
"""


@contextmanager
def local_cluster(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """Address of a cluster's scheduler, and the ids of its workers' processes."""
    (folder / "cluster.py").write_text(CLUSTER)
    with started(
        [sys.executable, "cluster.py"],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as running:
        assert running.stdin and running.stdout
        yield tuple(json.loads(running.stdout.readline()))
        running.stdin.close()
        assert running.wait(120) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)  # a busy machine: it takes seconds
def test_a_cluster_whose_worker_is_killed_and_then_the_command_goes_on(
    test_set: Path, tmp_path: Path
) -> None:
    words = simulating(test_set, "parts")
    split = words.index("--jobs")
    parts = tmp_path / "parts"

    def kept() -> int:
        return len(list(parts.glob("*.npz")))

    with local_cluster(tmp_path) as (address, workers):
        typed = (*words[:split], "--scheduler", address, *words[split + 2 :])
        running = command(tmp_path, *typed)
        try:
            assert eventually(lambda: kept() > 0, 200)
            os.kill(workers[0], signal.SIGKILL)
            some = kept()
            assert eventually(lambda: kept() > some, 200)  # the other worker goes on
            running.kill()
        finally:
            running.kill()
            running.communicate(timeout=30)
        some = kept()
        assert 0 < some < PARTS, "it was not in the middle"
        again = command(tmp_path, *typed)
        output, _ = again.communicate(timeout=250)
        assert again.returncode == 0, output.decode()
    assert contents(parts) == contents(test_set / "parts")
    found, expected = json.loads(output), json.loads((test_set / "result.json").read_bytes())
    assert found["resumed"] == some * 256
    for told in (found, expected):
        told.pop("seconds"), told.pop("resumed")
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
