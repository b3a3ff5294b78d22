"""Every code block of README and the docs runs: here, or in the test that is named here.

Python blocks of a page run in order, in one namespace; what its text speaks of (a model, some
data, a bundle) is made by the page's function. Those of the rules' pages are in
tests/test_rule_examples.py. The tool is pytest, and nothing else.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.docs_blocks import ELSEWHERE, ROOT, SHOWN, Block, blocks, pages
from helpers.flow_cases import FAST, Plain, resnet, subject
from helpers.qonnx_cases import random_network
from torch import nn

import purespike.compiler.passes.quantize.calibrate as calibrating
import purespike.compiler.passes.quantize.grid as grids
import purespike.compiler.passes.quantize.quantize as quantizing
import purespike.compiler.pipeline as passing
import purespike.trainer.capture.trace as tracing
import purespike.trainer.training.checkpoint as checkpoints
import purespike.trainer.training.fine_tuning as tuning
from purespike.compiler.report.report import Report
from purespike.compiler.rules.waiver import read_waivers
from purespike.flow.build import build
from purespike.trainer.data import DataConfig
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build as model_of
from purespike.trainer.training.recipe import read_recipe
from purespike.trainer.training.settings import TrainConfig

MODULES = (calibrating, grids, quantizing, passing, tracing, checkpoints, tuning)

SETUPS: dict[str, Callable[[], dict[str, Any]]] = {}


def assumed(page: str) -> Callable[[Callable[[], dict[str, Any]]], Any]:
    """The decorated function gives the names that a page's Python blocks speak of."""

    def keep(function: Callable[[], dict[str, Any]]) -> Any:
        SETUPS[page] = function
        return function

    return keep


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(block: Block, names: dict[str, Any]) -> None:
    exec(compile(block.text, str(block), "exec"), names)


@assumed("docs/data.md")
def data_page() -> dict[str, Any]:
    return {}


@assumed("docs/networks.md")
def networks_page() -> dict[str, Any]:
    return {"spikes": torch.rand(4, 2, 24, 64, 64).round(), "labels": torch.tensor([0, 1])}


@assumed("docs/passes.md")
def passes_page() -> dict[str, Any]:
    return {"subject": subject(resnet()), "remove_small_weights": lambda graph: graph}


@assumed("docs/report.md")
def report_page() -> dict[str, Any]:
    build(subject(Plain(nn.Identity()), samples=4), FAST).save("bundle")
    return {"Report": Report, "Path": Path}


@assumed("docs/ci.md")
def ci_page() -> dict[str, Any]:
    """A report that a compliant network could have."""
    build(subject(Plain(nn.Identity()), samples=4), FAST).save("bundle")
    report = Path("bundle/report.json")
    text = report.read_text(encoding="utf-8")
    report.write_text(text.replace('"compliant": false', '"compliant": true'), encoding="utf-8")
    return {}


@assumed("docs/targets.md")
def targets_page() -> dict[str, Any]:
    built = build(subject(Plain(nn.Identity()), samples=4), FAST)
    return {"graph": built.graph, "spikes": np.ones((3, 2, 2, 6, 6))}


@assumed("docs/inputs.md")
def inputs_page() -> dict[str, Any]:
    """snnTorch's neurons, of which the page leaves out how they are made."""
    import snntorch

    class Cells(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(48, 4)
            self.fc1, self.fc2 = nn.Linear(5, 6), nn.Linear(6, 3)
            self.lif1, self.lif2 = snntorch.Leaky(beta=0.9), snntorch.Leaky(beta=0.9)

    class Base:
        """``nn.Module`` of the page's first class: with the layers that it leaves out."""

        Module = Cells

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(1, *shape)

    return {
        "nn": Base,
        "torch": torch,
        "x": zeros(2, 6, 6),
        "mem1": zeros(3, 4, 4),
        "mem2": zeros(4),
        "model": nn.Conv3d(2, 3, 1),  # any module: what export takes is its business
        "T": 3,
        "C": 6,
        "H": 6,
        "W": 6,
        "theirs": snntorch.Leaky(beta=0.9),
        "Cells": Cells,
    }


@assumed("docs/quantized-ann.md")
def quantized_page() -> dict[str, Any]:
    """A network of Brevitas, and another that a file of QONNX holds."""
    import brevitas.nn as qnn
    from brevitas.quant import Int8WeightPerTensorFloat, Uint8ActPerTensorFloat

    levels = {"bit_width": 2, "return_quant_tensor": True}
    weights = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": 4, "bias": False}
    model = nn.Sequential(
        qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, **levels),
        qnn.QuantConv2d(2, 4, 3, **weights),
        qnn.QuantReLU(**levels),
        nn.Flatten(),
        qnn.QuantLinear(64, 4, **weights),
    )
    images = torch.rand(8, 2, 6, 6)
    model.train()(images)
    file, inputs = random_network(3)
    onnx.save(file, "net.onnx")
    np.savez("test.npz", inputs=inputs[None], labels=np.zeros(len(inputs), int))
    return {"model": model.eval(), "images": images[None], "labels": [0] * len(images)}


