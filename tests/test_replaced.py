"""A bundle that a compile replaces while it is read: one error, nothing of two bundles."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.flow_cases import FAST, resnet, subject
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.cli.commands import report
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.writing import staged_folder
from purespike.flow.build import build
from purespike.judge.bundle import own_program
from purespike.judge.bundle.contents import examine
from purespike.targets.bundle import bundle, manifest
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.bundle.manifest import BundleError, ReplacedError
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("two")
    for gate in ("or", "and"):
        build(subject(resnet(gate)), FAST).save(folder / gate)
    return folder / "or", folder / "and"


class Swap:
    """Puts another bundle into the place of one, once, as a compile does."""

    def __init__(self, place: Path, other: Path | None) -> None:
        self.place, self.other, self.calls = place, other, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls > 1:
            return
        if self.other is None:  # between the two renames
            self.place.rename(self.place.with_name("away"))
            return
        with staged_folder(self.place, BUNDLE) as stage:
            shutil.copytree(self.other, stage, dirs_exist_ok=True)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, called when the other bundle is there."""

        def called(*words: Any, **named: Any) -> Any:
            self()
            return function(*words, **named)

        return called


@pytest.fixture
def place(two: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(two[0], tmp_path / "bundle")
    return tmp_path / "bundle"


READ = [(manifest, "file_hash"), (bundle, "read_both"), (bundle, "read_golden")]


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(("module", "name"), READ, ids=[name for _, name in READ])
def test_reading(
    module: Any,
    name: str,
    gone: bool,
    two: tuple[Path, Path],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    swap = Swap(place, None if gone else two[1])
    monkeypatch.setattr(module, name, swap.before(getattr(module, name)))
    with pytest.raises(ReplacedError, match="replaced while it was read") as e:
        read_bundle(place)
    assert e.value.where == str(place) and "compiles into that folder" in str(e.value.remedy)
    assert swap.calls


def test_the_same_build_in_its_place_is_the_same_bundle(
    two: tuple[Path, Path], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = Swap(place, two[0])
    monkeypatch.setattr(bundle, "read_both", swap.before(bundle.read_both))
    assert read_bundle(place).manifest == read_bundle(two[0]).manifest and swap.calls


def test_what_fails_between_two_equal_bundles_is_no_fault_of_theirs(
    two: tuple[Path, Path], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was said to lack files, or ended in an internal error."""
    read = bundle.read_both

    def between(*words: Any, **named: Any) -> Any:
        place.rename(place.with_name("away"))
        try:
            return read(*words, **named)
        finally:
            shutil.copytree(two[0], place)

    monkeypatch.setattr(bundle, "read_both", between)
    with pytest.raises(ReplacedError):
        read_bundle(place)


def test_a_bundle_that_nobody_replaces_is_blamed_for_what_is_wrong_with_it(place: Path) -> None:
    (place / "report.html").write_text("changed")
    with pytest.raises(BundleError, match="was changed") as e:
        read_bundle(place)
    assert not isinstance(e.value, ReplacedError)


def test_verifying_is_no_verdict_about_two_bundles(two: tuple[Path, Path], place: Path) -> None:
    loaded = read_bundle(place)
    swap = Swap(place, two[1])

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "ONNX Runtime":
            swap()

    with pytest.raises(ReplacedError):
        examine(loaded, lava=False, progress=progress)
    found = examine(read_bundle(place), lava=False)
    assert all(f.status == "PASS" for f in found.findings), found.findings


def test_lava_never_runs_the_program_of_another_bundle(
    two: tuple[Path, Path], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = read_bundle(place)
    plan = schedule(loaded.graph)
    follows = emit(loaded.graph, plan, loaded.golden.inputs)
    swap = Swap(place, two[1])
    monkeypatch.setattr(own_program, "read_program", swap.before(own_program.read_program))
    with pytest.raises(ReplacedError):
        own_program.run_own(loaded, follows, plan, 1)
    assert swap.calls


def test_a_page_is_of_one_bundle_or_not_written(
    two: tuple[Path, Path], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It showed the spikes of the new bundle under the verdict of the old one."""
    swap = Swap(place, two[1])
    monkeypatch.setattr(bundle, "read_golden", swap.before(bundle.read_golden))
    words = ["report", str(place), "--format", "html", "--out", str(tmp_path / "r.html")]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, ReplacedError) and swap.calls
    assert not (tmp_path / "r.html").exists()
    assert CliRunner().invoke(app, words).exit_code == 0
    page = (tmp_path / "r.html").read_text()
    assert page == report._formatted(two[1], "html") and page != report._formatted(two[0], "html")
