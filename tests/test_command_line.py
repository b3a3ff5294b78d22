"""What stands around the commands: examples, guesses, completion, JSON, quiet and verbose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.flow_cases import LENIENT, resnet, subject
from helpers.user_files import foreign
from typer.testing import CliRunner

from purespike.cli.app import COMMANDS, app, load_command
from purespike.cli.commands.options import read_seconds
from purespike.cli.examples import EXAMPLES
from purespike.flow.build import Options, build

SLOW = ("demo", "train", "scan", "plot", "doctor")  # they train, draw, or start Lava: parsed only


def run(*arguments: str | Path, **environment: str) -> Any:
    env = {"COLUMNS": "100", **environment}
    return CliRunner().invoke(app, list(map(str, arguments)), env=env)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    case = subject(resnet())
    built = build(case, Options(golden=4, lava="none", policy=LENIENT))
    built.save(folder / "bundle")
    shutil.copytree(folder / "bundle", folder / "old_bundle")
    np.savez(folder / "test.npz", inputs=case.spikes, labels=case.labels)
    foreign(folder / "model.nir")
    (folder / "waivers.toml").write_text(
        '[[waiver]]\nrule = "PS005"\nwhere = "*"\nwho = "me"\nwhy = "x"\nuntil = 2999-12-31\n'
    )
    return folder


def parameters(words: list[str]) -> Any:
    """The options that a command makes of its words; raises where it makes none."""
    command = load_command(words[0])
    if words[0] == "policy":
        command, words = command.commands["show"], words[1:]
    return command.make_context(words[0], words[1:]).params


def test_every_command_has_examples_and_its_help_shows_them() -> None:
    assert set(EXAMPLES) == {"purespike", *COMMANDS, "show"}
    helps = {name: (name,) for name in COMMANDS} | {"purespike": (), "show": ("policy", "show")}
    for name, words in helps.items():
        shown = " ".join(run(*words, "--help").output.replace("\\\n", "").split())
        for example in EXAMPLES[name]:
            assert " ".join(example.split()) in shown, (name, example)


@pytest.mark.parametrize("example", [e for name in EXAMPLES for e in EXAMPLES[name]])
def test_every_example_is_understood(example: str) -> None:
    program, *words = example.replace("COMMAND --help", "verify bundle").split()
    assert program == "purespike"
    parameters(words)


@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    [
        e
        for name in EXAMPLES
        for e in EXAMPLES[name]
        if name not in (*SLOW, "compile", "new", "purespike")  # new: tests/test_new_project.py
    ],
)
def test_every_short_example_runs(
    example: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    done = run(*example.split()[1:])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 1), done.output  # a verdict may say no
    if "--json" in example:
        assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (("complie", "x"), "Did you mean 'compile'?"),
        (("explian", "x"), "Did you mean 'explain'"),
        (("policy", "shw"), "Did you mean 'show'?"),
        (("compile", "x", "--bitz", "4"), "--bits"),
        (("verify", "x", "--no-lave"), "--no-lava"),
        (("compile", "x", "--lava", "fats"), "Did you mean 'fast'?"),
        (("report", "x", "--format", "HTLM"), "Did you mean 'html'?"),
        (("train", "--lr", "0.1"), "Did you mean --set train.learning_rate=0.1?"),
        (("train", "--batch-size=3"), "Did you mean --set train.batch_size=3?"),
        (("check", "x", "--dt", "0.1m"), "'0.1m' is no time: say seconds, as 1e-4, or a unit"),
    ],
)
def test_misspelt_words_are_answered_with_what_was_meant(words: Any, guess: str) -> None:
    done = run(*words)
    assert done.exit_code == 2 and guess in done.output
    assert "Value error" not in done.output


@pytest.mark.parametrize(
    ("words", "guess"),
    [
        (("policy", "show", "strickt"), "did you mean strict?"),
        (("map", "{}", "--chip", "Loihi1"), "did you mean loihi1?"),
        (("scan", "dgits"), "did you mean digits?"),
        (("train", "--set", "learning_rate=1"), "did you mean train.learning_rate=1?"),
        (("train", "--set", "train.lr=1"), "did you mean learning_rate?"),
        (("train", "--set", "trian.seed=1"), "did you mean train?"),
        (("diff", "{}", "{}", "--fail-on", "acc=1"), "did you mean accuracy=1 or ac=1?"),
        (("explain", "{}", "blocks.0.conv3"), "did you mean blocks.0.conv2, blocks.0.conv1"),
    ],
)
def test_misspelt_names_are_too(words: Any, guess: str, place: Path) -> None:
    done = run(*(w.replace("{}", str(place / "bundle")) for w in words))
    assert guess in done.exception.text("command line")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1e-4", 1e-4),
        ("0.1ms", 1e-4),
        ("100us", 1e-4),
        ("100 µs", 1e-4),
        ("2s", 2.0),
        ("5ns", 5e-9),
    ],
)
def test_a_time_step_may_have_a_unit(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds
    assert parameters(["check", "x.nir", "--dt", text])["dt"] == seconds


def completed(words: str, shell: str = "bash") -> list[str]:
    """What a shell is offered for the last of these words."""
    env = {"_PURESPIKE_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": words}
    env |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    code = "import sys; sys.argv[0] = 'purespike'; from purespike.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True
    )
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_a_shell_completes_commands_options_and_values() -> None:
    assert completed("purespike ex") == ["export", "explain"]
    assert set(completed("purespike ")) == set(COMMANDS)
    assert completed("purespike compile x --cal") == ["--calibration"]
    assert completed("purespike compile x --lava s") == ["stock"]
    assert completed("purespike policy s") == ["show"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_what_the_completion_prints_is_a_script_that_bash_takes() -> None:
    env = {"_PURESPIKE_COMPLETE": "source_bash"}
    code = "import sys; sys.argv[0] = 'purespike'; from purespike.__main__ import main; main()"
    script = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True
    ).stdout
    assert "purespike" in script
    checked = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p purespike"], capture_output=True, text=True
    )
    assert checked.returncode == 0 and "complete" in checked.stdout, checked.stderr


def test_names_of_commands_are_completed_without_loading_any() -> None:
    code = (
        "import sys\nfrom purespike.cli.app import app\nimport typer\n"
        "group = typer.main.get_command(app)\n"
        "context = group.make_context('purespike', [], resilient_parsing=True)\n"
        "print(len(group.shell_complete(context, '')))\n"
        "print(*(n for n in sys.modules if n.startswith('purespike.cli.commands')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert int(first) == len(COMMANDS) and not second.strip()


JSON = [
    (("check", "bundle", "--static"), {"findings", "headline", "compliant"}),
    (("verify", "bundle", "--no-lava"), {"files", "holds", "conclusion", "findings"}),
    (("replay", "bundle"), {"recordings", "equal"}),
    (("simulate", "bundle", "--data", "test.npz"), {"accuracy", "classes", "rates"}),
    (("diff", "old_bundle", "bundle"), {"figures", "appeared", "tripped"}),
    (("map", "bundle"), {"layers", "fits"}),
    (("explain", "bundle", "fc"), {"layer", "files"}),
    (("policy", "show"), {"strict", "leaky", "paper"}),
]


@pytest.mark.parametrize(("words", "keys"), JSON, ids=[words[0] for words, _ in JSON])
def test_json_is_all_that_is_printed_and_says_what_the_tables_say(
    words: tuple[str, ...], keys: set[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    told, data = run(*words), run(*words, "--json")
    assert keys <= set(json.loads(data.stdout))
    assert told.exit_code == data.exit_code and told.stdout != data.stdout


def test_json_has_what_does_not_hold(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remedies know the words of an interface; JSON has the text."""
    monkeypatch.chdir(place)
    said = run("check", "bundle", "--no-lava", "--json")
    found = {f["rule"]: f for f in json.loads(said.stdout)["findings"]}
    assert found["PS010"]["status"] == "NOT RUN" and found["PS010"]["remedy"]
    assert said.exit_code == 1


