"""Labels that can be none are refused before any work, whichever way they come in."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers.flow_cases import CLASSES, STEPS, resnet, subject
from helpers.rendered import render
from helpers.user_files import foreign
from rich.console import Console

from purespike.compiler.labels import LabelError, checked_labels
from purespike.compiler.report.formats.markdown import to_markdown
from purespike.compiler.report.formats.text import to_text
from purespike.compiler.report.lookup import read_report
from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.rows.verdict import Accuracy, Chance
from purespike.compiler.rules.policy import read_policy
from purespike.errors import InputError
from purespike.flow.build import Options, build
from purespike.flow.inputs.datafile import peek, read_data
from purespike.flow.inputs.opening import open_source
from purespike.flow.inputs.stated import Stated
from purespike.judge.evidence import accuracy_finding
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.bundle.manifest import MANIFEST, file_hash
from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.custom import open_custom
from purespike.trainer.errors import DataError

pytestmark = pytest.mark.usefixtures("parsed_here")

QUICK = Options(lava="none", golden=4)
IMPOSSIBLE: list[tuple[Any, str]] = [
    ([0, 1, 2, 3], r"labels\[3\] = 3"),
    ([0, -1, 2, -5], r"labels\[1\] = -1, and 1 more"),
    ([100, 101, 102, 103], r"labels\[0\] = 100, and 3 more"),
    (np.array([0, 1, 2, 2**63], np.uint64), r"labels\[3\] = 9223372036854775808"),
    ([0.0, 1.5, 2.0, 0.0], r"labels\[1\] = 1.5"),
    ([0.0, 1.0, np.nan, 0.0], r"labels\[2\] = nan"),
    ([0.0, 1.0, 2.0, np.inf], r"labels\[3\] = inf"),
    (["0", "1", "2", "0"], r"labels\[0\] = '0', type <U1"),
    ([True, False, True, True], r"labels\[0\] = True, type bool"),
    (torch.tensor([True, False, True, True]), r"labels\[0\] = True, type bool"),
    (np.array([0, 1, None, 2], object), r"labels\[2\] = None, type object"),
    ([1 + 0j, 1, 2, 0], r"labels\[0\] = \(1\+0j\)"),
    (None, r"shape \(\)"),
    ([0, 1, 2], r"shape \(3,\)"),
    (np.eye(4), "argmax"),
    (np.array([[0], [1], [2], [0]]), r"labels\[:, 0\]"),  # argmax would make each of them 0
    (["x" * 500] * 4, r"labels\[0\] = 'x+\.\.\.x+', type"),
    ([[0], [1, 2], [0], [0]], "not an array"),
]


@pytest.mark.parametrize(("labels", "found"), IMPOSSIBLE)
def test_what_is_no_label_is_named(labels: Any, found: str) -> None:
    with pytest.raises(LabelError, match=found) as caught:
        checked_labels(labels, 4, "here", 3, "the network's output")
    assert caught.value.where == "here" and caught.value.remedy
    if "none of the classes" in caught.value.message:
        assert caught.value.allowed == "whole numbers from 0 to 2: 3 classes, the network's output"


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2, 2], np.array([0, 1, 2, 2], np.uint8), [0.0, 1.0, 2.0, 2.0], torch.arange(4) // 2],
)
def test_whole_numbers_of_any_type_are_labels(labels: Any) -> None:
    found = checked_labels(labels, 4, "here", 3)
    assert found.dtype == np.int64 and found.tolist() == [int(x) for x in labels]


@pytest.mark.parametrize("value", [2**62, 2.0**62, 1e300])
def test_a_label_that_no_network_has_is_told_the_bound(value: float) -> None:
    with pytest.raises(LabelError, match="labels") as caught:
        checked_labels([0, value], 2, "here")
    assert caught.value.allowed == f"whole numbers from 0 to {2**62 - 1}"
    with pytest.raises(LabelError, match="labels") as caught:
        checked_labels(np.array([0, 1.5], np.float16), 2, "here")
    assert caught.value.allowed == "whole numbers from 0"


def test_a_build_refuses_them_before_it_works() -> None:
    case = subject(resnet(), samples=4)
    over = ([0, 1, 2, CLASSES], rf"labels\[3\] = {CLASSES}")
    for labels, found in [over, *IMPOSSIBLE[1:]]:
        if labels is None:  # none are given: nothing is wrong
            continue
        stages: list[str] = []
        with pytest.raises(LabelError, match=found):
            build(replace(case, labels=labels), QUICK, lambda s, d, n: stages.append(s))  # noqa: B023
        assert set(stages) <= {"capture"}


def test_a_data_file_is_refused_before_its_inputs_are_read(tmp_path: Path) -> None:
    network, data = foreign(tmp_path / "model.nir"), tmp_path / "data.npz"
    stated = Stated(1e-3, "zero", "step", 4, True, data=data, fires="above")
    inputs = np.zeros((4, 4, 2), np.uint8)
    for labels, found in IMPOSSIBLE:
        array = labels.numpy() if isinstance(labels, torch.Tensor) else labels
        if array is None or (isinstance(array, list) and array[0] == [0]):
            continue  # no file holds a ragged list
        np.savez(data, inputs=inputs, labels=np.asarray(array))
        if np.asarray(array).dtype == object:
            found = "type object"  # never unpickled
        with pytest.raises(LabelError, match=found) as caught:
            open_source(str(network), stated)
        assert str(data) in caught.value.where
    np.savez(data, inputs=np.zeros((6, 4, 2), np.uint8), labels=np.zeros(6, np.int64))
    with pytest.raises(LabelError, match="steps come first, then samples"):  # they did not here
        open_source(str(network), stated)
    inputs = np.zeros((4, 4, 1 << 14), np.uint8)  # more than is read along with the header
    np.savez(data, inputs=inputs, labels=np.array([0, 1, 2, 2]))
    content = data.read_bytes()
    with zipfile.ZipFile(data) as file:
        inputs_of_it = file.read("inputs.npy")
    at = content.index(inputs_of_it) + (1 << 17)  # behind the header: its checksum is wrong then
    data.write_bytes(content[:at] + b"\1" + content[at + 1 :])
    with pytest.raises(InputError, match="Bad CRC"):
        read_data(data)
    header = peek(data)
    assert (header.steps, header.samples, header.shape) == (4, 4, (1 << 14,))
    assert header.labels is not None and header.labels.tolist() == [0, 1, 2, 2]


def test_a_bundle_with_impossible_golden_labels_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    build(subject(resnet(), samples=4), QUICK).save(folder)
    with np.load(folder / "golden.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for wrong in (arrays["labels"] + 100, arrays["labels"][:2], arrays["labels"].astype(str)):
        np.savez(folder / "golden.npz", **{**arrays, "labels": wrong})
        manifest = json.loads((folder / MANIFEST).read_text())
        path = folder / "golden.npz"
        entry = {"bytes": path.stat().st_size, "sha256": file_hash(path)}
        manifest["files"]["golden.npz"] = entry
        (folder / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(LabelError, match=r"golden\.npz"):
            read_bundle(folder)


def test_fine_tuning_names_the_batch_with_an_impossible_label() -> None:
    case = subject(resnet(), samples=4)
    x = torch.from_numpy(case.spikes).float()
    wrong = torch.tensor([0, 1, CLASSES, 0])
    tuned = replace(case, training=lambda: [(x, torch.zeros(4, dtype=torch.int64)), (x, wrong)])
    with pytest.raises(LabelError, match=rf"labels\[2\] = {CLASSES}") as caught:
        build(tuned, replace(QUICK, qat=1))
    assert caught.value.where == "training data, epoch 0, batch 1"


class Late(torch.utils.data.TensorDataset):
    """The last label is none of the classes."""

    classes = 3

    def __init__(self) -> None:
        frames = torch.zeros(40, STEPS, 1, 4, 4)
        super().__init__(frames, torch.tensor([0, 1, 2, 0] * 9 + [0, 1, 2, 3]))


class Shifted(Late):
    """Its targets count from 1, its samples from 0: nothing is wrong."""

    targets: ClassVar = [1 + i % 3 for i in range(40)]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.tensors[0][index], self.targets[index] - 1


def test_a_data_set_is_looked_through_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(name="label_cases:Late", encoder="events")
    module = type(torch)("label_cases")
    module.Late, module.Shifted = Late, Shifted  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "label_cases", module)
    with pytest.raises(DataError, match="sample 39") as caught:
        open_custom(config, STEPS)
    assert caught.value.found == "3" and "0 to 2: 3 classes" in caught.value.allowed
    open_custom(replace(config, name="label_cases:Shifted"), STEPS)


def test_chance_is_guessing_or_the_commonest_class() -> None:
    chance = Chance.of(classes=4, commonest=60, n=100)
    assert (chance.guessing, chance.commonest) == (0.25, 0.6)
    note = chance.note(Accuracy.of("integer", 60, 100))
    # Wilson, by hand: centre (0.6 + 1.9208 / 100) / (1 + 3.8416 / 100), half width 0.0942
    assert note.startswith("at or below chance: 60.00 % (95 % interval 50.20 to 69.06 %)")
    assert "the commonest class is right in 60.00 %" in note
    assert "guessing among 4 classes in 25.00 %" in note
    assert chance.note(Accuracy.of("integer", 66, 100)).startswith("not told from chance: 66.00 %")
    assert chance.note(Accuracy.of("integer", 90, 100)) == ""
    even = Chance.of(classes=2, commonest=1, n=10)
    assert even.note(Accuracy.of("integer", 5, 10)).startswith("at or below chance: 50.00 %")


def test_every_form_of_the_report_says_that_an_accuracy_is_chance(tmp_path: Path) -> None:
    case = subject(resnet(), samples=8)
    built = build(replace(case, labels=(case.labels + 1) % CLASSES), QUICK)  # 0 of 8 are right
    assert built.report.accuracy[0].correct == 0
    path = tmp_path / "report.json"
    path.write_text(built.report.to_json())
    data = read_report(path)
    assert data.chance is not None and data.chance.classes == CLASSES
    words = "at or below chance: 0.00 %"
    assert all(words in row.note for row in data.accuracy)
    (finding,) = [f for f in data.findings if f.rule.id == "PS012"]
    assert words in finding.measured
    assert words in to_text(data) and words in to_markdown(data) and words in to_html(data)
    console = Console(width=200, file=io.StringIO())
    with console.capture() as shown:
        console.print(render(built.report))
    assert words in shown.get()


def test_a_loss_of_accuracy_says_what_may_be_done_and_what_chance_does() -> None:
    policy = read_policy("strict")
    trained = Accuracy.of("trained (torch)", 561, 597)
    near = accuracy_finding(trained, Accuracy.of("integer", 557, 597), policy, bits=8)
    assert near.status == "FAIL"  # the verdict is of the samples that were given
    assert "4 of 597 samples fewer are right" in near.measured
    assert "intervals overlap: within chance at 95 %" in near.measured
    assert "--qat EPOCHS" in near.remedy and "--bits" not in near.remedy
    far = accuracy_finding(trained, Accuracy.of("integer", 457, 597), policy, bits=4)
    assert "intervals do not overlap" in far.measured and "--bits N" in far.remedy
    equal = accuracy_finding(trained, trained, policy, bits=8)
    assert equal.status == "PASS" and "overlap" not in equal.measured
