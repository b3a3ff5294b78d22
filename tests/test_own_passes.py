"""A team's own passes in a build, and the graphs between passes, from Python and the terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.flow_cases import FAST, average_pool_in_the_middle, resnet, subject
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Conv2d, Neuron
from purespike.compiler.pipeline import REWRITES, SAME, Pass, PassError
from purespike.flow.build import build
from purespike.judge.bundle.contents import examine
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.nir.emit import write_nir


def pruned(graph: Graph) -> Graph:
    """Without its smallest weights: what a team's own pass might do."""

    def prune(op: Any) -> Any:
        if not isinstance(op, Conv2d):
            return op
        small = np.abs(op.weight) < np.quantile(np.abs(op.weight), 0.2)
        return replace(op, weight=np.where(small, 0.0, op.weight))

    return graph.rebuilt([replace(n, op=prune(n.op)) for n in graph.nodes])


def test_own_passes_stand_in_the_ledger_and_the_bundle_verifies(tmp_path: Path) -> None:
    prune, last = Pass("prune", pruned, REWRITES), Pass("last", lambda g: g, SAME)
    built = build(
        subject(resnet()),
        FAST,
        passes=lambda p: p.before("quantize", prune).after("quantize", last),
        dump_graphs=str(tmp_path / "graphs"),
    )
    assert [line.name for line in built.compiled.ledger][-3:] == ["prune", "quantize", "last"]  # type: ignore[union-attr]
    said = json.loads((tmp_path / "graphs" / "graphs.json").read_text())
    assert [p["name"] for p in said["passes"]][-3:] == ["prune", "quantize", "last"]
    changes = (tmp_path / "graphs" / "10_prune.diff").read_text()
    assert "%stem.0: weight: 15 of 72 values changed, by" in changes
    built.save(tmp_path / "b")
    bundle = read_bundle(tmp_path / "b")
    assert bundle.notes["scales"] and bundle.said.network.stage == "quantize"  # type: ignore[union-attr]

    wrong = [f for f in examine(bundle, lava=False).findings if f.status != "PASS"]
    assert not wrong, wrong


def test_a_pass_that_breaks_its_promise_stops_a_build_and_leaves_the_graphs(tmp_path: Path) -> None:
    def deaf(graph: Graph) -> Graph:
        ops = [Neuron(99.0) if isinstance(n.op, Neuron) else n.op for n in graph.nodes]
        return graph.rebuilt([replace(n, op=op) for n, op in zip(graph.nodes, ops, strict=True)])

    with pytest.raises(PassError, match="pass deaf broke its promise"):
        build(
            subject(resnet()),
            FAST,
            passes=lambda p: p.after("lower_gates", Pass("deaf", deaf, SAME)),
            dump_graphs=tmp_path / "graphs",
        )
    assert (tmp_path / "graphs" / "07_deaf.diff").is_file()


def test_a_refused_network_leaves_its_graphs(tmp_path: Path) -> None:
    built = build(subject(average_pool_in_the_middle()), FAST, dump_graphs=tmp_path / "graphs")
    assert not built.report.compliant
    assert (tmp_path / "graphs" / "03_fold_scales.txt").is_file()


def test_the_command_writes_graphs_beside_the_bundle(tmp_path: Path) -> None:
    built = build(subject(resnet(), name="net"), FAST)
    write_nir(built.compiled.graph, tmp_path / "model.nir")  # type: ignore[union-attr]
    words = ["compile", str(tmp_path / "model.nir"), "--lava", "none", "--samples", "2"]
    place = ["--out", str(tmp_path / "b"), "--dump-graphs"]
    done = CliRunner().invoke(app, [*words, *place, str(tmp_path / "b" / "graphs")])
    assert done.exit_code != 0 and not (tmp_path / "b").exists()
    assert "into the bundle" in str(done.exception)
    done = CliRunner().invoke(app, [*words, *place, str(tmp_path / "graphs")])
    assert "Bundle:" in done.output, done.output
    assert (tmp_path / "graphs" / "00_captured.txt").read_text().startswith("graph (T = 3")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = CliRunner().invoke(app, [*words, *place, str(tmp_path / "mine")])
    assert "choose another place (--dump-graphs)" in str(done.exception)
