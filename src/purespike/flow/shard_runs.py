"""Runs the parts of a test set: one after the other, in processes side by side, or on a cluster.

A part that is finished can be kept in a folder, each in a file that is written whole or not at all:
a run that was killed goes on from there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.kinds import SHARDS
from purespike.compiler.files.outputs import require_open_folder
from purespike.compiler.files.reading import read_bytes
from purespike.compiler.files.writing import claimed, clear_left, write_file
from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.shards import Part, Task, run_task
from purespike.targets.lava.run.cluster import ANSWER_SECONDS, connected, explained, finished
from purespike.targets.lava.run.guard import LavaRunError

PARENT_SECONDS = 0.5  # between two looks of a worker at whether its parent is still there
LARGEST_PART = 1 << 24  # bytes of a file of finished samples
TRIES = 3  # of a part whose worker died, before it is given up
TIMEOUT = 7 * 24 * 3600.0  # seconds that a cluster may take


class LostWorkers(PurespikeError):
    """Processes that ran a part of a test set and died, one after the other."""


@dataclass(frozen=True)
class Store:
    """A folder of finished parts.

    Attributes:
        folder: Where they lie.
    """

    folder: Path

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, run: Mapping[str, Any]) -> Iterator[Store]:
        """An empty folder, or one that holds parts of the same run; nobody else's meanwhile.

        Args:
            folder: Made if it is not there.
            run: What tells a run from any other, JSON-ready.

        Raises:
            InputError: If the parts in it are of another run.
            UsageError: If another process puts parts into it.
            OutputError: If it holds anything else, or cannot be written.
        """
        target = require_open_folder(folder, SHARDS)
        with claimed(target, folder, "simulation"):
            yield cls._of(target, folder, run)

    @classmethod
    def _of(cls, target: Path, folder: Path, run: Mapping[str, Any]) -> Store:
        there = SHARDS.read(target)
        if there is not None and there.get("run") != dict(run):
            told = there.get("run")
            other = [k for k in run if not isinstance(told, dict) or told.get(k) != run[k]]
            raise InputError(
                "this folder holds parts of another run",
                where=str(folder),
                found=f"another {', '.join(other) or 'run'}",
                allowed="parts of the same network, data and executor",
                remedy=Advice("name another folder ({shards}), or remove this one"),
            )
        clear_left(target)
        if there is None:
            text = json.dumps({**SHARDS.mark, "run": dict(run)}, indent=1, sort_keys=True)
            write_file(target / SHARDS.manifest, text + "\n")
        return cls(target)

    def path(self, task: Task) -> Path:
        """Of the part that a task makes."""
        return self.folder / f"{task.first:08d}-{task.first + task.samples:08d}.npz"

    def part(self, task: Task) -> Part | None:
        """What was kept of a task; None if it was not finished, or is damaged."""
        path = self.path(task)
        found = None
        if path.is_file():
            with suppress(InputError):  # what is no part of ours runs again
                found = Part.unpacked(read_bytes(path, LARGEST_PART, InputError, "the part"))
        fits = found is not None and found.first == task.first
        return found if fits and found and len(found.decisions) == task.samples else None

    def keep(self, task: Task, part: Part) -> None:
        """Write what a task made, whole or not at all."""
        write_file(self.path(task), part.packed())


def run_here(tasks: Sequence[Task]) -> Iterator[tuple[Task, Part]]:
    """One after the other in this process."""
    for task in tasks:
        yield task, run_task(task)


def run_side_by_side(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Part]]:
    """In ``jobs`` processes; one that dies costs the part that it ran, which another one repeats.

    Raises:
        LostWorkers: If a part's processes keep dying.
    """
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)
    done: queue.SimpleQueue[tuple[Task, Part] | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    workers = [
        threading.Thread(target=_work, args=(waiting, done, stop), name=f"purespike-part-{k}")
        for k in range(min(jobs, len(tasks)))
    ]
    for worker in workers:
        worker.start()
    try:
        for _ in tasks:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def _work(
    waiting: queue.SimpleQueue[Task],
    done: queue.SimpleQueue[tuple[Task, Part] | BaseException],
    stop: threading.Event,
) -> None:
    """One process at a time, for as long as there are tasks."""
    pool: ProcessPoolExecutor | None = None
    try:
        while not stop.is_set():
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            for left in reversed(range(TRIES)):
                pool = pool or ProcessPoolExecutor(
                    1, multiprocessing.get_context("spawn"), end_with_parent, (os.getpid(),)
                )
                try:
                    done.put((task, pool.submit(run_task, task).result()))
                    break
                except (BrokenProcessPool, LavaRunError) as e:
                    pool.shutdown()
                    pool = None
                    if not left or stop.is_set():
                        raise _lost(task, e) from e
    except BaseException as e:
        stop.set()
        done.put(e)
    finally:
        if pool is not None:
            pool.shutdown()


def _lost(task: Task, error: Exception) -> PurespikeError:
    if isinstance(error, LavaRunError):
        return error
    return LostWorkers(
        f"the processes that ran a part of the test set died, {TRIES} times",
        where=f"samples {task.first} to {task.first + task.samples - 1}",
        found=str(error),
        remedy=Advice("give them more memory: fewer at a time ({jobs})"),
    )


def run_on_cluster(tasks: Sequence[Task], address: str) -> Iterator[tuple[Task, Part]]:
    """On the workers of a Dask cluster, which gives the parts of a lost worker to others.

    Raises:
        ClusterError: If the cluster cannot be used, or fails.
    """
    with connected(address, ANSWER_SECONDS) as client:
        import dask

        futures: dict[Any, Task] = {}
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            for task in tasks:
                futures[client.submit(run_task, task, key=task.key)] = task
        count = 0
        words = f"of {len(tasks)} parts"
        with explained(client, futures, address, TIMEOUT, lambda: f"{count} {words}"):
            for future, part in finished(client, futures, TIMEOUT):
                count += 1
                yield futures[future], part
                future.release()


def end_with_parent(parent: int) -> None:
    """Start a thread that ends this process once its parent is gone.

    A worker waits for tasks at a queue whose other end it holds itself: where the parent was
    killed, it would wait for ever.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="purespike.parent", daemon=True).start()
