"""What readers stumbled over with networks and data of their own: it is said, with the remedy."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import purespike as ps
from purespike.axes import AxesWarning
from purespike.compiler.errors import PurespikeError, UsageError
from purespike.compiler.report.formats.markdown import to_markdown
from purespike.compiler.report.formats.text import to_text
from purespike.compiler.report.lookup import read_report
from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.report import Report
from purespike.errors import InputError
from purespike.flow.inputs.given import as_subject
from purespike.flow.inputs.opening import open_source
from purespike.flow.inputs.recipes import look_at_training
from purespike.flow.inputs.stated import Stated
from purespike.subject import Samples
from purespike.trainer.dotted import meant


def network(threshold: float = 0.3) -> nn.Module:
    torch.manual_seed(0)
    hidden = nn.Linear(6, 5), ps.nn.IF(threshold=threshold)
    return nn.Sequential(*hidden, nn.Linear(5, 4), ps.nn.IF(threshold=threshold))


def spikes(*shape: int, rate: float = 0.5) -> Any:
    return (np.random.default_rng(1).random(shape) < rate).astype(np.uint8)


def compiled(model: nn.Module, x: Any, **more: Any) -> Any:
    return ps.compile(model, ps.Samples(x), golden=2, lava="none", **more)


AXES = {
    # steps, samples, labels, T stated: warned?
    "as many": (5, 5, False, False, True),
    "as many, labelled": (5, 5, True, False, True),
    "many steps": (20, 4, False, False, True),
    "many steps, stated": (20, 4, False, True, False),
    "many steps, labelled": (20, 4, True, False, False),
    "few steps": (5, 4, False, False, False),
    "one": (1, 1, False, False, False),
}


NAMES = ("steps", "samples", "labelled", "stated", "warned")


@pytest.mark.parametrize(NAMES, AXES.values(), ids=AXES)
def test_data_whose_axes_may_be_exchanged_are_warned_of(
    steps: int, samples: int, labelled: bool, stated: bool, warned: bool
) -> None:
    data = Samples(spikes(steps, samples, 6), np.zeros(samples, int) if labelled else None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AxesWarning)
        as_subject(network(), data, Stated(steps=steps if stated else None))
    said = [str(w.message) for w in caught if w.category is AxesWarning]
    assert len(said) == warned
    for text in said:
        assert f"T = {steps} steps, {samples} samples" in text and "np.moveaxis" in text


def test_exchanged_axes_are_refused_with_the_order_where_t_is_known(tmp_path: Path) -> None:
    x = spikes(9, 4, 6)  # nine samples of four steps, samples first
    path = tmp_path / "x.npz"
    np.savez(path, inputs=x)
    graph = compiled(network(), spikes(4, 3, 6)).graph
    for attempt in (
        lambda: as_subject(graph, Samples(x)),
        lambda: as_subject(network(), Samples(x), Stated(steps=4)),
        lambda: open_source("my:net", Stated(data=path, steps=4)),
        lambda: Samples(x, np.zeros(9, int)),
    ):
        with pytest.raises(UsageError) as e:
            attempt()
        assert "np.moveaxis(inputs, 0, 1)" in e.value.remedy, e.value


def test_steps_and_samples_stand_beside_the_verdict() -> None:
    from purespike.cli.console import verdict
    from purespike.cli.terminal import err

    report = compiled(network(), spikes(4, 3, 6)).report
    with err.capture() as shown:
        err.print(verdict(report))
    for text in (shown.get(), to_text(report), to_markdown(report)):
        assert "3 samples, T = 4" in text
    assert not report.verdict.silent and "Warning" not in to_text(report)


def test_layers_that_no_input_makes_fire_are_named_everywhere(tmp_path: Path) -> None:
    from purespike.cli.console import verdict
    from purespike.cli.terminal import err

    built = compiled(network(threshold=50.0), spikes(4, 3, 6))
    report = built.report
    assert report.verdict.silent == ("1", "3")
    assert json.loads(report.to_json())["verdict"]["silent"] == ["1", "3"]
    assert Report.from_json(report.to_json()) == report
    with err.capture() as shown:
        err.print(verdict(report))
    for text in (shown.get(), to_text(report), to_markdown(report), to_html(report)):
        assert "no neuron fired for these inputs (3 samples, T = 4): 1, 3" in " ".join(text.split())
    built.save(tmp_path / "bundle")
    assert ps.open_bundle(tmp_path / "bundle").verify(lava=False).equal


def test_a_layer_that_is_silent_among_others_is_named() -> None:
    model = network()
    model[3].threshold = 50.0
    report = compiled(model, spikes(4, 3, 6)).report
    assert report.verdict.silent == ("3",)
    assert "no neuron of these layers fired" in to_text(report)


class Pooled(nn.Module):
    """Pools by sums, averages over time, flattens, classifies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fire = ps.nn.Conv2d(1, 3, 3, padding=1), ps.nn.IF(threshold=0.2)
        self.pool, self.flat, self.fc = ps.nn.AvgPool2d(2), nn.Flatten(), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.flat((4 * self.pool(self.fire(self.conv(x)))).mean(0)))
        return out


