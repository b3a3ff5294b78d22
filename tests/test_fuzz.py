"""Changed files of every format: read or refused, and never more than a stated time and memory.

A file that once ended in anything else lies in data/fuzz, in a folder by its format.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import fuzz_child, large_files
from helpers.fuzz_formats import FORMATS, TORCH, bundle

from purespike.compiler.errors import PurespikeError

CORPUS = Path(__file__).parent / "data" / "fuzz"
SLICES = 4
CHILD = 256 << 20  # bytes of the process that parses HDF5, with numpy and h5py


def fuzz(names: str, seed: int, count: int, folder: Path) -> None:
    """Read so many changed files of each format in a child process."""
    command = [sys.executable, fuzz_child.__file__, names, str(seed), str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr[-2000:]}\nread last: {list(folder.glob('last*'))}"
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert found["found"] == [], name
        levels = [found[level] for level in fuzz_child.LEVELS]
        assert sum(level["files"] for level in levels) == count, (name, found)
        assert any(level["refused"] for level in levels), (name, found)
        inside = found["structure"]
        if count >= 100:  # changes that all meet the first look of a reader test that look alone
            assert inside["read"] or inside["reasons"] >= 5, (name, found)
        assert found["child"] < CHILD, (name, found)


def test_a_few_changed_files_of_the_formats_that_need_no_torch(tmp_path: Path) -> None:
    fuzz(",".join(n for n in FORMATS if n not in TORCH), 0, 8, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, SLICES + 1))
@pytest.mark.parametrize("name", FORMATS)
def test_many_changed_files(name: str, seed: int, tmp_path: Path) -> None:
    fuzz(name, seed, 100, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", large_files.LARGE)
def test_a_large_file_takes_its_multiple_in_memory(name: str, tmp_path: Path) -> None:
    make, _, times = large_files.LARGE[name]
    paths = []
    for size, n in large_files.SIZES.items():
        (tmp_path / size).mkdir()
        paths.append(str(make(tmp_path / size, n)))
    command = [sys.executable, large_files.__file__, name, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    took = json.loads(done.stdout)
    assert took["bytes"] > 1 << 19
    assert max(took["here"], took["there"]) < times * took["bytes"], took


@pytest.mark.parametrize(
    "path", sorted(CORPUS.rglob("*.*")), ids=lambda p: p.parent.name + "/" + p.name
)
def test_what_was_found_once_is_refused(path: Path, tmp_path: Path) -> None:
    if path.parent.name in ("golden", "network"):
        bundle(tmp_path)  # which they are a file of
    copy = shutil.copy(path, tmp_path)
    with pytest.raises(PurespikeError) as e:
        FORMATS[path.parent.name].read(Path(copy))
    assert e.value.text("command line")
    assert not fuzz_child.ran_out(e.value)


@pytest.mark.parametrize("name", ["metrics", "versions"])
def test_a_checkpoint_whose_notes_are_no_object_is_refused(name: str, tmp_path: Path) -> None:
    (good,) = FORMATS["checkpoint"].goods(tmp_path)
    data = json.loads(good.read_bytes())
    for wrong in ([""], 0.5, None):
        path = tmp_path / "changed.json"
        path.write_text(json.dumps({**data, name: wrong}))
        with pytest.raises(PurespikeError, match=f"the {name} of the checkpoint"):
            FORMATS["checkpoint"].read(path)


def test_the_child_says_what_it_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path) -> object:
        if b"inputs" in path.read_bytes():
            return None
        raise KeyError("a reader with a hole")

    form = FORMATS["data"]
    broken = type(form)(form.suffix, form.goods, fails, lambda good, r: b"nothing")
    monkeypatch.setitem(FORMATS, "data", broken)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)  # of this process
    monkeypatch.setattr("tempfile.tempdir", None)  # the child has its own
    found = fuzz_child.main("data", 0, 8, tmp_path)["found"]
    assert isinstance(found, list) and found and "KeyError" in found[0]
    assert list(tmp_path.glob("found-data-*"))


@pytest.mark.parametrize("wrong", [{}, [], None, 3, "vgg"], ids=str)
def test_a_checkpoint_whose_builder_is_none_of_ours_is_refused(
    wrong: object, tmp_path: Path
) -> None:
    (good,) = FORMATS["checkpoint"].goods(tmp_path)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({**json.loads(good.read_bytes()), "builder": wrong}))
    with pytest.raises(PurespikeError, match="a builder that this version does not have"):
        FORMATS["checkpoint"].read(path)
