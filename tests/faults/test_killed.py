"""Commands that are ended at random points, and full disks: nothing half written, nothing left.

Seeds choose when. What a run that went on gives is compared with one that nothing disturbed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
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
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        running = command(tmp_path, *compiling("disk/bundle"))
        output, _ = running.communicate(timeout=300)
        text = output.decode()
        size = sum(len(c) for c in contents(whole / "bundle").values())
        if running.returncode == 1 and size < kilobytes << 10:
            assert contents(disk / "bundle") == contents(whole / "bundle")
            return
        assert running.returncode == 2, text
        assert "No space left on device" in text and "Traceback" not in text
        assert not any(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)
