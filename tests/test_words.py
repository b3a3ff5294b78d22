"""What a user reads: whole, in the words of the interface in use, at any width."""

from __future__ import annotations

import ast
import copy
import inspect
import io
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.user_files import foreign
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from purespike.cli.app import COMMANDS as commands
from purespike.cli.app import app, load_command
from purespike.cli.commands.demo import _next
from purespike.cli.console import rules
from purespike.cli.listing import Listing
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge
from purespike.compiler.ir.graph import build as build_graph
from purespike.compiler.ir.ops import Linear, Neuron
from purespike.compiler.packages import EXTRAS, PYPI, missing_package
from purespike.compiler.rules.finding import LEGALITY, Finding
from purespike.compiler.rules.graph_rules import NO_SPIKES, check_domains
from purespike.compiler.wording import WORDS, Advice, option, spoken
from purespike.flow.exporting import export_nir
from purespike.flow.inputs.opening import open_source
from purespike.flow.inputs.stated import Stated
from purespike.flow.testset import run_test_set
from purespike.options import Options
from purespike.subject import Subject
from purespike.targets.nir.foreign.conventions import Conventions

ROOT = Path(__file__).parent.parent
COMMANDS: dict[str, Any] = {name: load_command(name) for name in commands}


def run(*arguments: str | Path, cwd: Path | None = None, **env: str) -> Any:
    # The installed command, which has another search path than ``python -m``.
    command = "import sys; sys.path.pop(0); from purespike.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "60", **env},
        timeout=240,
    )


def test_advice_speaks_the_interface_of_its_reader() -> None:
    advice = Advice("state {steps}; {this} stays")
    assert advice == "state --steps N (in Python: steps=N); {this} stays"
    assert spoken(advice, "command line") == "state --steps N; {this} stays"
    assert spoken(advice, "python") == "state steps=N; {this} stays"
    assert spoken("plain {steps}", "python") == "plain {steps}"
    for again in (copy.deepcopy(advice), pickle.loads(pickle.dumps(advice))):
        assert again == advice and again.spoken("python") == advice.spoken("python")
    error = PurespikeError("m", remedy=advice, open={"dt": "why", "unknown_one": "because"})
    assert "state dt=SECONDS: why" in str(error) and "state unknown_one=...: because" in str(error)
    text = error.text("command line")
    assert "state --dt SECONDS: why" in text and "state --unknown-one ...: because" in text
    assert json.dumps(advice) == json.dumps(str(advice))


def test_every_word_is_an_option_of_a_command_and_a_name_in_python() -> None:
    flags = {o for c in COMMANDS.values() for p in c.params for o in (*p.opts, *p.secondary_opts)}
    callables = (Options, Subject, Stated, Conventions, run_test_set, export_nir)
    names = {n for c in callables for n in inspect.signature(c).parameters}
    names |= {"resume_from", "epoch", "device", "trust"}
    for name, (flag, python) in WORDS.items():
        for written in re.findall(r"--[a-z-]+", flag):
            assert written in flags, (name, written)
        for written in re.findall(r"(\w+)=", python):
            assert written in names, (name, written)
    for name in Conventions.__dataclass_fields__:
        assert name in WORDS


