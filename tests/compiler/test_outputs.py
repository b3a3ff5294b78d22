"""What is written appears whole or not at all, and nothing that is not ours is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.output_cases import OTHERS, checkout, disk, snapshot
from helpers.process_tools import eventually, started

from purespike.compiler.files.kinds import BUNDLE, CHECKPOINT, TRAINING
from purespike.compiler.files.outputs import require_file, require_folder, require_open_folder
from purespike.compiler.files.writing import OutputError, staged_folder, write_file


def fill(stage: Path, *, mark: bool = True, text: str = "{}") -> None:
    """What a bundle consists of, for the code that tells it from others."""
    (stage / "lava").mkdir()
    (stage / "report.json").write_text(text)
    (stage / "lava" / "run.py").write_text("print()")
    files = {
        p.relative_to(stage).as_posix(): {
            "bytes": p.stat().st_size,
            "sha256": hashlib.sha256(p.read_bytes()).hexdigest(),
        }
        for p in (stage / "report.json", stage / "lava" / "run.py")
    }
    manifest = {"format": 1, "options": {}, "versions": {"purespike": "0.1"}, "files": files}
    manifest |= {"purespike": "bundle"} if mark else {}
    (stage / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    with staged_folder(tmp_path / "bundle", BUNDLE) as stage:
        fill(stage)
    return tmp_path / "bundle"


def refused(folder: Path, words: str) -> OutputError:
    """Refused before any work, and again by the writer; nothing is touched."""
    top = folder.parent if folder.name else folder
    before = snapshot(top)
    with pytest.raises(OutputError, match=words) as early:
        require_folder(folder, BUNDLE)
    with pytest.raises(OutputError, match=words), staged_folder(folder, BUNDLE):
        pytest.fail("no work may be done")
    assert snapshot(top) == before
    assert early.value.where and early.value.remedy
    return early.value


def test_an_older_result_is_replaced_whole_and_nothing_else_is_left(bundle: Path) -> None:
    with staged_folder(bundle, BUNDLE) as stage:
        fill(stage, text='{"new": 1}')
        assert json.loads((bundle / "report.json").read_text()) == {}  # still the old one
    assert (bundle / "report.json").read_text() == '{"new": 1}'
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]
    (bundle / "lava" / "run.py").unlink()  # what is gone cannot be lost
    with staged_folder(bundle, BUNDLE) as stage:
        fill(stage)
    assert (bundle / "lava" / "run.py").exists()


def test_missing_parents_are_made_and_the_users_umask_is_kept(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        write_file(tmp_path / "a" / "b" / "file", "x")
        with staged_folder(tmp_path / "c" / "bundle", BUNDLE) as stage:
            fill(stage)
    finally:
        os.umask(old)
    for path in (*(tmp_path / "a").rglob("*"), *(tmp_path / "c").rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("make", OTHERS, ids=lambda f: f.__name__)
def test_a_folder_of_someone_else_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "mine")
    error = refused(tmp_path / "mine", "holds something else")
    assert "bundle that purespike wrote" in error.allowed
    for kind in (CHECKPOINT, TRAINING):
        with pytest.raises(OutputError, match="holds something else"):
            require_open_folder(tmp_path / "mine", kind)


def _own_file(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")


def _own_empty_folder(bundle: Path) -> None:
    (bundle / "plots").mkdir()


def _own_link(bundle: Path) -> None:
    (bundle / "lava" / "data").symlink_to("/etc")


def _changed(bundle: Path) -> None:
    (bundle / "lava" / "run.py").write_text("edit()!")


def _changed_in_place(bundle: Path) -> None:
    (bundle / "lava" / "run.py").write_text("prinT()")  # of the same size


def _linked_folder(bundle: Path) -> None:
    (bundle / "lava").rename(bundle.parent / "elsewhere")
    (bundle / "lava").symlink_to(bundle.parent / "elsewhere")


def _repository(bundle: Path) -> None:
    subprocess.run(["git", "init", "-q", str(bundle)], check=True)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (_own_file, "notes.txt"),
        (_own_empty_folder, "plots"),
        (_own_link, "lava/data"),
        (_changed, "lava/run.py"),
        (_changed_in_place, "lava/run.py"),
        (_linked_folder, "lava"),
        (_repository, ".git"),
    ],
)
def test_what_a_user_did_in_a_bundle_of_ours_is_not_lost(
    bundle: Path, change: Callable[[Path], None], found: str
) -> None:
    change(bundle)
    error = refused(bundle, "did not write|was changed")
    assert error.found == found and error.where == str(bundle)


def test_a_bundle_from_before_the_mark_is_known_by_its_form(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    fill(folder, mark=False)
    assert require_folder(folder, BUNDLE) == folder
    manifest = json.loads((folder / "manifest.json").read_text())
    for change in ({"versions": {}}, {"format": 2}, {"more": 1}, {"purespike": "checkpoint"}):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        refused(folder, "holds something else")


def test_links_files_and_what_cannot_be_replaced_are_refused(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = bundle.parent
    (top / "file").write_text("mine")
    for name, target in (("to_folder", bundle), ("to_file", top / "file"), ("dangling", top / "x")):
        (top / name).symlink_to(target)
        error = refused(top / name, "symbolic link")
        assert error.found == f"a link to {target}"
        with pytest.raises(OutputError, match="symbolic link"):
            write_file(top / name, "x")
    refused(top / "file", "is a file")
    refused(top / "file" / "bundle", "a file is where a folder has to be")
    refused(top / ("n" * 300), "cannot be written")
    refused(top / "missing" / ("n" * 300), "cannot be written")
    with pytest.raises(OutputError, match="cannot be written"):
        require_folder(Path("nul\0"), BUNDLE)
    for place in (bundle, bundle / "lava"):
        monkeypatch.chdir(place)
        for name in (".", "..", str(bundle), "/"):
            if not (place == bundle and name == ".."):
                with pytest.raises(OutputError, match=r"cannot be replaced|own files only"):
                    require_folder(Path(name), BUNDLE)
    with pytest.raises(OutputError, match="no file can be put here"):
        write_file(Path("/dev/null"), "x")
    with pytest.raises(OutputError, match="no file can be put here"):
        write_file(top, "x")


def test_nothing_is_written_into_a_bundle(bundle: Path) -> None:
    for path in (bundle / "more.txt", bundle / "lava" / "deeper" / "more.txt"):
        with pytest.raises(OutputError, match="holds its own files only"):
            require_file(path)
        with pytest.raises(OutputError, match="holds its own files only"):
            require_folder(path, CHECKPOINT)


@pytest.mark.parametrize("name", ["ä β 网络", "a\nb", "[red]x", "-f", "%s'\"$(x)", "n" * 255])
def test_odd_names_are_names(name: str, tmp_path: Path) -> None:
    with staged_folder(tmp_path / name, BUNDLE) as stage:
        fill(stage)
    with staged_folder(tmp_path / name, BUNDLE) as stage:
        fill(stage)
    write_file(tmp_path / "beside" / name, b"x")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "beside"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
def test_an_exception_leaves_everything_as_it_was(bundle: Path, error: type[BaseException]) -> None:
    before = snapshot(bundle.parent)
    for folder in (bundle, bundle.parent / "new" / "deep"):
        with pytest.raises(error), staged_folder(folder, BUNDLE) as stage:
            fill(stage)
            raise error
        assert snapshot(bundle.parent) == before


def test_ctrl_c_leaves_everything_as_it_was(bundle: Path) -> None:
    script = f"""
        import time
        from pathlib import Path
        from purespike.compiler.files.writing import staged_folder
        from purespike.compiler.files.kinds import BUNDLE
        with staged_folder(Path({str(bundle)!r}), BUNDLE) as stage:
            (stage / "half").write_text("x" * 10_000)
            time.sleep(60)
    """
    before = snapshot(bundle.parent)
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with started(command, stderr=subprocess.DEVNULL) as child:
        assert eventually(lambda: list(bundle.parent.glob(".purespike-*/new/half")))
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) != 0
    assert snapshot(bundle.parent) == before


def test_work_of_others_that_came_meanwhile_is_not_lost(bundle: Path) -> None:
    with pytest.raises(OutputError, match="did not write"), staged_folder(bundle, BUNDLE) as stage:
        fill(stage)
        (bundle / "notes.txt").write_text("mine")
    assert (bundle / "notes.txt").read_text() == "mine"
    other = bundle.parent / "other"
    with pytest.raises(OutputError, match="something else"), staged_folder(other, BUNDLE) as stage:
        fill(stage)
        checkout(other)
    assert (other / "src" / "app.js").exists()
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["bundle", "other"]


def test_the_old_result_comes_back_when_the_new_one_cannot_take_its_place(bundle: Path) -> None:
    """The second of two renames fails for real: the system does not move an immutable folder."""
    before = snapshot(bundle)
    held: list[Path] = []
    try:
        with (
            pytest.raises(OutputError, match="cannot be written") as e,
            staged_folder(bundle, BUNDLE) as stage,
        ):
            fill(stage)
            if subprocess.run(["chattr", "+i", str(stage)], capture_output=True).returncode:
                pytest.skip("this file system has no immutable folders")
            held.append(stage)
        assert e.value.found == os.strerror(1) and e.value.where == str(bundle)
        assert snapshot(bundle) == before
    finally:
        for stage in held:
            subprocess.run(["chattr", "-i", str(stage)], check=True)


def test_an_immutable_folder_is_refused_before_any_work(bundle: Path) -> None:
    if subprocess.run(["chattr", "+i", str(bundle)], capture_output=True).returncode:
        pytest.skip("this file system has no immutable folders")
    try:
        refused(bundle, "cannot be written")
    finally:
        subprocess.run(["chattr", "-i", str(bundle)], check=True)


def test_a_full_disk_keeps_the_old_result(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as small:
        with staged_folder(small / "bundle", BUNDLE) as stage:
            fill(stage)
        write_file(small / "file", "old")
        before = snapshot(small)
        for folder in (small / "bundle", small / "new" / "bundle"):
            with (
                pytest.raises(OutputError, match="cannot be written") as e,
                staged_folder(folder, BUNDLE) as stage,
            ):
                fill(stage, text="x" * 1_000_000)
            assert (e.value.where, e.value.found) == (str(folder), os.strerror(28))
        with pytest.raises(OutputError, match="cannot be written"):
            write_file(small / "file", b"x" * 1_000_000)
        assert snapshot(small) == before


def test_a_read_only_disk_and_a_mount_point_are_refused_before_any_work(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as small:
        error = refused(small, "cannot be replaced")
        assert error.found == "a mount point" and str(small / "bundle") in error.remedy
        with staged_folder(small / "bundle", BUNDLE) as stage:
            fill(stage)
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        for name in ("bundle", "new", "new/deep"):
            assert refused(small / name, "cannot be written").found == os.strerror(30)
        with pytest.raises(OutputError, match="cannot be written"):
            require_file(small / "file")


def test_a_file_that_grows_beyond_the_users_limit_is_one_error(tmp_path: Path) -> None:
    script = f"""
        import resource
        from pathlib import Path
        from purespike.compiler.files.writing import OutputError, write_file
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_file(Path({str(tmp_path / "deep" / "file")!r}), b"x" * 5000)
        except OutputError as e:
            print(e.found)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == os.strerror(27), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a child as another user")
def test_a_folder_of_another_user_is_refused_before_any_work(bundle: Path) -> None:
    script = """
        import os, sys
        from pathlib import Path
        from purespike.compiler.files.writing import OutputError
        from purespike.compiler.files.kinds import BUNDLE
        from purespike.compiler.files.outputs import require_folder
        os.setuid(65534)
        for name in ("bundle", "new", "new/deep"):
            try:
                require_folder(Path(sys.argv[1]) / name, BUNDLE)
            except OutputError as e:
                print(e.found)
    """
    with tempfile.TemporaryDirectory() as name:  # one that others may enter, not pytest's
        os.chmod(name, 0o755)
        shutil.copytree(bundle, Path(name) / "bundle")
        command = [sys.executable, "-c", textwrap.dedent(script), name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [os.strerror(13)] * 3, done.stderr
