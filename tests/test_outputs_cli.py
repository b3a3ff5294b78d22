"""Every command that writes looks at the place first: exit 2 at once, nothing touched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path

from helpers.output_cases import checkout, snapshot
from helpers.process_tools import eventually, started

# All in one process, so that it costs one start of Python; each command ends as in a terminal.
SCRIPT = """
import sys
from purespike.cli.app import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["purespike", *line.split("\\t")]
    try:
        main()
    except SystemExit as e:
        print(f"{sys.argv[1]} exit {e.code}")
loaded = {"torch", "lightning", "matplotlib"} & set(sys.modules)
print("loaded:", ", ".join(sorted(loaded)) or "nothing")
"""


def commands(place: str) -> list[list[str]]:
    """All that write. The other arguments are wrong too, and would be found by work."""
    found = [["compile", "no.module:here"], ["train", "no-recipe"], ["train", "--resume", "none"]]
    if place not in ("checkout", "."):  # beside other things these may lie
        found.append(["demo"])
    if place != "checkout":
        found += [["plot", "no-run"], ["scan", "no-recipe"]]
    if place != "file":  # named by the user, who then means it
        found.append(["report", "no-bundle"])
    return [[*words, "--out", place] for words in found]


def test_every_command_refuses_before_any_work(tmp_path: Path) -> None:
    checkout(tmp_path / "checkout")
    (tmp_path / "link").symlink_to("checkout")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "curves.png").write_bytes(b"mine")
    (tmp_path / "surrogates.csv").write_text("a,b\n1,2\n")
    before = snapshot(tmp_path)
    places = ("checkout", ".", "link", "dangling", "file", "file/deeper")
    lines = [words for place in places for words in commands(place)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input="\n".join("\t".join(words) for words in lines),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    said = done.stderr
    assert done.stdout.splitlines() == [*(f"{w[0]} exit 2" for w in lines), "loaded: nothing"], said
    assert said.count("error:") == said.count("where:") == said.count("to do:") == len(lines), said
    assert not any(word in said for word in ("no.module", "no-", "internal", "Traceback"))
    assert snapshot(tmp_path) == before


def test_a_name_that_no_terminal_can_show_is_written_and_said(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff[red].json")
    command = [sys.executable, "-m", "purespike", "report", "--schema", "--out", name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("\\udcff[red].json")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("nowhere")
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2 and "symbolic link" in done.stderr, done.stderr


def test_a_command_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from purespike.cli import app as cli
        from purespike.compiler.files.writing import staged_folder
        from purespike.compiler.files.kinds import BUNDLE
        @cli.app.command()
        def slow(place: str) -> None:
            with staged_folder(Path(place) / "new" / "deep", BUNDLE) as stage:
                (stage / "half").write_text("x")
                time.sleep(60)
        sys.argv = ["purespike", "slow", sys.argv[1]]
        cli.main()
    """

    def slow(name: str, *before: str) -> AbstractContextManager[subprocess.Popen[str]]:
        (tmp_path / name).mkdir()
        command = [*before, sys.executable, "-c", textwrap.dedent(script), str(tmp_path / name)]
        return started(command, stderr=subprocess.PIPE, text=True)

    with slow("SIGTERM") as term, slow("SIGHUP") as hup, slow("nohup", "nohup") as ignores:
        for name in ("SIGTERM", "SIGHUP", "nohup"):
            assert eventually(lambda n=name: list((tmp_path / n).glob("new/.purespike-*/new/half")))
        ignores.send_signal(signal.SIGHUP)  # nohup asked for it not to count
        for number, child in ((signal.SIGTERM, term), (signal.SIGHUP, hup)):
            child.send_signal(number)
            _, text = child.communicate(timeout=30)
            assert child.returncode == 128 + number and text.strip() == "interrupted"
        assert ignores.poll() is None
        ignores.send_signal(signal.SIGTERM)
        ignores.communicate(timeout=30)
        assert ignores.returncode == 128 + signal.SIGTERM
    assert [list((tmp_path / n).iterdir()) for n in ("SIGTERM", "SIGHUP", "nohup")] == [[], [], []]
