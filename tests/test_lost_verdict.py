"""A verdict that was reached is written, whatever the executors and writers say afterwards."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest
from helpers.flow_cases import FAST, LENIENT, Plain, subject
from torch import nn
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.graph import build as graph_from
from purespike.compiler.ir.ops import FixedPoint, Linear, Neuron
from purespike.flow.build import Build, Options, build
from purespike.subject import Subject
from purespike.targets.bundle.bundle import NotWritten, write_bundle
from purespike.targets.nir.emit import write_nir
from purespike.trainer.nn.neuron import LIF

REPORT_ONLY = {"report.json", "report.html", "manifest.json"}


def chain(weight: float = 3.0, threshold: float = 5.0, **neuron: object) -> Graph:
    """Two inputs, one firing neuron, one integrator to read."""
    fixed = FixedPoint()
    nodes = [
        ("l", Linear(np.full((1, 2), weight)), ("x",)),
        ("n", Neuron(threshold, fixed=fixed, **neuron), ("l",)),  # type: ignore[arg-type]
        ("m", Linear(np.full((2, 1), 1.0)), ("n",)),
        ("o", Neuron(1.0, reset="none", fixed=fixed), ("m",)),
    ]
    return graph_from((Edge("x", (2,), SPIKE),), nodes, ("o",), 4)


def judged(graph: Graph, options: Options = FAST) -> Build:
    spikes = (np.random.default_rng(0).random((4, 8, 2)) < 0.5).astype(np.uint8)
    return build(Subject("case", graph, (2,), spikes, np.zeros(8, np.int64)), options)


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def statuses(built: Build, rule: str) -> set[str]:
    return {f.status for f in built.report.findings if f.rule.id == rule}


@pytest.mark.parametrize(
    "graph",
    [chain(weight=300.0), chain(threshold=200_000.0), chain(weight=2.5), chain(initial=1.0)],
    ids=["weight", "threshold", "no whole weight", "initial membrane"],
)
def test_what_ps008_refuses_and_a_writer_too_leaves_a_report(graph: Graph, tmp_path: Path) -> None:
    built = judged(graph)
    assert "FAIL" in statuses(built, "PS008")
    built.save(tmp_path / "b")
    assert names(tmp_path / "b") == REPORT_ONLY
    assert built.withheld == "PS008 does not hold"
    headline = json.loads((tmp_path / "b" / "report.json").read_text())["verdict"]["headline"]
    assert headline.startswith("NOT SPIKE-ONLY") and "PS008" in headline


def test_the_command_ends_with_exit_code_1_and_a_report(tmp_path: Path) -> None:
    write_nir(chain(weight=300.0), tmp_path / "model.nir")
    words = [str(tmp_path / "model.nir"), "--lava", "none", "--out", str(tmp_path / "b")]
    done = CliRunner().invoke(app, ["compile", *words])
    assert done.exit_code == 1, done.output
    assert "PS008" in done.output and "It holds the report only: PS008" in done.output
    assert names(tmp_path / "b") == REPORT_ONLY


def test_a_leak_that_plain_nir_nodes_cannot_say_is_refused_with_its_option(tmp_path: Path) -> None:
    model = Plain(nn.Identity())
    model.neuron1 = LIF(tau=1.5, reset="subtract")  # type: ignore[assignment]
    policy = replace(LENIENT, leak_multiplies=True)
    built = build(subject(model), replace(FAST, nir_strict=True, policy=policy))
    assert statuses(built, "PS014") == {"PASS"}  # of the network, in the form that can say it
    with pytest.raises(NotWritten, match="the model files cannot be written") as e:
        built.save(tmp_path / "b")
    assert "leave out --nir-strict" in e.value.remedy
    assert names(tmp_path / "b") == REPORT_ONLY
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert list(manifest["not_written"]) == ["model.nir"]


@pytest.mark.parametrize(("lava", "code"), [("fast", 2), ("none", 1)])
def test_the_command_writes_all_but_the_file_that_cannot_be(
    lava: str, code: int, tmp_path: Path
) -> None:
    """Exit code 2 if the verdict holds and a file that was asked for is missing; else 1."""
    eye, ones = np.eye(2), np.ones(2)
    nodes = {  # of another tool: PS012 has no trained network to compare with in a file of ours
        "x": nir.Input(np.array([2])),
        "a": nir.Linear(eye),
        "n": nir.IF(ones, ones),
        "b": nir.Linear(eye),
        "skip": nir.Linear(eye),  # netx has no two synapses of one neuron
        "m": nir.IF(ones, 2 * ones),
        "c": nir.Linear(eye),
        "o": nir.I(ones),
        "out": nir.Output(np.array([2])),
    }
    edges = [("x", "a"), ("a", "n"), ("n", "b"), ("b", "m"), ("x", "skip"), ("skip", "m")]
    edges += [("m", "c"), ("c", "o"), ("o", "out")]
    nir.write(tmp_path / "model.nir", nir.NIRGraph(nodes, edges))
    labels = np.arange(4) % 2  # each sample is its class's input, on at every step
    inputs = np.tile(np.eye(2, dtype=np.uint8)[labels], (4, 1, 1))
    np.savez(tmp_path / "data.npz", inputs=inputs, labels=labels)
    words = [str(tmp_path / "model.nir"), "--data", str(tmp_path / "data.npz")]
    stated = {"dt": "1e-3", "reset": "zero", "if-r": "step", "fires": "at"}
    words += [f"--{name}={value}" for name, value in stated.items()]
    words += ["--spike-input", "--netx"]
    words += ["--samples", "4", "--lava", lava]
    done = CliRunner().invoke(app, ["compile", *words, "--out", str(tmp_path / "b")])
    folder = tmp_path / "b"
    assert {"model.nir", "lava/run.py"} | REPORT_ONLY < names(folder), done.output
    assert "model.net" not in names(folder)
    if code == 2:  # the error is what the command line prints; see `purespike.cli.app`
        assert isinstance(done.exception, NotWritten)
        assert "SPIKE-ONLY: every rule" in done.output
        assert "leave out --netx" in done.exception.remedy
    else:
        assert done.exit_code == 1 and "leave out --netx" in done.output, done.output


def test_a_defect_in_a_writer_is_said_and_the_verdict_is_there(tmp_path: Path) -> None:
    built = judged(chain())
    assert built.golden is not None and built.compiled is not None
    golden = replace(built.golden, inputs=built.golden.inputs.astype(object))  # cannot be stored
    with pytest.raises(ValueError, match="Object arrays"):
        write_bundle(
            tmp_path / "b",
            report=built.report,
            options={},
            versions={"purespike": "0"},
            graph=built.compiled.graph,
            golden=golden,
        )
    assert names(tmp_path / "b") == REPORT_ONLY
    flat = {"n": np.zeros(3, np.uint8)}  # no raster can be drawn of these
    with pytest.raises(ValueError, match="not enough values"):
        write_bundle(
            tmp_path / "c",
            report=built.report,
            options={},
            versions={"purespike": "0"},
            graph=built.compiled.graph,
            golden=replace(built.golden, spikes=flat),
        )
    assert "report.json" in names(tmp_path / "c") and "report.html" not in names(tmp_path / "c")


@pytest.mark.parametrize(
    ("ending", "says"),
    [("kill -9 $$", "ended by signal 9"), (None, "names no")],
)
def test_lava_that_fails_is_a_rule_not_run(
    ending: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    if ending is not None:  # a Python that dies with the worker, and answers otherwise
        python.write_text(
            f'#!/bin/sh\n[ "$2" = --versions ] || {ending}\nexec {sys.executable} "$@"\n'
        )
        python.chmod(0o755)
    monkeypatch.setenv("PURESPIKE_LAVA_PYTHON", str(python))
    built = judged(chain(), replace(FAST, lava="fast"))
    (finding,) = [f for f in built.report.findings if f.where == "Lava"]
    assert (finding.rule.id, finding.status) == ("PS010", "NOT RUN")
    assert says in finding.measured, finding
    assert built.report.headline == "NOT PROVED: not run PS010" and built.lava is None
    built.save(tmp_path / "b")
    assert "model.nir" in names(tmp_path / "b") and REPORT_ONLY < names(tmp_path / "b")