def _texts(node: ast.expr) -> list[str]:
    """The texts of an expression, without those inside ``Advice(...)``."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Advice":
        return []
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    return [t for child in ast.iter_child_nodes(node) for t in _texts(child)]  # type: ignore[arg-type]


def test_no_remedy_names_an_option_of_one_interface_only() -> None:
    names = "|".join(sorted({*Options.__dataclass_fields__, *Conventions.__dataclass_fields__}))
    wrong = re.compile(rf"(?<![\w-])--[a-z]|\b({names})=|\bStated\b|\bConventions\b")
    other = re.compile(
        r"pip install|dask worker|--nthreads|--ulimit|--shm-size|mount "
    )  # other programs
    slots = re.compile(r"\{(\w+)\}")
    for folder in ("src/purespike", "compiler", "targets", "trainer"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "commands" in path.parts or path.name == "reporting.py":
                continue  # the command line itself
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.keyword) and node.arg in ("remedy", "allowed"):
                    for text in _texts(node.value):
                        bare = re.sub(r"`purespike [^`]*`", "", text)  # a whole command
                        found = None if other.search(bare) else wrong.search(bare)
                        assert not found, f"{path}:{node.value.lineno}: {text}"
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Advice":
                    for part in ast.walk(node):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            assert all(s in WORDS for s in slots.findall(part.value)), part.value


def test_all_that_is_open_is_said_at_once_before_torch_and_data(tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(b"")
    network = foreign(tmp_path / "model.nir")
    for command in (("check", network), ("compile", network, "--out", tmp_path / "b")):
        done = run(*command, PURESPIKE_BLOCK="torch", PYTHONPATH=str(_hook(tmp_path)))
        assert done.returncode == 2, done.stderr
        words = " ".join(done.stderr.split())
        for name in ("dt", "steps", "reset", "if_r"):
            assert f"state {option(name, 'command line')}: " in words
        assert "--spike-input" in words and "=..." not in words
    assert not (tmp_path / "b").exists()
    lines = [line for line in done.stderr.splitlines() if str(tmp_path) not in line]
    assert all(len(line) <= 60 for line in lines)


def test_steps_are_not_asked_for_where_the_data_says_them(tmp_path: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, inputs=np.zeros((7, 3, 2), np.uint8))
    network = str(foreign(tmp_path / "model.nir"))
    with pytest.raises(PurespikeError) as caught:
        open_source(network, Stated(data=data))
    assert list(caught.value.open) == ["dt", "reset", "if_r", "fires"]
    opened = open_source(
        network, Stated(dt=1e-3, reset="zero", if_r="step", fires="above", data=data)
    )
    assert opened.graph is not None and opened.graph.steps == 7
    with pytest.raises(PurespikeError, match="does not fit"):
        open_source(
            network, Stated(dt=1e-3, reset="zero", if_r="step", fires="above", steps=6, data=data)
        )
    with pytest.raises(PurespikeError) as caught:
        open_source("json:loads", Stated())
    assert list(caught.value.open) == ["shape", "steps"]
    open_source("json:loads", Stated(data=data))


@pytest.mark.parametrize("command", ["check", "compile"])
def test_a_npy_file_is_one_clear_error(tmp_path: Path, command: str) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 2)))
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")  # the name says nothing
    source = "package.module:factory"
    with pytest.raises(PurespikeError, match="one array") as caught:
        open_source(source, Stated(data=tmp_path / "x.npz"))
    assert "np.savez" in caught.value.remedy


def test_a_float_network_is_said_to_be_one_first(tmp_path: Path) -> None:
    network = foreign(tmp_path / "mine[1].nir")
    arguments = (
        "--dt",
        "1e-3",
        "--reset",
        "zero",
        "--if-r",
        "step",
        "--steps",
        "4",
        "--fires",
        "at",
    )
    done = run("check", network, *arguments, "--spike-input", COLUMNS="200")
    first = done.stdout.splitlines()[0]
    assert done.returncode == 1 and "mine[1].nir is not in integers" in first
    assert "`purespike compile`" in first
    assert done.stdout.count("PS008") == 3 and "None" not in done.stdout  # rule, finding, verdict


def test_found_and_allowed_are_never_the_same_words() -> None:
    # One-hot weights make a current of zeros and ones, whose values are those of spikes.
    graph = build_graph(
        (Edge("x", (3,), SPIKE),),
        (
            ("picks", Linear(np.array([[1.0, 0, 0]])), ("x",)),
            ("reads", Linear(np.array([[2.0]])), ("picks",)),
            ("fires", Neuron(np.array(1.0), 1.0, "zero"), ("reads",)),
        ),
        ("fires",),
        4,
        1e-3,
    )
    (broken,) = [f for f in check_domains(graph) if f.status == "FAIL"]
    assert broken.where == "reads" and broken.measured.startswith("a current from picks")
    assert broken.limit == "spikes of a neuron, a gate or the input"
    assert "--spike-input" in spoken(NO_SPIKES, "command line")


def test_nothing_is_cut_off_and_narrow_tables_become_lists() -> None:
    remedy = Advice("use a policy that allows it: {leaky}, " + "or-something-else-" * 8)
    where = "blocks.0." + "deeply.nested." * 6 + "conv[1]"
    finding = Finding(LEGALITY, where, "FAIL", "found [red] and [/]", "allowed [bold]", "", remedy)
    for width in (40, 60, 80, 120, 400):
        console = Console(width=width, file=io.StringIO(), markup=False)
        with console.capture() as shown:
            console.print(rules([finding]))
        text = shown.get()
        assert all(len(line) <= width for line in text.splitlines())
        bare = re.sub(r"[\s│┃]", "", text)
        if width in (40, 60, 80, 400):  # not folded inside a column beside others
            for said in (where, "found [red] and [/]", "allowed [bold]"):
                assert re.sub(r"\s", "", said) in bare, (width, said)
            assert re.sub(r"\s", "", spoken(remedy, "command line")) in bare
        assert "…" not in text and "Options(" not in text
        assert ("┃" in text.split("Broken")[1]) == (width >= 120)


def test_a_listing_keeps_brackets_and_every_cell() -> None:
    table = Listing("layer", "AC", title="a [title]")
    table.add_row("[bold]conv[/]", Text("1,234", style="red"))
    for width, borders in ((100, True), (12, False)):
        console = Console(width=width, file=io.StringIO())  # even where markup is on
        with console.capture() as shown:
            console.print(table)
        bare = re.sub(r"\s", "", shown.get())
        assert "[bold]conv[/]" in bare and "1,234" in bare and "a[title]" in bare
        assert ("│" in bare) == borders


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_is_whole(name: str) -> None:
    words = (name, "--help") if name != "policy" else ("policy", "show", "--help")
    done = CliRunner().invoke(app, words, env={"COLUMNS": "60"})
    bare = re.sub(r"\s", "", done.stdout)
    command = COMMANDS[name] if name != "policy" else COMMANDS[name].commands["show"]
    for said in (command.help, *(getattr(p, "help", "") for p in command.params)):
        whole = re.sub(r"\s", "", said or "").removesuffix(".")
        assert whole in bare, said
    assert "…" not in done.stdout
    if name == "train":
        assert "TOML with [model], [data] and [train]" in " ".join(done.stdout.split())


HOOK = """
import importlib.machinery, os
blocked = set(os.environ.get("PURESPIKE_BLOCK", "").split(","))
find = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in blocked else find(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
"""


def _hook(folder: Path) -> Path:
    """A folder for PYTHONPATH that hides packages from Python's own search."""
    (folder / "hook").mkdir(exist_ok=True)
    (folder / "hook" / "sitecustomize.py").write_text(HOOK)
    return folder / "hook"


MISSING = [
    ("rich", ("doctor",), "pip install rich"),
    ("numpy", ("check", "x"), "pip install numpy"),
    ("matplotlib", ("plot", "x"), "'purespike[report]'"),
    ("torch", ("train",), "'purespike[train]'"),
]
SLOW = [
    ("matplotlib", ("scan",), "'purespike[report]'"),
    ("sklearn", ("train",), "'purespike[train]'"),
    ("lightning", ("train",), "'purespike[train]'"),
    ("safetensors", ("train",), "'purespike[torch]'"),
    ("tensorboardX,tensorboard", ("train", "--tensorboard"), "'purespike[train]'"),
    (
        "tonic",
        ("train", "--set", "data.name=dvs_gesture", "--set", "data.root=."),
        "'purespike[events]'",
    ),
    ("h5py", ("check", "{}"), "pip install h5py"),
    ("nir", ("check", "{}"), "pip install nir"),
    ("torch", ("compile", "json:tool", "--shape", "2", "--steps", "4"), "'purespike[torch]'"),
]


@pytest.mark.parametrize(
    ("package", "arguments", "remedy"),
    [*MISSING, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)],
)
def test_a_missing_package_is_one_clear_error(
    tmp_path: Path, package: str, arguments: tuple[str, ...], remedy: str
) -> None:
    network = str(foreign(tmp_path / "model.nir"))
    words = [a.replace("{}", network) for a in arguments]
    env = {"PURESPIKE_BLOCK": package, "PYTHONPATH": str(_hook(tmp_path)), "COLUMNS": "200"}
    done = run(*words, cwd=tmp_path, **env)
    assert done.returncode == 2, done.stderr
    assert remedy in done.stderr and "pip install" in done.stderr
    assert "internal error" not in done.stderr and "Traceback" not in done.stderr


