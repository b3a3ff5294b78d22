"""What a refused network costs, counted by loops over the real values in torch; and what was not
counted, which no format prints as a number."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.flow_cases import CHANNELS, SIZE, STEPS, Head, Plain, ReluInstead, subject
from helpers.rendered import render
from helpers.report_cases import mistakes, page_of, typed
from rich.console import Console
from torch import Tensor, nn

from purespike.cli.commands.execute import _lava
from purespike.compiler.ir.domain import ANALOG
from purespike.compiler.report.formats.diff import (
    compare_reports,
    difference_tables,
    read_gates,
    tripped,
)
from purespike.compiler.report.formats.markdown import to_markdown
from purespike.compiler.report.formats.text import to_text
from purespike.compiler.report.older import upgraded
from purespike.compiler.report.report import Report
from purespike.compiler.wording import figure
from purespike.flow.build import Build, Options, Subject, build
from purespike.judge.bundle.own_program import run_own
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.trainer.nn.layers import BatchNorm2d, Conv2d
from purespike.trainer.nn.neuron import IF

FAST = Options(golden=4, lava="none")
SAMPLES = 5


class SewAdd(nn.Module):
    """Two blocks joined by SEW's ADD: 0 to 2, then 0 to 3, reach the next convolution."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.bn, self.n0 = Conv2d(CHANNELS, 4, 3, padding=1), BatchNorm2d(4), IF()
        self.conv1, self.n1 = Conv2d(4, 4, 3, padding=1), IF()
        self.conv2, self.n2 = Conv2d(4, 4, 3, padding=1), IF()
        self.conv3, self.n3 = Conv2d(4, 4, 3, padding=1), IF()
        self.head = Head(4)
        for conv in (self.conv1, self.conv2, self.conv3):  # so that every layer fires
            nn.init.uniform_(conv.weight, 0.0, 0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        s = self.n0(self.bn(self.stem(x)))
        s = s + self.n1(self.conv1(s))
        s = s + self.n2(self.conv2(s))
        return self.head(self.n3(self.conv3(s)))


@cache
def case(kind: str) -> Subject:
    torch.manual_seed(0)
    if kind == "sew":
        return subject(SewAdd(), SAMPLES)
    if kind == "relu":
        return subject(ReluInstead(), SAMPLES)
    spikes = subject(Plain(nn.Identity()), SAMPLES)
    if kind == "stem":  # real numbers, the same at every step, straight into the first layer
        image = np.random.default_rng(0).random((1, SAMPLES, CHANNELS, SIZE, SIZE))
        real = np.repeat(image, STEPS, axis=0).astype(np.float32)
        return replace(spikes, spikes=real, domain=ANALOG)
    assert kind == "wrong"  # a value that the declared domain has not
    wrong = spikes.spikes.copy()
    wrong[0, 0, 0, 0, 0] = 3
    return replace(spikes, spikes=wrong)


@cache
def built(kind: str) -> Build:
    return build(case(kind), FAST)


def data_of(kind: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(built(kind).report.to_json())
    assert mistakes(data) == []
    return data


def inputs_of(kind: str) -> dict[str, np.ndarray]:
    """What every layer of the module receives in torch, (T * B, C, H, W)."""
    given = case(kind)
    assert isinstance(given.model, nn.Module)
    seen: dict[str, np.ndarray] = {}
    hooks = [
        module.register_forward_hook(
            lambda m, i, o, name=name: seen.__setitem__(name, i[0].detach().numpy())
        )
        for name, module in given.model.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    with torch.no_grad():
        given.model.eval()(torch.from_numpy(given.spikes).float())
    for hook in hooks:
        hook.remove()
    return {n: x.reshape(-1, *x.shape[-3:]) for n, x in seen.items()}


def meetings(values: np.ndarray, *, every: bool) -> int:
    """Weights of a 3 x 3 convolution to 4 channels, padding 1, that the values meet: plain loops.

    Only what is not zero (an addition each), or every value (a multiplication each).
    """
    total = 0
    for image in values:
        for _, i, j in product(*map(range, image.shape)):
            if every or image[_, i, j]:
                for a, b in product((-1, 0, 1), repeat=2):
                    total += 4 * (0 <= i + a < SIZE and 0 <= j + b < SIZE)
    return total


def layers(data: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {c["name"]: c["counts"] for c in data["census"]["layers"]}


def shown(made: Build) -> str:
    """What the terminal shows."""
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(made.report))
    return console.export_text()


def test_sew_add_is_refused_with_what_it_costs() -> None:
    data, seen = data_of("sew"), inputs_of("sew")
    assert data["verdict"]["headline"].startswith("NOT SPIKE-ONLY: broken PS001")
    assert data["census"]["network"] == "float network, fused" and data["census"]["samples"] == 5
    found = layers(data)
    assert set(np.unique(seen["conv2"])) == {0, 1, 2} and set(np.unique(seen["stem"])) == {0, 1}
    for name in ("stem", "conv1"):
        assert found[name]["ac"] * SAMPLES == pytest.approx(meetings(seen[name], every=False))
        assert found[name]["mac"] == 0
    for name in ("conv2", "conv3"):
        assert found[name]["mac"] * SAMPLES == pytest.approx(meetings(seen[name], every=True))
        assert found[name]["ac"] == 0
    adds = [c for c in data["census"]["layers"] if c["operation"] == "Add"]
    assert [c["counts"]["add"] for c in adds] == [4 * SIZE * SIZE * STEPS] * 2
    assert f"2 ADD joins outside dendrites: {2 * 4 * SIZE * SIZE * STEPS:,}" in to_text(typed(data))
    # The head's averages are folded into its weights: each spike meets four of them.
    head = found["head.3.current"]
    assert head["mac"] == 0 < head["ac"]
    chip = data["census"]["chip"]
    assert chip["mac"] == found["conv2"]["mac"] + found["conv3"]["mac"]
    float32, int8, loihi = data["energy"]
    assert float32["nanojoule_per_sample"] == pytest.approx(
        (0.9 * chip["ac"] + 4.6 * chip["mac"]) / 1000
    )
    assert int8["nanojoule_per_sample"] is not None
    assert loihi["nanojoule_per_sample"] is None  # no chip runs it
    assert data["accuracy"][1]["stage"] == "float network, fused"
    assert {a["name"] for a in data["activity"]} >= {"n0", "n1", "n2", "n3"}


def test_a_direct_coded_stem_multiplies_at_every_step() -> None:
    data, seen = data_of("stem"), inputs_of("stem")
    assert data["verdict"]["headline"].startswith("NOT SPIKE-ONLY: broken PS011")
    found = layers(data)
    assert found["conv1"]["mac"] * SAMPLES == meetings(seen["conv1"], every=True)
    assert found["conv2"]["ac"] * SAMPLES == pytest.approx(meetings(seen["conv2"], every=False))
    assert data["census"]["network"] == "float network, up to the pass that refused it"


def test_a_relu_makes_the_layer_behind_it_multiply() -> None:
    data, seen = data_of("relu"), inputs_of("relu")
    found = layers(data)
    assert found["conv1"]["ac"] * SAMPLES == pytest.approx(meetings(seen["conv1"], every=False))
    assert found["conv2"]["mac"] * SAMPLES == meetings(seen["conv2"], every=True)


def test_what_was_not_counted_is_no_number_in_any_format() -> None:
    data = data_of("wrong")
    census = data["census"]
    assert census["chip"] is census["network"] is census["conventions"] is None
    assert census["not_counted"] == "the test inputs are not what the network takes"
    assert all(e["nanojoule_per_sample"] is None for e in data["energy"])
    assert all(e["nanojoule_range"] == [None, None] for e in data["energy"])
    page = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]+>", " ", page_of(data))
    for text in (to_text(typed(data)), to_markdown(typed(data)), shown(built("wrong")), page):
        assert "not counted" in text
        assert not re.search(r"\b0(\.0+)? ?(AC|MAC|MUL|ADD|CMP|nJ)\b", text), text


def test_a_difference_and_its_gates_know_what_was_not_counted() -> None:
    counted, not_counted = data_of("sew"), data_of("wrong")
    for pair in ((counted, not_counted), (not_counted, counted)):
        difference = compare_reports(*map(typed, pair))
        for row in difference.rows:
            if "a sample on the chip" in row.name or row.name.startswith("energy"):
                assert row.change is None and None in (row.old, row.new), row
        (reason,) = tripped(difference, read_gates(["ac=5"]))
        assert "not measured in both builds" in reason
    none = json.loads(json.dumps(counted))
    none["census"]["chip"]["ac"] = 0
    assert tripped(compare_reports(typed(none), typed(counted)), read_gates(["ac=5"])) == (
        "ac=5: AC grew from none",
    )
    notes = compare_reports(typed(data_of("stem")), typed(counted)).notes
    assert notes and "different networks" in notes[0]


def as_format_2(data: dict[str, Any]) -> dict[str, Any]:
    """What the version before would have written, zeros and all."""
    old = json.loads(json.dumps(data))
    old["format"] = 2
    for key in ("network", "samples", "not_counted"):
        del old["census"][key]
    for row in old["census"]["layers"]:
        del row["arrays"]
    if old["census"]["chip"] is None:
        kinds = ("ac", "mac", "mul", "add", "cmp", "logic", "unknown")
        old["census"]["chip"] = dict.fromkeys(kinds, 0)
        for row in old["energy"]:
            row["nanojoule_per_sample"], row["nanojoule_range"] = 0.0, [0.0, 0.0]
    return old  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["sew", "wrong"])
def test_a_report_of_format_2_is_read_and_its_zeros_are_unknown(kind: str) -> None:
    data = data_of(kind)
    old = as_format_2(data)
    assert mistakes(old)
    read = Report.from_json(json.dumps(old))
    new = read.data()
    assert mistakes(new) == [] and Report.from_json(read.to_json()) == read
    assert new["census"]["chip"] == data["census"]["chip"]
    assert new["energy"] == data["energy"]
    assert {c["arrays"] for c in new["census"]["layers"]} <= {None}
    assert ("not counted" in to_text(read)) == (kind == "wrong")
    assert upgraded({"format": 2}) == {"format": 2} and upgraded([]) == []


@pytest.mark.slow
def test_a_bundle_without_labels_is_not_told_how_many_were_right(tmp_path: Path) -> None:
    unlabelled = replace(subject(Plain(nn.Identity()), SAMPLES), labelled=False)
    made = build(unlabelled, FAST)
    assert made.report.accuracy == () and "Accuracy: not measured" in shown(made)
    made.save(tmp_path / "b")
    bundle = read_bundle(tmp_path / "b")
    plan = schedule(bundle.graph)
    replay = run_own(bundle, emit(bundle.graph, plan, bundle.golden.inputs), plan, 1)
    assert replay.correct is None
    assert "1 samples: no labels" in str(_lava(replay))


def test_what_is_small_never_prints_as_nothing() -> None:
    """A layer that fires for one of many samples, and what its energy is in every text."""
    assert [figure(x) for x in (0, 0.0, 0.04, 0.5, 1.4, 12345.0)] == [
        "0", "0", "0.04", "0.5", "1", "12,345"
    ]  # fmt: skip
    assert figure(0.0095, 1) == "0.0095" and figure(-0.13, 2, "+") == "-0.13"
    data = data_of("sew")
    for layer in data["census"]["layers"]:
        layer["counts"]["ac"] *= 1e-6
    for row in data["energy"]:
        row["nanojoule_per_sample"] = 0.0095
        row["nanojoule_range"] = [0.002, 0.03]
    page = page_of(data)
    assert "0.0095 nJ" in page and "0.002 to 0.03" in page and "0.0 nJ" not in page
    other = json.loads(json.dumps(data))
    other["energy"][0]["nanojoule_per_sample"] = 0.0042
    figures = next(difference_tables(compare_reports(typed(data), typed(other))))
    (row,) = [row for row in figures.rows if str(row[3]).startswith("-")]
    assert (row[1], row[3]) == ("0.0095 nJ", "-0.0053 (-55.79 %)")
