"""Long sequences and large layers: stages are shown, memory is bounded, Ctrl-C ends a run.

The formula stands in docs/targets.md (Whole test sets). Quick runs are small; the sizes of
which it speaks are slow tests.
"""

from __future__ import annotations

import signal
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from helpers import random_graphs
from helpers.flow_cases import FAST, resnet, subject
from helpers.terminals import Watched
from helpers.user_files import foreign

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.flow.build import build
from purespike.flow.testset import _differs
from purespike.judge import fast as judged
from purespike.judge.bundle import runs
from purespike.judge.fast import replayed
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.nir.read import read_nir

STATED = ("--dt", "1e-3", "--if-r", "step", "--reset", "subtract", "--spike-input", "--fires", "at")
CASES = ("long", "wide", "many", "million")
COMMANDS = ("compile", "simulate", "verify", "check", "replay", "report")
MIB = 1 << 20
IDLE = 2.0  # seconds of processor time between two signs of life, and from Ctrl-C to the end
LOADED = 4.0  # until the first; loading takes 1.3 where a core is free, and 1.9 where two share one


def wide(path: Path, side: int) -> Path:
    """A NIR file whose first layer has 16 x side x side neurons."""
    r = np.random.default_rng(0)

    def conv(inputs: int, outputs: int, kernel: int, stride: int, pad: int) -> nir.Conv2d:
        weight = r.normal(0.3, 0.5, (outputs, inputs, kernel, kernel)).astype(np.float32)
        return nir.Conv2d((side, side), weight, stride, pad, 1, 1, np.zeros(outputs, np.float32))

    def neurons(*shape: int) -> nir.IF:
        return nir.IF(np.ones(shape, np.float32), np.ones(shape, np.float32))

    small = side // 5
    head = r.normal(0, 0.1, (10, 2 * small**2)).astype(np.float32)
    nodes = {
        "in": nir.Input(np.array([1, side, side])),
        "c1": conv(1, 16, 3, 1, 1),
        "n1": neurons(16, side, side),
        "c2": conv(16, 2, 5, 5, 0),
        "n2": neurons(2, small, small),
        "flat": nir.Flatten(np.array([2, small, small]), 0, -1),
        "head": nir.Affine(head, np.zeros(10, np.float32)),
        "n3": neurons(10),
        "out": nir.Output(np.array([10])),
    }
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(nodes))))
    return path


def case(folder: Path, name: str, *, small: bool) -> tuple[list[str], list[str]]:
    """Words for compile, and for simulate; ``wide`` has 160,000 neurons, ``million`` says it."""
    r = np.random.default_rng(0)
    if name in ("wide", "million"):
        side, steps, samples = (100, 8, 16) if name == "wide" else (250, 4, 4)
        source, shape, classes = wide(folder / "n.nir", side), (1, side, side), 10
    else:
        steps, samples = {"long": (20_000, 4), "many": (32, 4096)}[name]
        if small:
            steps, samples = min(steps, 500), min(samples, 512)
        source, shape, classes = foreign(folder / "n.nir"), (2,), 3
    x = (r.random((steps, samples, *shape)) < 0.3).astype(np.uint8)
    np.savez_compressed(folder / "d.npz", inputs=x, labels=np.arange(samples) % classes)
    given = ["--steps", str(steps), "--data", str(folder / "d.npz"), "--lava", "none"]
    build = ["compile", str(source), *STATED, *given, "--out", str(folder / "b")]
    sets = ["simulate", str(folder / "b"), "--data", str(folder / "d.npz")]
    return build, sets


