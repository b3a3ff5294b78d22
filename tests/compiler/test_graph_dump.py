"""What `--dump-graphs` writes: the printed graph after each pass, and what that pass changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.strategies import spikes

from purespike.compiler.files.writing import OutputError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.ops import Linear, Neuron
from purespike.compiler.pipeline import (
    REWRITES,
    SAME,
    GraphDump,
    Pass,
    PassError,
    Pipeline,
    compile_graph,
    standard_pipeline,
)


def network() -> Graph:
    nodes = [("n", Neuron(0.5), ("x",)), ("l", Linear(np.eye(16)[:3]), ("n",))]
    return graph_of([*nodes, ("o", Neuron(0.5), ("l",))], x=Edge("x", (16,), SPIKE), steps=2)


def heavier(graph: Graph) -> Graph:
    """Another weight, threshold and reset; the same printed line of the layer."""
    nodes = [
        replace(n, op=Linear(n.op.weight * 1.5)) if isinstance(n.op, Linear) else n
        for n in graph.nodes
    ]
    nodes[0] = replace(nodes[0], op=Neuron(0.25, reset="subtract"))
    return graph.rebuilt(nodes)


def test_each_pass_leaves_its_graph_and_what_it_changed(tmp_path: Path) -> None:
    graph, dump = network(), GraphDump()
    passes = [Pass("heavier", heavier, REWRITES), Pass("nothing", lambda g: g, SAME)]
    done = compile_graph(graph, passes, spikes(graph, 2, 0), watch=dump)
    dump.write(tmp_path / "graphs")
    found = {p.name: p.read_text() for p in (tmp_path / "graphs").iterdir()}
    said = json.loads(found.pop("graphs.json"))
    assert (
        sorted(found)
        == sorted(said["files"])
        == [
            "00_captured.txt",
            "01_heavier.diff",
            "01_heavier.txt",
            "02_nothing.diff",
            "02_nothing.txt",
        ]
    )
    assert found["00_captured.txt"] == f"{graph}\n"
    assert found["01_heavier.txt"] == found["02_nothing.txt"] == f"{done.graph}\n"
    assert [p.get("changed") for p in said["passes"]] == [None, True, False]
    assert found["02_nothing.diff"] == ""
    # Of 48 weights three are 1; a printed graph shows none of them.
    assert found["01_heavier.diff"].splitlines()[:6] == [
        "%n: threshold 0.5 -> 0.25",
        "%n: reset zero -> subtract",
        "%n: amount 0.5 -> 0.25",
        "%l: weight: 3 of 48 values changed, by 0.5 at most",
        "--- before",
        "+++ 01_heavier.txt",
    ]
    lines = found["01_heavier.diff"].splitlines()
    assert [x for x in lines if x.startswith(("-  ", "+  "))] == [
        "-  %n: 16 spike = Neuron(%x, threshold 0.5, decay 1, reset zero)",
        "-  %l: 3 spike = Linear(%n, 3x16)",
        "+  %n: 16 spike = Neuron(%x, threshold 0.25, decay 1, reset subtract)",
        "+  %l: 3 analog[0, 1.5] = Linear(%n, 3x16)",
    ]


def test_a_dump_replaces_a_dump_and_nothing_else(tmp_path: Path) -> None:
    graph = network()
    for _ in range(2):
        dump = GraphDump()
        compile_graph(graph, standard_pipeline(), spikes(graph, 2, 0), watch=dump)
        dump.write(str(tmp_path / "graphs"))
    (tmp_path / "graphs" / "00_captured.txt").write_text("mine now")
    with pytest.raises(OutputError, match="was changed by someone"):
        dump.write(tmp_path / "graphs")


def test_a_pass_that_lies_is_seen(tmp_path: Path) -> None:
    graph, dump = network(), GraphDump()
    liar = standard_pipeline().replaced("merge_equal", Pass("liar", heavier, SAME))
    with pytest.raises(PassError, match="pass liar broke its promise"):
        compile_graph(graph, liar, spikes(graph, 2, 0), watch=dump)
    dump.write(tmp_path / "graphs")
    names = [p["name"] for p in json.loads((tmp_path / "graphs/graphs.json").read_text())["passes"]]
    assert names[-2:] == ["lower_gates", "liar"]


def test_a_pipeline_is_edited_by_name() -> None:
    mine, yours = (Pass(name, lambda g: g, SAME) for name in ("mine", "yours"))
    passes = standard_pipeline()
    names = [p.name for p in passes.after("split_host", mine).before("quantize", yours)]
    assert names[-4:] == ["split_host", "mine", "yours", "quantize"]
    edited = passes.after("split_host", mine).before("quantize", yours)
    assert [p.name for p in edited.chip] == ["yours", "quantize"]
    assert edited.replaced("mine") == passes.before("quantize", yours)
    assert edited["yours"] is yours
    with pytest.raises(PassError, match="no pass of that name") as e:
        passes.replaced("fuse_batch_norm", mine)
    assert e.value.found == "fuse_batch_norm" and "fuse_batchnorm" in e.value.allowed


def test_passes_need_names_of_their_own_and_return_graphs() -> None:
    graph, x = network(), spikes(network(), 2, 0)
    for name in ("captured", "twice"):
        with pytest.raises(PassError, match="two passes have one name") as e:
            compile_graph(graph, [Pass(name, lambda g: g, SAME), Pass("twice", heavier, SAME)], x)
        assert e.value.found == name
    with pytest.raises(PassError, match="pass none returned no graph") as e:
        compile_graph(graph, [Pass("none", lambda g: None, SAME)], x)  # type: ignore[arg-type, return-value]
    assert e.value.found == "NoneType"


def test_two_calls_are_one() -> None:
    graph = network()
    x, passes = spikes(graph, 2, 0), standard_pipeline()
    whole = compile_graph(graph, passes, x)
    parts = compile_graph(compile_graph(graph, passes.network, x), passes.chip, x)
    assert list(parts.stages) == list(whole.stages) and str(parts.graph) == str(whole.graph)
    assert parts.ledger == whole.ledger and parts.scales == whole.scales != {}
    assert compile_graph(whole, Pipeline(()), x) == whole