def test_every_extra_is_one_that_the_project_has() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for package, extra in EXTRAS.items():
        wanted = " ".join(extras[extra]).replace("-", "_").lower()
        name = PYPI.get(package, package).replace("-", "_").lower()
        assert name in wanted or package == "dask", (package, extra)
    assert missing_package(ImportError("x", name="purespike.nothing")) is None
    broken = missing_package(ImportError("libGL.so.1: cannot open", name="matplotlib.ft2font"))
    assert broken is not None and "cannot be loaded" in broken.message


DATA = """
import torch
from torch.utils.data import TensorDataset

class Frames(TensorDataset):
    classes = 2

def factory():
    return Frames(torch.zeros(10, 4, 1, 8, 8), torch.arange(10) % 2)

def network():
    import a_package_that_nobody_has
"""


def test_a_factory_in_the_current_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "my_frames.py").write_text(DATA)
    code = (
        "import sys; sys.path.pop(0)\n"
        "from purespike.trainer.data.config import DataConfig\n"
        "from purespike.trainer.data.custom import open_custom\n"
        "print(len(open_custom(DataConfig(name='my_frames:factory', encoder='events'), 4).names))\n"
        "from purespike.flow.inputs.load import load_subject\n"
        "from purespike.flow.inputs.stated import Stated\n"
        "try: load_subject('my_frames:network', Stated(shape=(1,), steps=2))\n"
        "except Exception as e: print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=240
    )
    assert done.stdout.startswith("2\n"), done.stderr
    assert "pip install a_package_that_nobody_has" in done.stdout


def test_no_markup_is_printed_where_none_is_read_and_no_table_cuts_words_off() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
        marked = [t for t in texts if isinstance(t, str) and ("[/]" in t or "[bold" in t)]
        assert not marked, f"{path}: markup is off, use style="
        tables = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        assert path.name == "listing.py" or "rich.table" not in tables, f"{path}: use Listing"


def test_the_demo_names_commands_that_the_next_prompt_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def named() -> list[str]:
        lines = str(_next(Path("b"))).splitlines()
        return [
            line.split()[0] for line in lines if line.endswith(("conv1", "verify b", "project"))
        ]

    monkeypatch.setenv("PATH", "")
    found = named()
    assert len(found) == 3 and all(os.access(name, os.X_OK) for name in found), found
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert named() == ["purespike"] * 3