def test_flattening_behind_a_mean_over_time_is_exact() -> None:
    torch.manual_seed(0)
    built = compiled(Pooled(), spikes(4, 6, 1, 4, 4))
    assert not [f for f in built.findings if f.status == "FAIL"]
    torch_row = next(r for r in built.report.executors if r.name == "torch, captured")
    assert set(torch_row.shares().values()) == {1.0}


def failed(model: nn.Module, x: Any, rule: str) -> str:
    found = [f for f in compiled(model, x).findings if f.rule.id == rule and f.status == "FAIL"]
    return found[0].remedy


def test_remedies_are_those_of_the_network_in_hand() -> None:
    conv = ps.nn.Conv2d
    for padding, words in ((1, "leave out the padding of the second"), (0, "")):
        side = 4 - 2 * (1 - padding)
        row = conv(1, 2, 3, padding=1), conv(2, 2, 3, padding=padding), ps.nn.IF()
        end = ps.nn.Flatten(), nn.Linear(2 * side * side, 3)
        model, x = nn.Sequential(*row, *end), spikes(4, 3, 1, 4, 4)
        if words:
            assert words in failed(model, x, "PS001")
        else:
            assert not [f for f in compiled(model, x).findings if f.status == "FAIL"]


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = ps.nn.IF(), ps.nn.IF(), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.a(x) + self.b(x))
        return out


def test_a_gate_is_named_as_it_is_written() -> None:
    assert "purespike.nn.Or()" in failed(Joined(), spikes(4, 3, 6), "PS001")
    assert isinstance(ps.nn.Or(), nn.Module)


def test_what_a_compiled_network_is_handed_that_is_no_spike_is_said_with_its_value() -> None:
    x = spikes(4, 3, 6)
    built = compiled(network(), x)
    with pytest.raises(PurespikeError, match="more than spikes") as e:
        built.simulate(0.7 * x)
    assert "0.7" in e.value.found and "encode" in e.value.remedy


def test_inputs_of_a_module_that_are_no_spikes_are_said_by_their_value() -> None:
    remedy = failed(network(), 0.7 * spikes(4, 3, 6), "PS011")
    assert "the inputs hold 0.7" in remedy and "--host-encoder" in remedy
    assert "spike-input" not in remedy and "spike_input" not in remedy


@pytest.mark.parametrize("end", [nn.Softmax(-1), nn.LogSoftmax(-1), "softmax", "log_softmax"])
def test_probabilities_at_the_end_are_to_be_left_out(end: Any) -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = getattr(torch, end)(self.network(x), -1)
            return out

    model = Ends() if isinstance(end, str) else nn.Sequential(network(), end)
    with pytest.raises(PurespikeError, match="probabilities") as e:
        compiled(model, spikes(4, 3, 6))
    assert "leave it out" in e.value.remedy and "arg max" in e.value.remedy


SPELLINGS = {
    "my_net.py": "my_net:make or my_net:Net",
    "my_net": "my_net:make or my_net:Net",
    "my_net.make": "my_net:make?",
    "my_net.Mak": "my_net:make?",
    "my_net.py:make": "my_net:make?",
    "sub/deep.py": "sub.deep:model?",
    "sub.deep.model": "sub.deep:model?",
}


