"""Two runs that write into one folder: one whole result, and one clear error or another whole one.

The first run stands still at a call of the kernel that a condition on its folder names, while the
second runs from beginning to end; then the first goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.fault_cases import (
    CASES,
    contents,
    leftovers,
    older_output,
    processes,
    start,
    traces,
)
from helpers.process_tools import eventually
from helpers.stopping import Stopped

from purespike.compiler.errors import UsageError
from purespike.compiler.files.writing import claimed

REPLACED = "the bundle was replaced while it was read"
EXISTS = "another program has taken the place of the output"


def whole(folder: Path, words: tuple[str, ...], code: int) -> str:
    """What a run printed that nothing stopped."""
    running = start(folder, words)
    running.leave()
    assert running.process.wait(250) == code, running.text()
    return running.text()


def stands(running: Stopped, condition: Callable[[], bool]) -> None:
    """Let a command run until that holds."""
    while not condition():
        assert running.go(running.at + 1), f"it never came to that: {running.text()}"


def ended(running: Stopped, folder: Path) -> tuple[int, str]:
    """Exit code and words of a command that goes on to its end."""
    running.leave()
    code = running.process.wait(250)
    assert eventually(lambda: not processes(folder), 30), processes(folder)
    assert "Traceback" not in running.text(), running.text()
    return code, running.text()


@pytest.fixture
def bundles(made: Path, tmp_path: Path) -> tuple[dict[str, bytes], dict[str, bytes], Path]:
    """The older bundle that lies in ``both/bundle``, the one that compiling gives, and ``both``."""
    older = older_output(made, "bundle")
    both = tmp_path / "both"
    both.mkdir()
    shutil.copytree(older, both / "bundle")
    return contents(older), contents(made / "bundle"), both


OTHER = ("--steps", "7")  # another bundle, from the second run


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_of_two_compiles_the_last_one_to_end_is_there(
    made: Path, bundles: tuple[dict[str, bytes], dict[str, bytes], Path]
) -> None:
    older, expected, both = bundles
    words = CASES["compile"].typed(made)
    first = start(both, words)
    stands(first, lambda: len(traces(both)) > 1)  # its files are being written beside the bundle
    assert contents(both / "bundle") == older
    whole(both, (*words, *OTHER), 1)
    assert contents(both / "bundle") not in (older, expected)  # its own, and whole:
    whole(both, ("replay", "bundle"), 0)
    code, text = ended(first, both)
    assert code == 1, text  # not proved: no labels
    assert contents(both / "bundle") == expected
    assert not leftovers(both)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_compile_whose_place_is_taken_while_it_replaces_a_bundle_is_one_error(
    made: Path, bundles: tuple[dict[str, bytes], dict[str, bytes], Path]
) -> None:
    older, expected, both = bundles
    words = CASES["compile"].typed(made)
    first = start(both, (*words, *OTHER))
    stands(first, lambda: not (both / "bundle").exists())  # the older one has been moved away
    whole(both, words, 1)
    code, text = ended(first, both)
    assert code == 2 and text.count("error:") == 1 and EXISTS in " ".join(text.split()), text
    assert contents(both / "bundle") == expected
    (hidden,) = leftovers(both)  # whose place is named: the older bundle was a user's
    assert hidden.name in "".join(text.split()) and contents(hidden / "old") == older


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_test_set_in_the_folder_of_another_that_runs_is_one_error(
    made: Path, tmp_path: Path
) -> None:
    words = CASES["test-set"].typed(made)
    alone, both = tmp_path / "alone", tmp_path / "both"
    alone.mkdir(), both.mkdir()
    whole(alone, words, 0)
    first = start(both, words)
    stands(first, lambda: any(both.glob("parts/*.npz")))
    before = contents(both / "parts")
    for more in ((), ("--on", "onnx")):  # the same parts, and others under the same names
        text = " ".join(whole(both, (*words, *more), 2).split())
        assert text.count("error:") == 1 and "another simulation runs in this folder" in text, text
        assert contents(both / "parts") == before
    code, text = ended(first, both)
    assert code == 0, text
    assert contents(both / "parts") == contents(alone / "parts")
    assert not leftovers(both)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["report", "verify"])
def test_a_bundle_that_is_replaced_while_it_is_read_is_one_error_or_none_of_the_readers(
    name: str, made: Path, tmp_path: Path
) -> None:
    """At some calls of its last hundred; a page or verdict is that of one bundle."""
    words = {
        "report": ("report", "bundle", "--format", "html", "--out", "r.html"),
        "verify": ("verify", "bundle", "--no-lava", "-q"),
    }[name]
    bundles = {"older": older_output(made, "bundle"), "newer": made / "bundle"}
    alone = {}
    for which, bundle in bundles.items():
        folder = tmp_path / which
        folder.mkdir()
        shutil.copytree(bundle, folder / "bundle")
        alone[which] = whole(folder, words, 0), contents(folder / "r.html")
    running = start(tmp_path / "older", words)
    while running.go(running.at + 1):
        pass
    calls, said = running.at, []
    for k in range(6):
        both = tmp_path / str(k)
        both.mkdir()
        shutil.copytree(bundles["older"], both / "bundle")
        shutil.copytree(bundles["newer"], both / "next")
        running = start(both, words)
        assert running.go(calls - 5 - 20 * k)
        (both / "bundle").rename(both / "before")
        (both / "next").rename(both / "bundle")
        code, text = ended(running, both)
        if code == 2:
            assert text.count("error:") == 1 and REPLACED in " ".join(text.split()), text
            assert not (both / "r.html").exists()
        else:
            assert (text, contents(both / "r.html")) in alone.values(), text
        assert code in (0, 2) and not leftovers(both)
        said.append(code)
    assert 2 in said, said


def test_a_training_in_the_folder_of_another_that_runs_is_one_error(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with claimed(run, run, "training"):
        with pytest.raises(UsageError, match="another training runs in this folder") as e:
            claimed(run, run, "training").__enter__()
        assert e.value.where == str(run) and "another folder" in e.value.remedy
        assert not any(run.iterdir())
    with claimed(run, run, "training"):  # its end is the end of the lock
        pass
