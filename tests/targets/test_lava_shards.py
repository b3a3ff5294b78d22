"""Runs over shards of samples: the same recordings, one error, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from helpers.process_tools import children, eventually, started
from helpers.strategies import FIXED, Draft, spikes

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Flatten, Linear, Neuron
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.run.guard import LavaRunError
from purespike.targets.lava.run.recordings import Layers, Recording
from purespike.targets.lava.run.shards import default_jobs, split
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.lava.worker import session

LOOP = """
import sys
sys.path[:0] = sys.argv[1:]
from test_lava_shards import network, simulate, spikes
graph = network()
try:
    simulate(graph, spikes(graph, 60000, 0), jobs=2, on_progress=lambda *s: print(*s, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def network() -> Graph:
    """Two layers and a readout."""
    r = np.random.default_rng(0)
    draft = Draft((2, 4, 3), 3)
    conv = draft.put(Conv2d(r.integers(-20, 40, (3, 2, 2, 2)), np.array([1.0, -2, 3])), "x")
    hidden = draft.put(Neuron(60.0, fixed=FIXED), conv)
    flat = draft.put(Flatten(), hidden)
    scores = draft.put(Linear(r.integers(-50, 50, (4, 18)), np.arange(4.0)), flat)
    return draft.graph(draft.put(Neuron(np.inf, reset="none", fixed=FIXED), scores))


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of temporary files; it has to be empty afterwards."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    return scratch


def sessions_of(parent: int) -> list[int]:
    """The Lava runs of a process."""
    return [pid for pid in children(parent) if pid in session.members(pid)]


def test_any_number_of_jobs_gives_the_interpreters_spikes(folder: Path) -> None:
    graph = network()
    x = spikes(graph, 7, 1)
    expected = run(graph, x)
    seen: list[tuple[int, int]] = []
    for jobs in (1, 2, 3):
        seen.clear()
        found = simulate(graph, x, jobs=jobs, on_progress=lambda *s: seen.append(s))
        assert found.shards == jobs
        assert found.steps == 7 * 3 + jobs * found.plan.latency
        assert seen[-1] == (found.steps, found.steps) and seen == sorted(seen)
        assert os.listdir(folder) == []  # the arrays live on
        for values, wanted in (
            (found.spikes, expected.values),
            (found.membranes, expected.membranes),
        ):
            assert values
            for name, value in values.items():
                np.testing.assert_array_equal(value, wanted[name])


def test_more_jobs_than_samples_is_a_job_a_sample(folder: Path) -> None:
    graph = network()
    assert simulate(graph, spikes(graph, 2, 1), jobs=5).shards == 2
    assert 1 <= default_jobs() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("options", [{"jobs": 0}, {"jobs": 2, "scheduler": "tcp://127.0.0.1:1"}])
def test_jobs_that_make_no_sense_are_refused(options: Any) -> None:
    graph = network()
    with pytest.raises(PurespikeError, match="the number of jobs cannot be used"):
        simulate(graph, spikes(graph, 2, 1), **options)


def test_shards_are_contiguous_and_complete() -> None:
    graph = network()
    x = spikes(graph, 11, 2)
    plan = schedule(graph)
    program = emit(graph, plan, x)
    for count in (1, 2, 3, 11, 50):
        shards = split(program, 3, 11, plan.latency, count)
        assert len(shards) == min(count, 11)
        assert [s.first for s in shards] == list(np.cumsum([0, *(s.samples for s in shards)])[:-1])
        sizes = {s.samples for s in shards}
        assert sum(s.samples for s in shards) == 11 and max(sizes) - min(sizes) <= 1
        frames = np.concatenate([s.frames for s in shards])
        np.testing.assert_array_equal(frames, program.processes[0].spikes)  # type: ignore[union-attr]


def test_one_failing_shard_is_one_error_and_stops_the_others(folder: Path) -> None:
    graph = network()
    killed: list[int] = []

    def kill(done: int, steps: int) -> None:
        runs = sessions_of(os.getpid())
        if not killed and len(runs) == 2:
            killed.extend(runs)
            os.kill(runs[0], 9)

    start = time.monotonic()
    with pytest.raises(LavaRunError, match="the simulator ended by signal 9"):
        simulate(graph, spikes(graph, 40000, 1), jobs=2, on_progress=kill)
    assert time.monotonic() - start < 60  # all steps would take minutes
    assert len(killed) == 2
    assert not any(session.members(pid) or session.segments(pid) for pid in killed)
    assert os.listdir(folder) == []


def test_an_error_of_the_caller_stops_all_shards(folder: Path) -> None:
    graph = network()

    def fail(done: int, steps: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate(graph, spikes(graph, 40000, 1), jobs=2, on_progress=fail)
    assert not sessions_of(os.getpid())
    assert os.listdir(folder) == []


def test_ctrl_c_stops_all_shards(folder: Path) -> None:
    here = Path(__file__).parent
    command = [sys.executable, "-c", LOOP, str(here), str(here.parent)]
    with started(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        assert eventually(lambda: len(sessions_of(parent.pid)) == 2)
        runs = sessions_of(parent.pid)
        parent.send_signal(2)
        output, _ = parent.communicate(timeout=60)
    assert (parent.returncode, output.splitlines()[-1]) == (0, "interrupted")
    assert not any(session.members(pid) or session.segments(pid) for pid in runs)
    assert os.listdir(folder) == []


def test_recordings_are_written_in_any_order_and_read_as_views(tmp_path: Path) -> None:
    """Against a plain transposition, with layers of different depth and shape."""
    r = np.random.default_rng(4)
    steps, samples = 3, 5
    shapes, depth = {"a": (4, 3, 2), "b": (6,)}, {"a": 1, "b": 4}
    raw = {n: r.integers(0, 2, (steps * samples + 4, *s), np.uint8) for n, s in shapes.items()}
    recording = Recording(tmp_path / "r", Layers(shapes, depth), np.uint8, steps, samples).create()
    for first, count in ((3, 2), (0, 3)):
        part = {n: v[first * steps :] for n, v in raw.items()}
        threads = [Thread(target=recording.fill, args=(first, count, part)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    arrays = recording.arrays()
    (tmp_path / "r").unlink()
    for name, array in arrays.items():
        assert not array.flags.owndata and not array.flags.writeable
        own = tuple(reversed(shapes[name]))
        assert array.shape == (steps, samples, *own)
        for b in range(samples):
            for t in range(steps):
                expected = raw[name][depth[name] + b * steps + t].transpose()
                np.testing.assert_array_equal(array[t, b], expected)
