"""Folders for a moment: those of killed processes are removed, those of living ones stay."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.output_cases import disk
from helpers.process_tools import eventually, started

from purespike.compiler import scratch
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.writing import staged_folder
from purespike.compiler.scratch import HIDDEN, claimed_folder, scratch_folder, sweep
from purespike.compiler.storage import OutputError

HOLD = """
import sys, time
from pathlib import Path
from purespike.compiler.scratch import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    (folder / "half").write_text("written")
    print(folder, flush=True)
    time.sleep(600)
"""


@contextmanager
def held(where: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that is in the middle of its folder."""
    command = [sys.executable, "-c", HOLD, str(where)]
    with started(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield child, Path(child.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    with held(tmp_path) as (dead, left), held(tmp_path) as (living, kept):
        dead.kill()
        dead.wait()
        assert (left / "half").is_file()
        with scratch_folder(tmp_path) as folder:
            assert set(tmp_path.iterdir()) == {kept.parent, folder.parent}
            assert not any(folder.iterdir())
        assert (kept / "half").is_file()
        living.send_signal(signal.SIGINT)
        assert eventually(lambda: not any(tmp_path.iterdir()))


def test_only_folders_of_ours_are_removed(tmp_path: Path) -> None:
    users = tmp_path / "purespike-results"
    users.mkdir()
    (users / "mine.txt").write_text("mine")
    (tmp_path / "purespike-note.txt").write_text("a file")
    (tmp_path / "purespike-link").symlink_to(users)
    empty = tmp_path / "purespike-0"  # killed before it was locked
    empty.mkdir()
    before = tmp_path / "purespike-1"  # killed before its lock had its name
    before.mkdir()
    (before / "lock.new").write_bytes(b"")
    with scratch_folder(tmp_path):
        pass
    assert (users / "mine.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "purespike-link",
        "purespike-note.txt",
        "purespike-results",
    ]


def test_threads_that_sweep_at_once_never_lose_a_folder(tmp_path: Path) -> None:
    wrong = []

    def work() -> None:
        try:
            for k in range(50):
                with scratch_folder(tmp_path) as folder:
                    (folder / "a").write_text(str(k))
                    if (folder / "a").read_text() != str(k):
                        wrong.append(k)
        except OSError as e:
            wrong.append(e)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and not any(tmp_path.iterdir())


def left_before_it_was_locked(above: Path) -> Path:
    """A folder whose process is between making its lock and locking it, or was killed there."""
    folder = above / "purespike-0"
    folder.mkdir()
    (folder / "lock.new").write_bytes(b"")
    return folder


def made_again(folder: Path) -> int:
    """What the process of `left_before_it_was_locked` does when another one took its lock."""
    lock = scratch._make(folder)
    (folder / "work").mkdir()
    return lock


def test_a_folder_that_is_made_again_while_others_sweep_is_not_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two take it for one that was left: the second locked the file that the first had removed."""
    folder = left_before_it_was_locked(tmp_path)
    flock = fcntl.flock
    held: list[int] = []

    def lock(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)  # the second of them has opened the lock
        shutil.rmtree(folder)
        held.append(made_again(folder))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", lock)
    sweep(tmp_path, "purespike-", lambda folder: None)
    os.close(held[0])
    assert sorted(os.listdir(folder)) == ["lock", "work"]


def test_a_folder_that_is_made_again_while_it_is_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = left_before_it_was_locked(tmp_path)
    unlink = os.unlink
    held: list[int] = []

    def once(path: str, *rest: object, **more: object) -> None:
        unlink(path, *rest, **more)
        if Path(path).name == "lock.new":
            monkeypatch.setattr(os, "unlink", unlink)
            held.append(made_again(folder))

    monkeypatch.setattr(os, "unlink", once)
    sweep(tmp_path, "purespike-", lambda folder: None)
    os.close(held[0])
    assert sorted(os.listdir(folder)) == ["lock", "work"]


def test_what_cannot_be_removed_yet_is_removed_later(tmp_path: Path) -> None:
    """Its lock went first, and it stayed for ever."""
    with claimed_folder(tmp_path) as folder, disk(folder / "busy"):
        (folder / "file").write_text("x")
        scratch._remove(folder)
        assert sorted(os.listdir(folder)) == ["busy", "lock"]
    assert not list(tmp_path.iterdir())


SWAP = """
import os, signal, sys
from pathlib import Path
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.writing import staged_folder
real = os.rename
def rename(a, b):
    real(a, b)
    if Path(b).name == "old":  # the older bundle has left its place, the new one is not there yet
        os.kill(os.getpid(), signal.SIGKILL)
os.rename = rename
with staged_folder(sys.argv[1], BUNDLE) as fresh:
    (fresh / "manifest.json").write_text(Path(sys.argv[1], "manifest.json").read_text())
"""


def test_a_bundle_that_was_moved_away_by_a_killed_process_comes_back(tmp_path: Path) -> None:
    folder, listed = tmp_path / "bundle", '{"purespike": "bundle", "files": {}}'
    folder.mkdir()
    (folder / "manifest.json").write_text(listed)
    done = subprocess.run([sys.executable, "-c", SWAP, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL and not folder.exists()
    (hidden,) = tmp_path.glob(HIDDEN + "*")
    assert (hidden / "old" / "manifest.json").is_file()
    with staged_folder(tmp_path / "another", BUNDLE) as fresh:
        (fresh / "manifest.json").write_text(listed)
    assert (folder / "manifest.json").read_text() == listed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["another", "bundle"]


def test_what_cannot_go_back_is_kept_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = tmp_path / "bundle", os.rename
    folder.mkdir()
    (folder / "manifest.json").write_text('{"purespike": "bundle", "files": {}}')

    def rename(a: Path, b: Path) -> None:
        if a.name == "new":  # another program was faster
            folder.mkdir()
            (folder / "its own").write_text("")
        real(a, b)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OutputError) as e, staged_folder(folder, BUNDLE) as fresh:
        (fresh / "manifest.json").write_text("{}")
    kept = Path(e.value.remedy.rpartition(" ")[2])
    assert (kept / "manifest.json").is_file()
    assert (folder / "its own").is_file()


@pytest.mark.parametrize("ended", [KeyboardInterrupt, SystemExit])
def test_what_is_interrupted_while_it_is_removed_is_removed(
    ended: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink, seen = os.unlink, []

    def once(path: str, *rest: object, **more: object) -> None:
        seen.append(Path(path).name)
        if len(seen) == 1:
            raise ended
        unlink(path, *rest, **more)

    with pytest.raises(ended), claimed_folder(tmp_path) as folder:
        (folder / "file").write_text("x")
        monkeypatch.setattr("os.unlink", once)
    monkeypatch.undo()
    assert not list(tmp_path.iterdir())
    assert seen[0] == "file"  # and not the lock, by which others know that its process is dead
