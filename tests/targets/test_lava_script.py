"""`lava/run.py`: run for real, by the Python that has Lava, where purespike cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.strategies import FIXED, Draft, spikes

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.lower.script import SCRIPT, write_script
from purespike.targets.lava.program.file import write
from purespike.targets.lava.run import python as interpreter

RUFF = Path(sys.executable).with_name("ruff")


def network(reset: str) -> Graph:
    """A residual join with a delay, per-channel thresholds and biases, all kinds of synapses."""
    r = np.random.default_rng(3)
    draft = Draft((2, 5, 4), 3)
    first = draft.put(Conv2d(r.integers(-9, 30, (3, 2, 3, 3)), np.array([3.0, 0, -2])), "x")
    thresholds = np.array([120.0, 250, 180]).reshape(3, 1, 1)
    stem = draft.put(Neuron(thresholds, 1.0, reset, 90.0, fixed=FIXED), first)  # type: ignore[arg-type]
    again = draft.put(Conv2d(r.integers(-20, 40, (3, 3, 3, 3)), None, (1, 1), (1, 1)), stem)
    inner = draft.put(Neuron(200.0, 1.0, reset, 200.0, fixed=FIXED), again)  # type: ignore[arg-type]
    late = draft.put(Conv2d(r.integers(-20, 40, (3, 3, 1, 1))), inner)
    skip = draft.put(Scale(np.array([20.0, 30, 40]).reshape(3, 1, 1)), stem)
    block = draft.put(
        Neuron(75.0, 1.0, reset, 60.0, fixed=FIXED),
        draft.put(Add(), late, skip),  # type: ignore[arg-type]
    )
    flat = draft.put(Flatten(), block)
    permuted = draft.put(Scale(np.arange(1.0, 19.0)), flat)
    gate = draft.put(Neuron(5.0, 0.0, fixed=FIXED), permuted)
    scores = draft.put(Linear(r.integers(-50, 50, (4, 18)), np.arange(4.0)), gate)
    return draft.graph(draft.put(Neuron(np.inf, reset="none", fixed=FIXED), scores))


def write_case(graph: Graph, folder: Path) -> Path:
    """The program, the script and the golden vectors of three samples; path of the script."""
    x = spikes(graph, 3, 5).astype(np.uint8)
    plan = schedule(graph)
    program = emit(graph, plan, x)
    write(program, folder / "lava")
    write_script(program, plan, graph.steps, folder / "lava")
    trace = run(graph, x)
    golden = {f"spikes/{n}": trace.values[n].astype(np.uint8) for n in program.record}
    golden |= {f"membranes/{n}": trace.membranes[n].astype(np.int32) for n in program.record_v}
    assert all(0 < golden[f"spikes/{n}"].mean() < 1 for n in program.record)
    np.savez(folder / "golden.npz", **golden)  # type: ignore[arg-type]
    return folder / "lava" / SCRIPT


def execute(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the script where the name purespike stands for nothing."""
    code = (
        "import runpy, sys\n"
        "sys.modules['purespike'] = None\n"
        f"sys.argv = {[str(script), *arguments]!r}\n"
        f"sys.path[0] = {str(script.parent)!r}\n"
        f"runpy.run_path({str(script)!r}, run_name='__main__')"
    )
    python = interpreter.python()
    return subprocess.run(
        [python, "-c", code],
        env=interpreter.environment(python),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_it_runs_in_lava_and_every_recorded_layer_is_equal(reset: str, tmp_path: Path) -> None:
    graph = network(reset)
    path = write_case(graph, tmp_path)
    before = sorted(p for p in tmp_path.rglob("*"))
    done = execute(path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("EQUAL") and len(lines) == 6  # four firing layers, a readout
    for line in lines[:-1]:
        name = line.partition("/")[2].partition(":")[0]
        values = graph.steps * 3 * int(np.prod(graph.edge(name).shape))
        assert line.endswith(f"0 of {values} values differ")
    assert sorted(p for p in tmp_path.rglob("*")) == before  # no caches: a bundle stays whole
    assert (path.parent / "processes").is_dir() == (reset == "subtract")


def test_it_runs_parts_that_nothing_connects(tmp_path: Path) -> None:
    """A neuron that only its bias and its own spikes drive, beside one that the input drives."""
    nodes: list[Any] = [
        ("late", Delay([1, 1]), ("own",)),
        ("again", Linear(np.array([[9.0, 3], [-4, 5]]), np.array([20.0, 30])), ("late",)),
        ("own", Neuron(60.0, fixed=FIXED), ("again",)),
        ("head", Linear(np.array([[7.0, -3]])), ("own",)),
        ("out", Neuron(np.inf, reset="none", fixed=FIXED), ("head",)),
        ("in", Linear(np.array([[50.0, 30, 40]])), ("x",)),
        ("seen", Neuron(60.0, fixed=FIXED), ("in",)),
        ("scores", Linear(np.array([[5.0]])), ("seen",)),
        ("second", Neuron(np.inf, reset="none", fixed=FIXED), ("scores",)),
    ]
    own = [Edge("own", (2,), SPIKE)]
    graph = build([Edge("x", (3,), SPIKE)], nodes, ["out", "second"], 4, loops=own)
    done = execute(write_case(graph, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("EQUAL") and len(lines) == 5
    assert all(": 0 of " in line for line in lines[:-1])


def test_it_runs_loops_and_keeps_the_samples_apart(tmp_path: Path) -> None:
    r = np.random.default_rng(2)
    nodes: list[Any] = [
        ("late", Delay([1, 2, 3]), ("n",)),
        ("in", Linear(r.integers(-9, 60, (3, 3)), np.array([4.0, 0, -1])), ("x",)),
        ("back", Linear(r.integers(-9, 60, (3, 3))), ("late",)),
        ("sum", Add(), ("in", "back")),
        ("n", Neuron(60.0 + 2**-6, fixed=FIXED, current_decay=0.5), ("sum",)),
        ("head", Linear(r.integers(-9, 60, (2, 3))), ("n",)),
        ("out", Neuron(np.inf, reset="none", fixed=FIXED), ("head",)),
    ]
    graph = build((Edge("x", (3,), SPIKE),), nodes, ("out",), 6, loops=[Edge("n", (3,), SPIKE)])
    done = execute(write_case(graph, tmp_path), "--samples", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "spikes/n: 0 of 36 values differ",
        "membranes/out: 0 of 24 values differ",
        "EQUAL: Lava recorded the golden vectors",
    ]


def test_it_finds_a_changed_weight(tmp_path: Path) -> None:
    path = write_case(network("zero"), tmp_path)
    with np.load(path.parent / "arrays.npz") as file:
        arrays = {name: file[name] for name in file.files}
    (name,) = [n for n in arrays if arrays[n].shape == (4, 18)]  # the classifier
    arrays[name][0] += 1
    np.savez(path.parent / "arrays.npz", **arrays)  # type: ignore[arg-type]
    done = execute(path, "--samples", "2")
    assert done.returncode == 1, done.stdout + done.stderr
    *layers, readout, verdict = done.stdout.splitlines()
    assert verdict == "NOT EQUAL"
    assert all(": 0 of " in line for line in layers) and ": 0 of " not in readout


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_it_is_the_same_text_twice_and_ruff_has_nothing_to_say(reset: str, tmp_path: Path) -> None:
    first = write_case(network(reset), tmp_path / "a").read_text()
    assert first == write_case(network(reset), tmp_path / "b").read_text()
    for check in (["check"], ["format", "--check"]):
        options = ["--isolated", "--no-cache"]
        options += ["--line-length=100"]
        rules = ["--select=E,F,I,B,UP,D1,C4,SIM"] if check == ["check"] else []
        done = subprocess.run(
            [str(RUFF), *check, *options, *rules, str(tmp_path / "a/lava" / SCRIPT)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
