"""A real Dask cluster: a scheduler and its workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from helpers.process_tools import children, eventually
from purespike.targets.lava.worker import session


@dataclass
class Cluster:
    """Processes of a Dask cluster."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]
    log: Path

    def lava_sessions(self) -> list[int]:
        """The Lava runs of all workers."""
        pids = [pid for w in self.workers for pid in children(w.pid)]
        return [pid for pid in pids if pid in session.members(pid)]

    def story(self) -> str:
        """What the processes said and still run: for a failure that seldom comes."""
        left = {w.pid: (w.poll(), children(w.pid)) for w in self.workers}
        return f"workers (exit status, children): {left}\n{self.log.read_text()}"


def start(*arguments: str, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """A scheduler with so many workers of one thread; all are gone afterwards.

    The system chooses its port: one that is looked for here may be another's by then.
    """
    said, log = folder / "scheduler.json", folder / "log"
    local = ["--host", "127.0.0.1", "--scheduler-file", str(said), "--no-dashboard"]
    scheduler = start("scheduler", *local, "--port", "0", folder=folder)
    options = ["--nthreads", "1", "--no-nanny", "--local-directory", "d"]
    running = [start("worker", *local, *options, folder=folder) for _ in range(workers)]

    def address() -> str:
        try:
            return str(json.loads(said.read_text())["address"])
        except (OSError, ValueError):  # not written yet, or not all of it
            return ""

    def ready() -> bool:
        line = b"Registered to:"  # each worker writes it once
        return bool(address()) and log.read_bytes().count(line) >= workers

    try:
        assert eventually(ready), log.read_text()
        yield Cluster(address(), scheduler, running, log)
    finally:
        for process in (*running, scheduler):
            process.kill()
            process.wait()
