"""Shards on the workers of a Dask cluster (optional: the extra ``dask``).

Every worker needs purespike and Lava. A shard carries its program with it and brings its recordings
back, spikes as bits; a worker that dies costs its unfinished shards, which Dask gives to others.
"""

from __future__ import annotations

import io
import json
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.compiler.scratch import scratch_folder
from purespike.targets.lava.program.file import ARRAYS, PROGRAM, write
from purespike.targets.lava.program.program import Program
from purespike.targets.lava.run.cluster_task import Task, run_task
from purespike.targets.lava.run.guard import Progress
from purespike.targets.lava.run.recordings import Recording
from purespike.targets.lava.run.shards import Shard, Times

ANSWER_SECONDS = 10.0
DESERTED_SECONDS = 30.0  # a nanny starts a dead worker again within a few
_LOOK_SECONDS = 1.0
_POLL_SECONDS = 0.02
_SHARDS_A_THREAD = 2  # small enough for a lost worker, large enough for Lava's start
_LARGEST = 256 << 20  # bytes of recordings that a shard may hold in memory


class ClusterError(PurespikeError):
    """A Dask cluster that cannot be reached or did not finish."""


def run_on_cluster(
    address: str,
    split: Callable[[int], list[Shard]],
    spikes: Recording,
    membranes: Recording,
    *,
    timeout: float,
    on_progress: Progress | None = None,
) -> tuple[list[Shard], Times]:
    """Run shards on a cluster.

    Args:
        address: Of the scheduler.
        split: Makes that many shards.
        spikes: Takes up the spikes that the shards record.
        membranes: Likewise their membranes.
        timeout: Seconds for the whole run.
        on_progress: Called with (finished steps, steps) whenever a shard has come back.

    Returns:
        The shards, and times: the wall time of the whole, the Lava processes of all shards.

    Raises:
        ClusterError: If `distributed` is missing, or nothing answers, or workers keep dying.
        LavaRunError: If a shard failed; the others are given up.
    """
    with connected(address, ANSWER_SECONDS) as client:
        threads = sum(client.nthreads().values())
        bytes_ = spikes.samples * spikes.steps * (spikes.layers.width + 4 * membranes.layers.width)
        shards = split(max(_SHARDS_A_THREAD * threads, -(-bytes_ // _LARGEST)))
        start = time.monotonic()
        futures = _submit(client, shards, spikes, membranes, timeout)
        total, done, processes = sum(s.program.steps for s in shards), 0, 0
        with explained(client, futures, address, timeout, lambda: f"{done} of {total} steps"):
            for future, answer in finished(client, futures, timeout):
                shard = futures[future]
                row, rows = shard.first * spikes.steps, shard.samples * spikes.steps
                width = spikes.layers.width
                bits = np.unpackbits(answer.spikes, count=rows * width)
                spikes.put(row, bits.reshape(rows, width))
                membranes.put(row, answer.membranes)
                done, processes = done + shard.program.steps, processes + answer.processes
                future.release()
                if on_progress is not None:
                    on_progress(done, total)
        seconds = time.monotonic() - start
    return shards, Times(seconds, seconds, processes)


@contextmanager
def explained(
    client: Any, futures: Iterable[Any], address: str, timeout: float, done: Callable[[], str]
) -> Iterator[None]:
    """Say what went wrong on a cluster; however the work ends, what is left of it is cancelled.

    Args:
        client: Of the scheduler.
        futures: All that was submitted.
        address: Of the scheduler.
        timeout: Seconds that the work may take.
        done: How much of it is finished, in words.

    Raises:
        ClusterError: If workers keep dying, or have gone, or the time is over.
    """
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        raise ClusterError(
            "the workers that ran a shard died, one after the other",
            where=address,
            found=str(error),
            remedy="give the workers more memory, or look into their logs",
        ) from None
    except TimeoutError:
        raise ClusterError(
            f"the cluster has not finished after {timeout:g} s",
            where=address,
            found=done(),
            remedy="give a longer time-out, or add workers",
        ) from None
    except (CancelledError, CommClosedError):
        raise ClusterError(
            "the connection to the Dask scheduler was lost",
            where=address,
            found=done(),
            remedy="look into the scheduler's log, start it and its workers, and run again",
        ) from None
    except _DesertedError:
        raise ClusterError(
            f"the cluster has had no worker for {DESERTED_SECONDS:g} s",
            where=address,
            found=done(),
            remedy="look into the logs of the workers (out of memory?), and start them again",
        ) from None
    finally:
        client.cancel(list(futures), force=True)


class _DesertedError(Exception):
    """All workers have gone, and with them whoever would have finished."""


def finished(client: Any, futures: Iterable[Any], timeout: float) -> Iterator[tuple[Any, Any]]:
    """The futures with what they brought, each when it has been brought.

    Raises:
        TimeoutError: Some have not, in time.
        CancelledError, CommClosedError: The scheduler has gone, nobody else cancels.
        _DesertedError: Nobody works on them any more.
    """
    waiting, start = set(futures), time.monotonic()
    attended = looked = start
    while waiting:
        for future in [f for f in waiting if f.status not in ("pending", "lost")]:
            try:
                answer = future.result(timeout=ANSWER_SECONDS)
            except TimeoutError:  # its worker has gone, and the answer with it: computed again
                continue
            waiting.remove(future)
            attended = time.monotonic()
            yield future, answer
        now = time.monotonic()
        if now - looked > _LOOK_SECONDS:
            looked, attended = now, now if client.nthreads() else attended
        if waiting and now - attended > DESERTED_SECONDS:
            raise _DesertedError
        if waiting and now - start > timeout:
            raise TimeoutError
        time.sleep(_POLL_SECONDS)


@contextmanager
def connected(address: str, seconds: float) -> Iterator[Any]:
    """A client of a scheduler that has at least one worker."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "a Dask cluster needs the package distributed",
            found=str(error),
            remedy="pip install 'purespike[dask]'",
        ) from None
    try:
        client = Client(address, timeout=seconds, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"no Dask scheduler answered within {seconds:g} s",
            where=address,
            found=" ".join(str(error).split()),
            allowed="the address that `dask scheduler` prints, such as tcp://host:8786",
            remedy="start the scheduler, or correct the address",
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=seconds)
        except TimeoutError:
            raise ClusterError(
                f"the Dask scheduler has had no worker for {seconds:g} s",
                where=address,
                remedy=f"start some: dask worker {address} --nthreads 1",
            ) from None
        yield client


def _submit(
    client: Any, shards: list[Shard], spikes: Recording, membranes: Recording, timeout: float
) -> dict[Any, Shard]:
    import dask

    run, futures = f"purespike-{uuid.uuid4().hex}", {}
    text, arrays = _program_files(shards[0].program)
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
        # In every task: as a task of their own they would draw all shards to the worker that has
        # them, and scattered they would go with it. Whole numbers in eight bytes pack well.
        weights = zlib.compress(arrays, 1)
        for index, shard in enumerate(shards):
            frames = io.BytesIO()
            np.save(frames, shard.frames)
            task = Task(
                f"{run}-{index}",
                json.dumps({**text, "steps": shard.program.steps}),
                shard.source,
                weights,
                zlib.compress(frames.getvalue(), 1),
                shard.samples * spikes.steps,
                spikes.layers,
                membranes.layers,
                timeout,
            )
            futures[client.submit(run_task, task, key=task.key)] = shard
    return futures


def _program_files(program: Program) -> tuple[dict[str, Any], bytes]:
    with scratch_folder() as folder:
        write(program, folder)
        text = json.loads((folder / PROGRAM).read_bytes())
        return text, (folder / ARRAYS).read_bytes()