SLOW = {"docs/quantized-ann.md", "docs/passes.md", "docs/networks.md"}  # Lava; FSNN-18 learns
OWN = "tests/test_own_flow.py::test_the_documented_commands_run"
# Single blocks that run elsewhere, or below by name.
NAMED = {
    "README.md:console:0": "tests/test_docs_run.py::test_make_has_the_targets_of_the_readme",
    "README.md:console:1": "tests/test_docs_run.py::test_make_has_the_targets_of_the_readme",
    "README.md:console:2": "tests/test_tutorials.py::test_the_session_of_the_readme",
    "docs/report.md:toml:0": "tests/test_docs_run.py::test_the_waivers_are_read",
    "docs/rules/PS000.md:toml:0": "tests/test_docs_run.py::test_the_waivers_are_read",
    "docs/training.md:toml:0": "tests/test_docs_run.py::test_the_recipe_builds_its_network",
    "docs/training.md:toml:2": "tests/test_docs_run.py::test_the_recipe_builds_its_network",
    "docs/training.md:python:3": "tests/test_docs_run.py::test_the_other_training_lines_run",
    "docs/training.md:python:4": "tests/test_docs_run.py::test_the_other_training_lines_run",
    **{f"docs/training.md:{b}": OWN for b in ("python:0", "python:1", "python:2")},
    **{f"docs/training.md:{b}": OWN for b in ("console:0", "toml:1")},
}


def test_every_block_runs_somewhere() -> None:
    left = []
    for page in pages():
        if page.startswith("docs/tutorials/"):
            continue  # tests/test_tutorial_pages.py
        language, _ = ELSEWHERE.get(page, ("", ""))
        for block in blocks(page):
            here = page in SETUPS and block.language == "python"
            here |= page.startswith("docs/rules/") and block.language in ("python", "console")
            if block.language not in (*SHOWN, language) and not here and str(block) not in NAMED:
                left.append(str(block))
    assert not left, f"no test runs {left}: name it in tests/test_docs_run.py"
    there = {str(b) for page in pages() for b in blocks(page)}
    assert there >= set(NAMED)
    for test in {*NAMED.values(), *(test for _, test in ELSEWHERE.values())}:
        file, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8"), test


@pytest.mark.filterwarnings("ignore")  # of torch's exporters and of Brevitas
@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=pytest.mark.slow if p in SLOW else ()) for p in SETUPS]
)
def test_the_python_blocks_of_a_page_run(page: str, here: Path) -> None:
    names = SETUPS[page]()
    ran = [run(block, names) for block in blocks(page, "python")]
    assert ran


def test_make_has_the_targets_of_the_readme() -> None:
    """Both are run by .ci/run and by everybody who starts; `pip install` by tests/installs."""
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    first, second, _ = blocks("README.md", "console")
    for line in first.text.splitlines():
        assert f"\n{line.split()[2]}:" in make
    extras = set(re.findall(r"purespike\[(\w+)\]", second.text))
    assert extras <= set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )


@pytest.mark.parametrize("page", ["docs/report.md", "docs/rules/PS000.md"])
def test_the_waivers_are_read(page: str, tmp_path: Path) -> None:
    (block,) = blocks(page, "toml")
    (tmp_path / "waivers.toml").write_text(block.text)
    (waiver,) = read_waivers(tmp_path / "waivers.toml", date(2026, 1, 1)).entries
    assert waiver.rule == "PS005"


def test_the_recipe_builds_its_network(tmp_path: Path) -> None:
    first, _, levels = blocks("docs/training.md", "toml")
    (tmp_path / "recipe.toml").write_text(first.text)
    recipe = read_recipe(tmp_path / "recipe.toml", [])
    assert recipe.train.epochs == 30 and recipe.data == DataConfig("event_digits")
    (tmp_path / "levels.toml").write_text(levels.text)
    counting = read_recipe(tmp_path / "levels.toml", []).model
    assert isinstance(counting, ModelConfig) and counting.neuron.levels == 4


def test_the_other_training_lines_run(here: Path) -> None:
    """On small networks; the page names the modules in its text."""
    found = blocks("docs/training.md", "python")
    [additions] = [b for b in found if "spike_kernels" in b.text]
    [tuned] = [b for b in found if "fine_tune" in b.text]
    run(additions, {"model": resnet()})
    config = ModelConfig(2, 4, steps=2, size=(6, 6), stem=4, widths=(4,), strides=(1,))
    checkpoints.save_checkpoint(Path("model"), model_of(config, 1), TrainConfig(), {})
    spikes = torch.rand(2, 8, 2, 6, 6).round()
    names: dict[str, Any] = {
        name: value for module in MODULES for name, value in vars(module).items()
    }
    names |= {"folder": Path("model"), "shape": (2, 6, 6), "steps": 2}
    names |= {"probe": spikes.numpy(), "batches": [(spikes, torch.arange(8) % 4)]}
    run(tuned, names)
    assert names["integers"].nodes
