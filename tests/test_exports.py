"""The model files of a bundle: their forms, what they carry, and NIR files of other tools."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import onnx
import pytest
from helpers.command_line import inside
from helpers.flow_cases import FAST, Plain, resnet, subject
from helpers.nir_cases import differences
from torch import nn

from purespike.compiler.ir.ops import Conv2d, Linear, Neuron, Scale
from purespike.flow.build import Build, build
from purespike.judge.bundle.contents import examine
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.nir.read import read_extra
from purespike.targets.onnx.metadata import metadata
from purespike.trainer.nn.neuron import IF

pytestmark = pytest.mark.usefixtures("parsed_here")


def soft() -> nn.Module:
    model = Plain(nn.Identity())
    model.neuron1 = IF(reset="subtract", threshold=0.5, amount=1.0)
    return model


@pytest.fixture(scope="module")
def built() -> Build:
    return build(subject(resnet("or")), replace(FAST, onnx="qonnx"))


@pytest.fixture(scope="module")
def bundle(built: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "bundle"
    built.save(folder)
    return folder


def test_nir_carries_domains_scales_and_boundaries(built: Build, bundle: Path) -> None:
    assert built.compiled
    graph = built.compiled.graph
    said = json.loads(nir.read(bundle / "model.nir", type_check=False).metadata["purespike"])
    domains = {n["name"]: n["domain"] for n in (*said["inputs"], *said["nodes"])}
    assert domains == {e.name: [e.domain.lo, e.domain.hi, e.domain.step] for e in graph.edges()}
    assert said["boundaries"]["inputs"] == [e.name for e in graph.inputs]
    assert said["boundaries"]["outputs"] == list(graph.outputs)
    extra = read_extra(bundle / "model.nir")
    assert_notes(built, extra)


@pytest.mark.parametrize("name", ["model.onnx", "model.qonnx.onnx"])
def test_onnx_carries_domains_scales_boundaries_and_readable_names(
    built: Build, bundle: Path, name: str
) -> None:
    assert built.compiled
    graph = built.compiled.graph
    model = onnx.load(bundle / name)
    said = metadata(model)
    assert said["domains"] == {e.name: str(e.domain) for e in graph.edges()}
    assert_notes(built, said)
    # Every node of the network is a tensor of its name (with its element type, if it is not the
    # usual one), and every ONNX node is called by what it makes: a network node or a part of one.
    made = {o for n in model.graph.node for o in n.output}
    forms = {m.removesuffix(f"/{form}") for m in made for form in ("bool", "int32")}
    assert {n.name for n in graph.nodes} <= made | forms
    owners = {e.name for e in graph.edges()}
    for node in model.graph.node:
        assert node.name == node.output[0]
        owner = node.name.split("/")[0].removesuffix("_v_out")
        assert owner in owners, node.name
    origins = {n: entry["origin"] for n, entry in said["nodes"].items()}
    assert origins == {n.name: graph.origin(n.name) for n in graph.nodes}


def assert_notes(built: Build, notes: Any) -> None:
    assert built.compiled
    graph = built.compiled.graph
    # integer = scale * real number: synapses, and neurons, whose inputs share one
    weighing = (Conv2d, Linear, Neuron, Scale)
    assert set(notes["scales"]) == {n.name for n in graph.nodes if isinstance(n.op, weighing)}
    assert all(scale > 0 for scale in notes["scales"].values())
    inputs = [e.name for e in graph.inputs]
    assert notes["boundaries"] == {"inputs": inputs, "host": "arg max"}


def test_qonnx_stands_beside_the_golden_model(bundle: Path) -> None:
    loaded = read_bundle(bundle)
    assert {"model.onnx", "model.qonnx.onnx"} <= set(loaded.manifest["files"])
    assert loaded.manifest["options"]["onnx"] == "qonnx"
    assert metadata(onnx.load(bundle / "model.onnx"))["form"] == "step"
    assert metadata(onnx.load(bundle / "model.qonnx.onnx"))["form"] == "qonnx"
    assert {f.status for f in examine(loaded, lava=False).findings} == {"PASS"}


def test_strict_nir_and_a_sequence_replay_too(tmp_path: Path) -> None:
    made = build(subject(soft()), replace(FAST, nir_strict=True, onnx="sequence"))
    made.save(tmp_path / "b")
    loaded = read_bundle(tmp_path / "b")
    assert loaded.manifest["options"]["nir_strict"] is True
    kinds = {
        type(n).__name__
        for n in nir.read(tmp_path / "b" / "model.nir", type_check=False).nodes.values()
    }
    assert {"I", "Threshold", "Scale"} <= kinds  # the soft reset, in plain nodes
    assert made.compiled and differences(made.compiled.graph, loaded.graph) == []
    assert metadata(onnx.load(tmp_path / "b" / "model.onnx"))["form"] == "sequence"
    assert "model.qonnx.onnx" not in loaded.manifest["files"]
    assert {f.status for f in examine(loaded, lava=False).findings} == {"PASS"}


def test_a_nir_file_of_another_tool_is_judged_under_stated_conventions(
    bundle: Path, tmp_path: Path
) -> None:
    ones = np.ones(2)
    nodes = {
        "in": nir.Input(np.array([3])),
        "fc": nir.Linear(np.array([[3, -4, 5], [6, 7, -8]])),
        "n": nir.IF(r=ones, v_threshold=4 * ones, v_reset=0 * ones),
        "out": nir.Output(np.array([2])),
    }
    path = tmp_path / "other.nir"
    nir.write(path, nir.NIRGraph(nodes, [("in", "fc"), ("fc", "n"), ("n", "out")]))
    silent = inside("check", path, "--static")
    assert silent.returncode == 2
    for name in ("dt", "steps", "reset", "if_r", "fires"):
        assert name in silent.stderr
    stated = ("--dt", "1e-3", "--steps", "4", "--reset", "zero", "--if-r", "step", "--fires", "at")
    judged = inside("check", path, "--static", *stated)
    assert judged.returncode == 1 and "PS001" in judged.stdout, judged.stderr
    spiking = inside("check", path, "--static", *stated, "--spike-input")
    assert judged.stdout.count("FAIL") > spiking.stdout.count("FAIL")
    ours = inside("check", bundle / "model.nir", "--static", "--steps", "99")
    assert ours.returncode == 2 and "steps" in ours.stderr
    folder = inside("check", bundle, "--dt", "1e-3")
    assert folder.returncode == 2 and "a bundle does not take --dt" in folder.stderr
