"""Shards on a real Dask cluster: a scheduler and two workers, each a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from helpers import dask_cluster
from helpers.dask_cluster import Cluster
from helpers.process_tools import children, eventually, free_port
from helpers.strategies import FIXED, Draft, spikes

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Flatten, Linear, Neuron
from purespike.targets.lava.run import cluster
from purespike.targets.lava.run.cluster import ClusterError
from purespike.targets.lava.run.guard import LavaRunError
from purespike.targets.lava.run.simulate import LavaRun, simulate
from purespike.targets.lava.worker import session


@pytest.fixture(params=[2])
def dask(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster with so many workers of one thread; all are gone afterwards."""
    with dask_cluster.cluster(tmp_path, request.param) as made:
        yield made


def network(weight: float = 1.0) -> Graph:
    r = np.random.default_rng(0)
    draft = Draft((2, 4, 3), 3)
    conv = draft.put(Conv2d(r.integers(-20, 40, (3, 2, 2, 2)) * weight), "x")
    hidden = draft.put(Neuron(60.0, fixed=FIXED), conv)
    flat = draft.put(Flatten(), hidden)
    scores = draft.put(Linear(r.integers(-50, 50, (4, 18)), np.arange(4.0)), flat)
    return draft.graph(draft.put(Neuron(np.inf, reset="none", fixed=FIXED), scores))


def assert_equal(graph: Graph, x: Array, found: LavaRun) -> None:
    expected = run(graph, x)
    assert found.spikes and found.membranes
    for values, wanted in ((found.spikes, expected.values), (found.membranes, expected.membranes)):
        for name, value in values.items():
            np.testing.assert_array_equal(value, wanted[name])


def test_a_worker_that_is_killed_costs_nothing_but_time(dask: Cluster) -> None:
    graph = network()
    x = spikes(graph, 800, 1)
    seen: list[tuple[int, int]] = []
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        seen.append((done, total))
        while not killed:  # a shard has come back; others run, or will at once
            for worker in dask.workers:
                if not killed and (runs := children(worker.pid)):
                    killed.extend(runs)
                    worker.kill()

    try:
        found = simulate(graph, x, scheduler=dask.address, on_progress=kill, timeout=200)
    except ClusterError as error:
        pytest.fail(f"{error}\n{dask.story()}")
    assert killed
    assert found.shards == 4 and len(seen) == 4 and seen[-1] == (found.steps, found.steps)
    assert_equal(graph, x, found)
    assert eventually(lambda: not any(session.members(pid) for pid in killed))


@pytest.mark.slow
def test_a_cluster_that_loses_its_last_worker_is_an_error_in_time(
    dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "DESERTED_SECONDS", 4.0)

    def kill(done: int, total: int) -> None:
        for worker in dask.workers:
            worker.kill()

    graph = network()
    begin = time.monotonic()
    with pytest.raises(ClusterError, match="no worker for 4 s") as e:
        simulate(graph, spikes(graph, 800, 1), scheduler=dask.address, on_progress=kill)
    assert time.monotonic() - begin < 100
    assert " of 2408 steps" in e.value.found and not e.value.found.startswith("0 ")


@pytest.mark.slow
def test_a_cluster_that_loses_its_scheduler_is_an_error_in_time(dask: Cluster) -> None:
    def kill(done: int, total: int) -> None:
        dask.scheduler.kill()

    graph = network()
    begin = time.monotonic()
    with pytest.raises(ClusterError, match="the connection to the Dask scheduler was lost") as e:
        simulate(graph, spikes(graph, 800, 1), scheduler=dask.address, on_progress=kill)
    assert time.monotonic() - begin < 100
    assert " of 2408 steps" in e.value.found


@pytest.mark.slow
def test_the_first_error_stops_the_other_shards(dask: Cluster) -> None:
    graph = network()
    killed: list[int] = []

    def watch(done: int, total: int) -> None:
        raise AssertionError("no shard can have finished")

    def kill() -> None:
        if eventually(lambda: len(dask.lava_sessions()) == 2, 60):
            killed.extend(dask.lava_sessions())
            time.sleep(1)
            os.kill(killed[0], signal.SIGKILL)

    killer = Thread(target=kill)
    killer.start()
    with pytest.raises(LavaRunError, match="the simulator ended by signal 9") as raised:
        simulate(graph, spikes(graph, 60000, 1), scheduler=dask.address, on_progress=watch)
    killer.join()
    assert "program" not in raised.value.found
    # The run on the other worker is given up, and the two shards in waiting never start.
    assert eventually(lambda: not dask.lava_sessions())
    time.sleep(2)
    assert not dask.lava_sessions()


@pytest.mark.parametrize("dask", [0], indirect=True)
def test_a_cluster_without_workers_is_an_error_in_time(
    dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = network()
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 6.0)
    with pytest.raises(ClusterError, match="has had no worker for 6 s"):
        simulate(graph, spikes(graph, 2, 1), scheduler=dask.address)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:{port}", "nonsense://x", "127.0.0.1"])
def test_an_address_that_does_not_answer(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import_module("distributed")  # which takes seconds by itself
    graph = network()
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1.0)
    begin = time.monotonic()
    with pytest.raises(ClusterError, match="no Dask scheduler answered within 1 s") as e:
        simulate(graph, spikes(graph, 2, 1), scheduler=address.format(port=free_port()))
    assert time.monotonic() - begin < 20
    assert "dask scheduler" in e.value.allowed


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = network()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match="needs the package distributed") as e:
        simulate(graph, spikes(graph, 2, 1), scheduler="tcp://127.0.0.1:1")
    assert "purespike[dask]" in e.value.remedy