def test_every_command_that_prints_a_table_takes_json() -> None:
    without = {name for name in COMMANDS if "json" not in str(flags(name))}
    assert without == {"new", "plot", "report", "rule"}  # no tables; report has --format json


def test_every_command_that_takes_time_or_judges_can_be_quiet() -> None:
    loud = {name for name in COMMANDS if "--quiet" not in str(flags(name))}
    assert loud == {"doctor", "explain", "new", "plot", "policy", "report", "rule", "targets"}


@pytest.mark.parametrize(
    "words",
    [
        ("replay", "bundle"),
        ("map", "bundle"),
        ("diff", "old_bundle", "bundle", "--fail-on", "cores=9"),
        ("export", "bundle", "--out", "program"),
    ],
    ids=lambda words: words[0],
)
def test_quiet_leaves_the_last_line(
    words: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    told, quiet = run(*words), run(*words, "--quiet")
    (line,) = (" ".join(x.split()) for x in [quiet.stdout])
    assert line and line in " ".join(told.stdout.split()) and len(quiet.stdout) < len(told.stdout)
    assert told.exit_code == quiet.exit_code == 0 and not quiet.stderr


def flags(name: str) -> set[str]:
    command = load_command(name)
    command = command.commands["show"] if name == "policy" else command
    return {o for p in command.params for o in p.opts}


def test_quiet_leaves_the_verdict_and_verbose_every_row(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    quiet = run("check", "bundle", "--static", "--quiet")
    assert quiet.stdout.splitlines() == ["every static rule holds"] and not quiet.stderr
    both = run("check", "bundle", "--quiet", "--verbose")
    assert "nothing can be quiet and verbose" in str(both.exception)
    assert quiet.exit_code == 0


def test_verbose_shows_what_the_first_rows_leave_out() -> None:
    from rich.console import Console

    from purespike.cli.console import rules
    from purespike.compiler.rules.finding import LEGALITY, Finding

    found = [Finding(LEGALITY, f"layer{k}", "FAIL", "x", "y", "", "") for k in range(30)]
    shown = []
    for most in (20, None):
        console = Console(width=100, markup=False)
        with console.capture() as text:
            console.print(rules(found, most=most))
        shown.append(text.get())
    assert "layer29" not in shown[0] and "and 10 more" in shown[0]
    assert "layer29" in shown[1] and "more: see" not in shown[1]
