"""What each rule's page shows as broken breaks that rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from helpers.docs_blocks import blocks
from helpers.flow_cases import FAST, Head, Plain, subject
from torch import nn
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.ir.domain import Domain
from purespike.compiler.rules.policy import STRICT
from purespike.flow.build import Options, build
from purespike.flow.build import Subject as Made
from purespike.trainer.nn import layers
from purespike.trainer.nn.auxiliary import Accumulate
from purespike.trainer.nn.neuron import IF, LIF

# Their pages' lines need more than a test has: what runs in their place.
ELSEWHERE = {
    "PS002": "tests/adversarial/breaking_modules.py",  # a value that only running shows
    "PS009": "tests/adversarial/breaking_graphs.py",  # a schedule that no pass makes
    "PS012": "tests/test_verdict.py",  # needs a trained network
    "PS013": "tests/targets/test_resources.py",  # 268 million weights
    "PS014": "tests/test_independent.py",  # a file that the compiler does not write
}


class Net(Plain):
    """What the pages' lines speak of; ``forward`` is theirs."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.conv3, self.aap_add = layers.Conv2d(4, 4, 3, padding=1), Accumulate()


def shown(rule: str) -> str:
    (block,) = blocks(f"docs/rules/{rule}.md")
    return block.text


def broken(model: nn.Module, **options: Any) -> set[str]:
    """The rules that compiling finds broken."""
    return failed(build(subject(model, samples=4), FAST))


def failed(built: Any, status: str = "FAIL") -> set[str]:
    return {f.rule.id for f in built.findings if f.status == status}


@pytest.mark.parametrize("rule", ["PS001", "PS003"])
def test_a_forward(rule: str) -> None:
    names: dict[str, Any] = {}
    exec(shown(rule), names)
    assert rule in broken(type("Shown", (Net,), {"forward": names["forward"]})())


def test_padded_averages_in_the_middle() -> None:
    names = {"nn": nn, "IF": IF, **vars(layers)}
    exec(shown("PS004"), names)
    assert "PS004" in broken(nn.Sequential(*names["model"], Head(4)))


def test_a_leak() -> None:
    model = Plain(nn.Identity())
    exec(shown("PS005"), {"model": model, "LIF": LIF})
    strict = Options(golden=4, lava="none", policy=STRICT)
    assert "PS005" in failed(build(subject(model, samples=4), strict))


def test_a_wide_layer() -> None:
    wide = eval(shown("PS006"), {"nn": nn})
    with torch.no_grad():
        wide.weight.fill_(1.0)
    model = nn.Sequential(layers.Flatten(), wide, IF(), layers.TimeMean(), nn.Linear(10, 4))
    spikes = np.ones((2, 4, 2000, 1, 1), np.uint8)
    assert "PS006" in failed(build(Made("wide", model, (2000, 1, 1), spikes, [0] * 4), FAST))


def test_many_steps() -> None:
    model = nn.Sequential(
        layers.Flatten(), nn.Linear(9, 3000), IF(), layers.TimeMean(), nn.Linear(3000, 4)
    )
    with torch.no_grad():
        _ = [p.fill_(1.0) for p in model.parameters()]  # all fire at every step
        model[-1].weight[1:] = -1.0
    x = np.ones((1, 2, 9, 1, 1), np.uint8)
    names = {"Subject": Made, "np": np, "model": model, "shape": (9, 1, 1), "x": x, "y": [0, 1]}
    assert "PS007" in failed(build(eval(shown("PS007"), names), FAST))


def test_weights_that_no_chip_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = {
        "in": nir.Input(np.array([2])),
        "w": nir.Linear(np.full((3, 2), 0.25)),
        "if": nir.IF(np.ones(3), np.ones(3)),
        "out": nir.Output(np.array([3])),
    }
    monkeypatch.chdir(tmp_path)
    edges = [("in", "w"), ("w", "if"), ("if", "out")]
    nir.write("foreign.nir", nir.NIRGraph(nodes, edges))
    _, *words = shown("PS008").split()[1:]
    said = CliRunner().invoke(
        app,
        [
            *words,
            *[
                "--dt",
                "1",
                "--reset",
                "zero",
                "--if-r",
                "step",
                "--fires",
                "at",
                "--spike-input",
                "--steps",
                "4",
            ],
        ],
        env={"COLUMNS": "200"},
    )
    assert said.exit_code == 1 and "PS008" in said.output, said.output


def test_no_lava() -> None:
    assert shown("PS010").split()[-2:] == ["--lava", "none"]
    built = build(subject(Plain(nn.Identity()), samples=4), FAST)
    assert "PS010" in failed(built, "NOT RUN") and built.headline.startswith("NOT PROVED")


def test_real_valued_pixels() -> None:
    case = subject(Plain(nn.Identity()), samples=4)
    images = np.random.default_rng(0).random((3, 4, 3, 32, 32))
    model = nn.Sequential(layers.Conv2d(3, 2, 3), IF(), Head(2))
    seen: list[Any] = []
    names = {"Subject": Made, "Domain": Domain, "model": model, "images": images, "y": case.labels}
    exec(
        shown("PS011"),
        {**names, "Options": lambda: FAST, "build": lambda *a: seen.append(build(*a))},
    )
    assert "PS011" in failed(seen[0])


def test_every_page_is_here_or_says_where() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    root = Path(__file__).parents[1]
    for page in sorted((root / "docs" / "rules").glob("PS*.md")):
        rule = page.stem
        if rule in ELSEWHERE:
            assert rule in (root / ELSEWHERE[rule]).read_text(encoding="utf-8")
        elif rule != "PS000":  # its waiver is read by tests/test_docs_run.py
            assert text.count(f'"{rule}"') >= 1