def allowed(folder: Path, command: str) -> float:
    """Bytes by the formula in docs/targets.md."""
    graph = read_nir(folder / "b" / "model.nir")
    with np.load(folder / "d.npz") as file:
        x = file["inputs"]
    neurons = sum(prod(n.output.shape) for n in graph.nodes if isinstance(n.op, Neuron))
    values = sum(prod(e.shape) for e in graph.edges()) + neurons
    one, golden = graph.steps * neurons, min(64, x.shape[1])
    batch = max(min(512 * MIB, 8 * graph.steps * values * x.shape[1]), 16 * one)
    return (
        256 * MIB
        + {
            "compile": 2 * x.size + 10 * golden * one + 3 * batch,
            "simulate": 2 * x.size + 4 * max(256 * MIB, one) + 32 * one,
            "replay": 5 * golden * one + 2 * max(512 * MIB, 24 * one),
            "verify": 2 * x.size + 15 * golden * one + 3 * max(512 * MIB, 24 * one),
        }["verify" if command == "check" else command]
    )


def commands(folder: Path) -> list[list[str]]:
    """What runs a bundle that was compiled."""
    bundle = str(folder / "b")
    return [
        ["verify", bundle, "--no-lava"],
        ["check", bundle, "--no-lava"],
        ["replay", bundle],
        ["report", bundle, "--format", "html", "--out", str(folder / "r.html")],
    ]


def require_signs_of_life(watched: Watched) -> None:
    """A bar that moves or a clock that goes on all the time, behind what loads the program."""
    text = "\n".join(f"{s:.2f} {w}" for s, w in watched.stages)
    assert watched.code in (0, 1), watched.text[-2000:]
    assert watched.stages and watched.first < LOADED, text
    assert watched.still < IDLE, text


@pytest.mark.timeout(900)  # six processes, one after the other
def test_each_command_shows_at_which_stage_it_is(tmp_path: Path) -> None:
    build, sets = case(tmp_path, "long", small=True)
    shown = {}
    for words in (build, sets, *commands(tmp_path)):
        watched = Watched(words)
        require_signs_of_life(watched)
        shown[words[0]] = [stage for _, stage in watched.stages]
    assert {"reading", "network as read", "interpreter", "ONNX Runtime", "bundle"} <= set(
        shown["compile"]
    )
    assert {"reading", "test set", "interpreter"} <= set(shown["simulate"])
    assert {"reading", "cpu", "ONNX Runtime", "numpy", "files", "report"} <= set(shown["verify"])
    assert shown["replay"] == ["replay"] and shown["report"] == ["report"]


@dataclass(frozen=True)
class Built:
    """A large case: its folder, the words of each command, and the compile that made its bundle."""

    folder: Path
    words: dict[str, list[str]]
    watched: Watched


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Built]:
    """A case by its name, compiled once."""
    found: dict[str, Built] = {}

    def of(name: str) -> Built:
        if name not in found:
            folder = tmp_path_factory.mktemp(name)
            build, sets = case(folder, name, small=False)
            words = {w[0]: w for w in (build, sets, *commands(folder))}
            found[name] = Built(folder, words, Watched(build))
        return found[name]

    return of


@pytest.mark.slow
@pytest.mark.timeout(900)  # less than a minute of the processor's time
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", CASES)
def test_a_large_run_shows_life_keeps_to_its_memory_and_stops(
    name: str, command: str, built: Callable[[str], Built]
) -> None:
    large = built(name)
    words = large.words[command]
    watched = large.watched if command == "compile" else Watched(words)
    require_signs_of_life(watched)
    if command != "report":
        most = allowed(large.folder, command)
        assert watched.peak < most, f"{watched.peak >> 20} of {most / MIB:.0f} MiB"
    ends = [
        Watched(words, stop=watched.first + part * (watched.seconds - watched.first))
        for part in (0.15, 0.5)
    ]
    # A shell shows both as 130. Two of some forty ended by the signal itself: one was through and
    # exiting, one had said that it was interrupted, and why is not known. A run that is faster
    # than the first may be through by the later Ctrl-C.
    interrupted = {130, -signal.SIGINT}
    assert ends[0].code in interrupted, ends[0].text[-500:]
    assert ends[1].code in interrupted | {watched.code}, ends[1].text[-500:]
    assert all(e.after < IDLE for e in ends), [e.after for e in ends]
    print(f"{name} {command}: {watched.seconds:.1f} s, {watched.peak >> 20} MiB", end="; ")
    print(f"still {watched.still:.1f} s, stopped in {max(e.after for e in ends):.1f} s")


