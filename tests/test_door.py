"""What Python callers may hand in: taken as it is meant, or refused with one clear error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.flow_cases import (
    FAST,
    STEPS,
    LeakingAuxiliary,
    ReluInstead,
    average_pool_in_the_middle,
    resnet,
    subject,
)
from numpy.typing import NDArray

import purespike
from purespike.compiler.choices import Convolution, LavaMode, Method, Range
from purespike.compiler.errors import Refusal, UsageError
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.writing import staged_folder, write_file
from purespike.compiler.labels import LabelError
from purespike.compiler.rules.finding import RULES
from purespike.compiler.rules.graph_rules import refusal
from purespike.compiler.rules.policy import STRICT, Policy, PolicyError, read_policy
from purespike.compiler.storage import OutputError
from purespike.flow.build import Build, build
from purespike.flow.inputs.stated import Stated
from purespike.options import Options
from purespike.subject import Subject, checked_subject
from purespike.targets.bundle.bundle import Golden, read_bundle
from purespike.targets.lava.run.simulate import simulate
from purespike.targets.onnx.emit import write_onnx

# Every option with what it cannot be, and a word of what is allowed there.
WRONG: list[tuple[str, Any, str]] = [
    ("lava", "Stock", "fast, stock, none"),
    ("lava", None, "fast, stock, none"),
    ("lava", np.array(["fast", "stock"]), "fast, stock, none"),
    ("calibration", "entropy", "max, percentile, mse, agreement"),
    ("onnx", "graph", "step, sequence, qonnx"),
    ("levels", 0, "from 1"),
    ("c", 1, "True or False"),
    ("c_ram", 0, "from 1"),
    ("weight_bits", 9, "from 2 to 8"),
    ("weight_bits", 1, "from 2 to 8"),
    ("weight_bits", "8", "a whole number"),
    ("weight_bits", True, "a whole number"),
    ("golden", 2.5, "a whole number"),
    ("golden", 0, "from 1"),
    ("lava_samples", -5, "from 1"),
    ("qat", -1, "from 0"),
    ("per_channel", 1, "True or False"),
    ("fit_membranes", "yes", "True or False"),
    ("host_encoder", None, "True or False"),
    ("nir_strict", np.ones(1, bool), "True or False"),
    ("netx", "", "True or False"),
    ("policy", "leaky", "a Policy"),
    ("waivers", "waivers.toml", "a Waivers"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), WRONG)
def test_an_option_is_checked_when_it_is_given(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(UsageError) as caught:
        Options(**{name: value})
    assert caught.value.where == name and allowed in caught.value.allowed
    assert type(value).__name__ in caught.value.found
    with pytest.raises(UsageError):
        replace(Options(), **{name: value})


def test_every_option_has_a_value_that_it_refuses() -> None:
    assert {name for name, _, _ in WRONG} == {f.name for f in fields(Options)}


def test_a_misspelling_is_told_what_was_meant_in_the_words_of_its_reader() -> None:
    with pytest.raises(UsageError) as caught:
        Options(lava="Stock")  # type: ignore[arg-type]
    assert "did you mean 'stock'?" in str(caught.value) and "lava='fast'" in str(caught.value)
    with pytest.raises(UsageError) as caught:
        Options(weight_bits=9)
    assert "state --bits N" in caught.value.text("command line")
    assert "weight_bits=N" in caught.value.text("python")


def test_numpys_numbers_become_pythons() -> None:
    options = Options(golden=np.int64(4), weight_bits=np.uint8(6), netx=np.True_)  # type: ignore[arg-type]
    assert (options.golden, options.weight_bits, options.netx) == (4, 6, True)
    assert [type(x) for x in (options.golden, options.weight_bits, options.netx)] == [
        int,
        int,
        bool,
    ]
    assert options.described()["golden"] == 4
    stated = Stated(dt=np.float32(0.5), shape=[2, np.int64(3)], data="x.npz")  # type: ignore[arg-type]
    assert stated == Stated(dt=0.5, shape=(2, 3), data=Path("x.npz"))


@pytest.mark.parametrize(
    ("said", "allowed"),
    [
        ({"reset": "zer0"}, "zero, subtract"),
        ({"dt": "1e-3"}, "a number"),
        ({"dt": float("nan")}, "a number"),
        ({"dt": True}, "a number"),
        ({"steps": 0}, "from 1"),
        ({"steps": 4.0}, "a whole number"),
        ({"shape": "2,8,8"}, "whole numbers"),
        ({"shape": 8}, "whole numbers"),
        ({"shape": (2, 8.5)}, "a whole number"),
        ({"data": 5}, "a path"),
        ({"trust": 1}, "True or False"),
    ],
)
def test_a_statement_is_checked_when_it_is_made(said: dict[str, Any], allowed: str) -> None:
    with pytest.raises(UsageError) as caught:
        Stated(**said)
    assert allowed in caught.value.allowed and caught.value.where in said


def test_a_policy_made_in_python_is_checked(tmp_path: Path) -> None:
    for change in ({"accuracy_drop": "1"}, {"leak_multiplies": 1}, {"accuracy_drop": None}):
        with pytest.raises(UsageError):
            replace(STRICT, **change)
    with pytest.raises(PolicyError, match="out of range"):
        replace(STRICT, accuracy_drop=101.0)
    own = tmp_path / "own.toml"
    own.write_text(STRICT.to_toml())
    assert read_policy(own) == read_policy(str(own)) == replace(STRICT, name="own")
    with pytest.raises(UsageError, match="policy"):
        read_policy(None)  # type: ignore[arg-type]


def test_whoever_runs_a_convolution_or_writes_a_form_checks_it_too(tmp_path: Path) -> None:
    graph = build(subject(resnet(), samples=4), replace(FAST, golden=2)).graph
    assert graph is not None
    x = np.zeros((STEPS, 1, 2, 6, 6), np.uint8)
    with pytest.raises(UsageError, match="conv"):
        simulate(graph, x, conv="nonsense")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="onnx"):
        write_onnx(graph, tmp_path / "m.onnx", "steps")  # type: ignore[arg-type]
    assert set(Convolution.__args__) < set(LavaMode.__args__)  # type: ignore[attr-defined]
    assert "percentile" in Method.__args__ and str(Range(2, 8)) == "from 2 to 8"  # type: ignore[attr-defined]


# Errors: the caller's, or about the network.


def _subclasses(kind: type) -> Iterator[type]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


def test_every_refusal_names_a_rule_and_is_a_finding_of_it() -> None:
    kinds = [k for k in _subclasses(Refusal) if k.__module__.startswith("purespike")]
    assert {"QuantizeError", "CaptureError", "AuxiliaryLeak", "IRError"} <= {
        k.__name__ for k in kinds
    }
    for kind in kinds:
        found = refusal(kind("no", where="here", found="this"))
        assert found.rule.id == kind.rule and found.rule in RULES  # type: ignore[attr-defined]
        assert (found.status, found.where, found.measured) == ("FAIL", "here", "no: this")
        assert not issubclass(kind, UsageError)


def test_a_usage_error_is_never_a_verdict() -> None:
    case = subject(resnet(), samples=4)
    options = replace(FAST, golden=2, calibration="agreement")
    with pytest.raises(UsageError, match="needs data"):
        build(case, options)
    with pytest.raises(UsageError, match="needs training data"):
        build(case, replace(FAST, golden=2, qat=1))
    with pytest.raises(UsageError, match="training samples"):
        build(replace(case, training=lambda: []), replace(FAST, golden=2, qat=1))
    with pytest.raises(UsageError, match="another shape"):
        build(replace(case, shape=(2, 6, 7)), FAST)
    with pytest.raises(UsageError, match="another shape"):
        build(replace(case, spikes=case.spikes[:, :, :1]), FAST)
    with pytest.raises(UsageError, match="form of the inputs"):
        build(replace(case, calibration=case.spikes[:-1]), FAST)
    with pytest.raises(UsageError, match="needs samples"):
        build(replace(case, spikes=case.spikes[:, :0], labels=[]), FAST)
    with pytest.raises(UsageError, match="not a network"):
        build(replace(case, model="model.nir"), FAST)  # type: ignore[arg-type]


def test_a_graph_and_data_for_another_one_are_a_usage_error() -> None:
    case = subject(resnet(), samples=4)
    graph = build(case, replace(FAST, golden=2)).graph
    assert graph is not None
    with pytest.raises(UsageError, match="does not fit"):
        build(Subject("g", graph, case.shape, case.spikes[:-1]), FAST)


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        (ReluInstead, "PS004"),
        (LeakingAuxiliary, "PS003"),
        (average_pool_in_the_middle, "PS004"),
    ],
)
def test_a_refusal_is_a_finding(model: Callable[[], torch.nn.Module], rule: str) -> None:
    built = build(subject(model()), FAST)
    assert rule in {f.rule.id for f in built.findings if f.status == "FAIL"}
    assert not built.compliant and built.headline.startswith("NOT SPIKE-ONLY")


# Arrays, tensors, lists, None, paths.


@pytest.fixture(scope="module")
def case() -> Subject:
    return subject(resnet(), samples=4)


@pytest.fixture(scope="module")
def plain(case: Subject) -> Build:
    return build(case, replace(FAST, golden=4))


HOLDERS: dict[str, Callable[[NDArray[Any]], Any]] = {
    "tensor": torch.from_numpy,
    "tensor with gradients": lambda x: torch.from_numpy(x).float().requires_grad_(),
    "bfloat16": lambda x: torch.from_numpy(x).to(torch.bfloat16),
    "sparse": lambda x: torch.from_numpy(x).float().to_sparse(),
    "bool": lambda x: torch.from_numpy(x).bool(),
    "list": lambda x: x.tolist(),
    "tuple of arrays": tuple,
    "float64": lambda x: x.astype(np.float64),
    "other byte order": lambda x: x.astype(">f4"),
    "backwards": lambda x: np.flip(np.flip(x, 0).copy(), 0),
    "not contiguous": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "uint16": lambda x: x.astype(np.uint16),
    "uint64": lambda x: x.astype(np.uint64),
    "long double": lambda x: x.astype(np.longdouble),
}


def _frozen(x: NDArray[Any]) -> NDArray[Any]:
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize("holder", [*HOLDERS, "read-only"])
def test_spikes_and_labels_come_in_any_holder(case: Subject, plain: Build, holder: str) -> None:
    hold = HOLDERS.get(holder, _frozen)
    labels = case.labels if holder == "bool" else hold(case.labels)
    given = replace(case, spikes=hold(case.spikes), labels=labels, calibration=hold(case.spikes))
    taken = checked_subject(given)
    for array in (taken.spikes, taken.calibration):
        np.testing.assert_array_equal(array, case.spikes)
        torch.from_numpy(array.copy())  # a kind that torch knows
        assert min(array.strides) > 0
    np.testing.assert_array_equal(taken.labels, case.labels)
    assert "\n" not in repr(given)


@pytest.mark.parametrize("holder", ["tensor with gradients", "list", "read-only"])
def test_what_holds_the_numbers_changes_nothing(case: Subject, plain: Build, holder: str) -> None:
    hold = HOLDERS.get(holder, _frozen)
    given = replace(case, spikes=hold(case.spikes), labels=hold(case.labels))
    built = build(given, replace(FAST, golden=4))
    assert built.report.to_json() == plain.report.to_json()
    assert built.golden is not None and plain.golden is not None
    np.testing.assert_array_equal(built.golden.inputs, plain.golden.inputs)


def test_without_labels_the_network_decides_and_no_accuracy_is_measured(case: Subject) -> None:
    built = build(replace(case, labels=None), replace(FAST, golden=4))
    assert built.golden is not None and built.report.chance is None
    np.testing.assert_array_equal(built.golden.labels, case.labels)  # of `subject`: its own ones
    assert not [row for row in built.report.accuracy if row.stage.startswith("trained")]
    with pytest.raises(LabelError):
        build(replace(case, labels=[0, 1, None, 2]), FAST)


@pytest.mark.parametrize(
    ("spikes", "found"),
    [
        ([[0, 1], [1]], "not an array"),
        ([["a", "b"]], "not numbers"),
        (np.zeros((3, 2, 2, 6, 6), complex), "not numbers"),
        (np.array([None]), "not numbers"),
        ("spikes.npz", "not numbers"),
        (torch.zeros(3, 2, 2, 6, 6, device="meta"), "not an array"),
        (None, "not numbers"),
        (3, "needs samples"),
    ],
)
def test_what_is_no_array_of_numbers_is_one_error(case: Subject, spikes: Any, found: str) -> None:
    with pytest.raises(UsageError, match=found) as caught:
        build(replace(case, spikes=spikes), FAST)
    assert caught.value.where == "case" and "(T, B, *shape)" in caught.value.allowed


def test_a_build_leaves_the_users_module_in_its_mode(case: Subject) -> None:
    model = resnet()
    model.train()
    next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
    modes = [m.training for m in model.modules()]
    build(replace(case, model=model), replace(FAST, golden=2))
    assert [m.training for m in model.modules()] == modes


@pytest.mark.parametrize("kind", [str, Path, lambda p: os.fsencode(p).decode()])
def test_paths_are_texts_or_paths(plain: Build, tmp_path: Path, kind: Callable[[Any], Any]) -> None:
    plain.save(kind(tmp_path / "bundle"))
    assert read_bundle(kind(tmp_path / "bundle")).report["model"] == "case"


@pytest.mark.parametrize("path", [None, 5, ["a"], object()])
def test_what_is_no_path_is_one_error(plain: Build, path: Any) -> None:
    calls: list[Callable[[Any], object]] = [plain.save, read_bundle, lambda p: write_file(p, "")]
    for call in calls:
        with pytest.raises(UsageError, match="cannot have this value") as caught:
            call(path)
        assert "path" in caught.value.allowed


# Replacing a folder.


@pytest.mark.parametrize("fails", ["first", "second", "second and back"])
def test_a_folder_is_replaced_as_a_whole_or_not_at_all(
    plain: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """Renames of a folder that fail one after the other, as a file system may fail them."""
    bundle = tmp_path / "bundle"
    plain.save(bundle)
    before = {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()}
    calls: list[tuple[str, str]] = []
    rename = os.rename
    failing = {"first": {0}, "second": {1}, "second and back": {1, 2}}[fails]

    def sometimes(source: Any, target: Any) -> None:
        if Path(target).name == "lock":  # of the folder that it is written in
            rename(source, target)
            return
        calls.append((str(source), str(target)))
        if len(calls) - 1 in failing:
            raise OSError(5, os.strerror(5))
        rename(source, target)

    monkeypatch.setattr(os, "rename", sometimes)
    with pytest.raises(OutputError) as caught, staged_folder(bundle, BUNDLE) as stage:
        (stage / "manifest.json").write_text("{}")
    monkeypatch.undo()
    assert caught.value.found == os.strerror(5) and caught.value.where == str(bundle)
    if fails == "second and back":  # nothing could: it says where the old one is
        place = Path(caught.value.remedy.rpartition(" ")[2])
        assert {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()} == before
    else:
        assert {p.name: p.read_bytes() for p in bundle.iterdir() if p.is_file()} == before
        assert [p.name for p in tmp_path.iterdir()] == ["bundle"]
    assert len(calls) == {"first": 1, "second": 3, "second and back": 3}[fails]


def test_there_is_one_implementation_of_replacing_a_folder() -> None:
    root = Path(purespike.__file__).parents[2]
    places = [
        path.relative_to(root).as_posix()
        for folder in ("src", "compiler", "trainer", "targets")
        for path in (root / folder).rglob("*.py")
        if "os.rename(" in path.read_text()
    ]
    assert places == ["compiler/files/writing.py"]


# What a Python user sees.


def test_what_is_public_is_one_line(case: Subject, plain: Build, tmp_path: Path) -> None:
    plain.save(tmp_path / "bundle")
    assert plain.golden is not None
    things = [case, plain, plain.report, plain.graph, plain.golden, Options(weight_bits=4)]
    things += [read_bundle(tmp_path / "bundle"), STRICT, Stated(steps=4), build]
    for thing in things:
        assert "\n" not in repr(thing) and len(repr(thing)) < 500, type(thing)
    assert repr(Options(weight_bits=4)) == "Options(weight_bits=4)"
    assert repr(Options(policy=Policy("own", True, 1.0))) == "Options(policy='own')"
    assert plain.headline in repr(plain) and "findings=" in repr(plain)
    assert "samples=4" in repr(plain.golden) and "T=3" in repr(plain.graph)
    assert repr(replace(case, labels=None)).endswith("samples=4, no labels)")
    assert isinstance(plain.golden, Golden)


def test_a_notebook_shows_the_verdict_and_findings_escaped() -> None:
    built = build(replace(subject(ReluInstead()), name="<b>x</b> & co"), FAST)
    for shown in (built._repr_html_(), built.report._repr_html_()):
        assert "NOT SPIKE-ONLY" in shown and "PS004" in shown and "neuron1" in shown
        assert "<b>" not in shown and "&lt;b&gt;x&lt;/b&gt; &amp; co" in shown
    kept = build(subject(resnet(), samples=4), replace(FAST, golden=2))
    assert "PS010" in kept._repr_html_()  # Lava was not asked for