@pytest.mark.parametrize("source", SPELLINGS)
def test_a_network_that_is_named_by_its_file_is_told_its_dotted_path(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_net.py").write_text("def make(): raise SystemExit\nclass Net: pass\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/deep.py").write_text("model = 1\n")
    monkeypatch.chdir(tmp_path)
    for attempt in (
        lambda: open_source(source, Stated(steps=4, shape=(6,))),
        lambda: look_at_training(source, None),
    ):
        with pytest.raises(InputError) as e:
            attempt()
        assert f"did you mean {SPELLINGS[source]}" in e.value.remedy, e.value
    assert not meant("nothing.py") and not meant("nothing.at.all") and not meant("")


def test_the_command_line_says_a_warning_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from purespike.cli.warned import warn_plainly

    usual: list[Any] = []
    monkeypatch.setattr(warnings, "showwarning", lambda *said: usual.append(said))
    warn_plainly()
    warnings.showwarning(AxesWarning("T = 5"), AxesWarning, "given.py", 88)
    assert capsys.readouterr().err == "warning: T = 5\n"
    theirs = UserWarning("theirs"), UserWarning, "theirs.py", 3
    warnings.showwarning(*theirs)
    assert usual == [theirs] and not capsys.readouterr().err


def test_labels_from_1_name_the_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_from_1.py").write_text(
        "from purespike.nn import IF\nfrom torch import nn\n"
        "def make(): return nn.Sequential(nn.Linear(6, 4), IF())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "from_1.npz"
    np.savez(path, inputs=spikes(4, 8, 6), labels=np.arange(8) % 4 + 1)
    with pytest.raises(UsageError, match="none of the classes") as e:
        ps.compile("mine_from_1:make", data=path, golden=2, lava="none")
    assert e.value.where == f"{path} for mine_from_1:make"
    assert "labels run from 1 to 4" in e.value.found and "labels - 1" in e.value.remedy
    assert "from 0 to 3: 4 classes" in e.value.allowed and "module 1" in e.value.allowed


def test_channels_that_stand_last_are_told_where_they_belong() -> None:
    model = nn.Sequential(ps.nn.Conv2d(2, 3, 3, padding=1), ps.nn.IF())
    with pytest.raises(PurespikeError, match="does not fit its input") as e:
        compiled(model, spikes(4, 3, 8, 8, 2))
    assert "np.moveaxis(inputs, -1, 2)" in e.value.remedy
    assert "--shape C,H,W" in e.value.text("command line")
    with pytest.raises(PurespikeError, match="does not fit its input") as e:
        compiled(model, spikes(4, 3, 3, 8, 8))
    assert "in_channels" in e.value.remedy and "moveaxis" not in e.value.remedy


def test_a_network_without_neurons_is_told_to_have_one() -> None:
    findings = compiled(nn.Sequential(nn.Linear(6, 4)), spikes(4, 3, 6)).findings
    (failed,) = [f for f in findings if f.status == "FAIL"]
    assert failed.rule.id == "PS008" and "no spiking neuron" in failed.measured
    assert "purespike.nn.IF()" in failed.remedy


def test_small_words_are_right() -> None:
    with pytest.raises(UsageError, match="no such option") as e:
        compiled(network(), spikes(4, 3, 6), bits=4)
    assert e.value.remedy == "did you mean weight_bits?"
    with pytest.raises(UsageError, match="another number of steps"):
        as_subject(network(), Samples(spikes(9, 2, 6)), Stated(steps=4))


def test_a_report_that_is_not_there_is_told_how_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(PurespikeError, match="the report cannot be read") as e:
        read_report(tmp_path / "absent")
    assert e.value.found == "No such file or directory" and "purespike compile" in e.value.remedy


def test_a_network_among_auxiliary_paths_keeps_its_own_name() -> None:
    from purespike.trainer.networks.attached import attach

    paths = attach(network(), torch.zeros(4, 3, 6), 4, shortcut=["1"])
    assert as_subject(paths, Samples(spikes(4, 3, 6))).name == "Sequential"


def test_a_resource_estimate_counts_in_english() -> None:
    said = [
        f.measured for f in compiled(network(), spikes(4, 3, 6)).findings if f.rule.id == "PS013"
    ]
    assert "1 core, the fullest 0.1 % full" in said and not any("1 cores" in text for text in said)
    assert any(text.startswith("2 cores, 1 chip;") for text in said)