def test_the_interpreter_holds_what_it_records_and_one_recording_twice(tmp_path: Path) -> None:
    """T x B x neurons x (8 + 8) bytes of spikes and membranes; all of them twice were held once."""
    stated: dict[str, Any] = {"dt": 1e-3, "if_r": "step", "reset": "zero", "fires": "at"}
    graph = read_nir(foreign(tmp_path / "n.nir"), **stated, steps=400, domain=SPIKE)
    x = np.random.default_rng(0).integers(0, 2, (400, 512, 2)).astype(np.uint8)
    tracemalloc.start()
    trace = run(graph, x, record=["if"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    spikes, membranes = trace.values["if"], trace.membranes["if"]
    assert spikes.nbytes == membranes.nbytes == 8 * 400 * 512 * 3
    assert peak < 1.1 * (spikes.nbytes + 2 * membranes.nbytes)


def test_samples_that_are_run_again_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graphs.integer(3).graph
    neurons = [n.output.shape for n in graph.nodes if isinstance(n.op, Neuron)]
    held = 16 * graph.steps * sum(int(np.prod(s)) for s in neurons)
    monkeypatch.setattr(judged, "BYTES", 5 * held)
    assert len(replayed(graph, 50)) == 5
    monkeypatch.setattr(judged, "BYTES", 1)
    assert list(replayed(graph, 50)) == [0]


def test_onnx_runtime_runs_a_bundle_a_part_at_a_time_and_the_sample_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it records takes 32 bytes per neuron, step and sample: all of a large layer's at once
    were more than all else."""
    build(subject(resnet("or")), FAST).save(tmp_path / "b")
    bundle = read_bundle(tmp_path / "b")
    right, wrong = bundle.golden, {n: v.copy() for n, v in bundle.golden.membranes.items()}
    assert len(right.labels) > 3 and bundle.graph.steps > 2
    layer = next(iter(wrong))
    wrong[layer][2, 1] += 1
    wrong[layer][1, 3].flat[5] -= 1  # the first in time
    changed = replace(bundle, golden=replace(right, membranes=wrong))
    whole = [runs.on_onnxruntime(b) for b in (bundle, changed)]
    assert all(f.status == "PASS" for f in whole[0].findings)
    (found,) = (f for f in whole[1].findings if f.status == "FAIL")
    place = np.unravel_index(5, right.membranes[layer].shape[2:])
    assert f"({', '.join(map(str, (1, 3, *place)))})" in found.measured
    for size in (1, 32 * bundle.graph.steps * sum(a[0, 0].size for a in wrong.values()) * 3):
        monkeypatch.setattr(runs, "BYTES", size)
        assert [runs.on_onnxruntime(b) for b in (bundle, changed)] == whole


def test_a_test_set_is_compared_a_sample_at_a_time_and_the_sample_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, x = random_graphs.integer(3).graph, random_graphs.integer(3).x
    x = np.repeat(x, 3, axis=1)
    seen: list[int] = []
    again = np.array([0, x.shape[1] - 1])
    assert _differs(graph, x, again, lambda stage, done, n: seen.append(done)) == ""
    assert seen == [0, 1, 2]

    def lies(*args: object, **kept: object) -> object:
        trace = run(*args, **kept)  # type: ignore[arg-type]
        name = next(iter(trace.membranes))
        trace.membranes[name][-1] += 1  # type: ignore[index]
        return trace

    monkeypatch.setattr("purespike.flow.testset.run", lies)
    words = _differs(graph, x, again[1:], lambda *_: None)
    assert f"({graph.steps - 1}, {x.shape[1] - 1}," in words
