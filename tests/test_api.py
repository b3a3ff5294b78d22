"""The public API: its surface, its examples, and that it loads what it needs and no more."""

from __future__ import annotations

import builtins
import doctest
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from helpers.flow_cases import FAST, Plain, subject
from helpers.user_files import foreign
from torch import Tensor, nn

import purespike as ps
from purespike import api, keywords
from purespike.compiler.report.report import Report
from purespike.flow.build import Build, build
from purespike.flow.bundles import OpenBundle, Verification
from purespike.flow.check import Check
from purespike.flow.inputs.stated import Stated
from purespike.flow.simulation import Simulation
from purespike.flow.timeline import Timeline
from purespike.options import Options
from purespike.subject import Samples
from purespike.trainer.training.fit import TrainResult

ROOT = Path(__file__).resolve().parents[1]
STATEMENTS = (
    "dt reset if_r steps spike_input feedback shape data current trust recurrent_bias fires"
)
JUDGING = f"{STATEMENTS} host_encoder policy waivers"
COMPILING = (
    f"{JUDGING} weight_bits calibration per_channel fit_membranes levels qat golden lava "
    "lava_samples nir_strict onnx netx c c_ram"
)
# All that a user may rely on. A change here is one for the changelog.
SURFACE = {
    "Options": "weight_bits calibration per_channel fit_membranes levels qat host_encoder golden "
    "lava lava_samples nir_strict onnx netx c c_ram policy waivers",
    "Samples": "inputs labels calibration training",
    "check": f"network samples static lava progress {JUDGING}",
    "compile": f"network samples name options progress passes dump_graphs {COMPILING}",
    "load": f"network samples name {STATEMENTS}",
    "open_bundle": "folder",
    "train": "network data out aap shortcut steps changes resume progress tensorboard settings",
}
RESULTS: dict[type, str] = {
    Build: "compiled compliant dead findings golden graph headline lava options report save "
    "simulate timeline withheld",
    Check: "compliant data demanded findings graph headline name notes policy to_compile",
    OpenBundle: "bundle compliant findings folder golden graph headline manifest report simulate "
    "timeline verify",
    Verification: "equal examination files findings headline name",
    Simulation: "accuracy decisions executor labels membranes rates spikes",
    Timeline: "equal graph late lava logical save",
    TrainResult: "accuracy checkpoint correct gradient_norm heads interval model n seconds",
}
ERRORS = {"PurespikeError", "Refusal", "UsageError"}
NN = (
    "IF ILIF LIF PLIF ATan AapAvgPool AapDownsample AapMaxPool Accumulate AdaptiveMaxPool2d "
    "Add And AuxiliaryLinear AvgPool2d BatchNorm2d Conv1d Conv2d FastSigmoid Flatten "
    "GlobalAvgPool2d Iand Imported LevelActivation MaxPool2d Neuron Or PiecewiseQuadratic "
    "Rectangular Shaped ShortcutBranch Sigmoid Surrogate Tanh ThresholdBatchNorm2d TimeMean "
    "Triangular Xor encode spike_kernels"
)


def test_the_whole_surface_is_this() -> None:
    assert set(ps.__all__) == set(SURFACE) | ERRORS | {"nn", "__version__"}
    assert dir(ps) == sorted(ps.__all__)
    for name, parameters in SURFACE.items():
        assert list(inspect.signature(getattr(ps, name)).parameters) == parameters.split(), name
    for kind, names in RESULTS.items():
        held = {n for n in dir(kind) if not n.startswith("_")}
        held |= {f.name for f in fields(kind)}
        assert held == set(names.split()), kind
    assert ps.nn.__all__ == NN.split() and all(hasattr(ps.nn, name) for name in ps.nn.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Compile'"):
        ps.Compile  # noqa: B018
    assert callable(builtins.compile) and ps.compile is api.compile


def test_keywords_are_the_options_and_statements_and_nothing_else() -> None:
    options, stated = get_type_hints(Options), get_type_hints(Stated)
    taken = get_type_hints(keywords.Compiling)
    assert set(taken) == set(options) | set(stated)
    for name, kind in taken.items():
        if name not in ("policy", "waivers", "data"):  # files, too
            assert kind == {**options, **stated}[name], name
    shown = inspect.signature(ps.compile).parameters
    for f in (*fields(Options), *fields(Stated)):
        default = "strict" if f.name == "policy" else f.default
        assert shown[f.name].default == default, f.name
    for name in ("compile", "check", "load"):
        for parameter in inspect.signature(getattr(ps, name)).parameters.values():
            assert parameter.annotation is not inspect.Parameter.empty


# Examples.


def run_examples(texts: dict[str, str], names: dict[str, Any]) -> None:
    """Run doctests in one namespace."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner, said = doctest.DocTestRunner(optionflags=flags), []
    for name, text in texts.items():
        test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
        assert test.examples, f"{name} has no example"
        test.globs = names
        runner.run(test, out=said.append, clear_globs=False)
    assert not runner.summarize(verbose=False).failed, "".join(said)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_call_has_an_example_that_runs(here: Path) -> None:
    order = ("compile", "check", "load", "open_bundle", "train", "Samples")
    assert {*order, "Options"} == set(SURFACE)  # of options, docs/api.md has one
    texts = {name: inspect.getdoc(getattr(ps, name)) or "" for name in order}
    run_examples(texts | {"nn": ps.nn.__doc__ or ""}, {})
    assert (here / "report.html").stat().st_size > 10_000


def test_the_page_runs(here: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.DOTALL)
    run_examples({"docs/api.md": "\n".join(blocks)}, {})


def test_the_python_lines_of_the_readme_run(here: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    case = subject(Plain(nn.Identity()), samples=4)
    names: dict[str, Any] = {"model": case.model, "x_test": case.spikes, "y_test": case.labels}
    assert blocks
    for block in blocks:
        exec(builtins.compile(block, "README.md", "exec"), names)
    assert (here / "bundle" / "manifest.json").exists()


# What is loaded.


def _loaded(script: str) -> set[str]:
    watched = "{'torch', 'numpy', 'onnx', 'onnxruntime', 'lightning', 'h5py'}"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}\nprint(*({watched} & set(sys.modules)))"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_loads_nothing_and_no_call_more_than_it_needs(tmp_path: Path) -> None:
    assert _loaded("import purespike; dir(purespike)") == set()
    assert "torch" not in _loaded("from purespike import Options, Samples, check, compile")
    saved = build(subject(Plain(nn.Identity()), samples=4), FAST)
    saved.save(tmp_path / "bundle")
    script = f"""
import purespike as ps
bundle = ps.open_bundle({str(tmp_path / "bundle")!r})
assert ps.check({str(tmp_path / "bundle" / "model.nir")!r}, static=True).compliant
assert bundle.simulate(bundle.golden.inputs).decisions.shape == (4,)
"""
    assert not {"torch", "lightning"} & _loaded(script)


def test_an_import_costs_next_to_nothing() -> None:
    """Beyond Python itself: less than 30 ms of its own and of all that it imports."""
    took = []
    for _ in range(3):  # a busy machine counts in
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import purespike"],
            capture_output=True,
            text=True,
            check=True,
        )
        rows = [line for line in done.stderr.splitlines() if line.endswith("| purespike")]
        took.append(int(rows[0].split("|")[1]))  # microseconds, cumulative
    assert min(took) < 30_000, took


# What it takes.


def test_a_module_compiles_with_samples_in_memory() -> None:
    case = subject(Plain(nn.Identity()), samples=4)
    given = build(case, FAST)
    samples = ps.Samples(torch.from_numpy(case.spikes).float(), case.labels.tolist())
    made = ps.compile(case.model, samples, name="case", options=FAST)
    assert made.report.to_json() == given.report.to_json()
    again = ps.compile(case, golden=8, lava="none", lava_samples=8, policy=FAST.policy)
    assert again.report.to_json() == given.report.to_json()
    other = ps.compile(case, ps.Samples(case.spikes[:, :2]), golden=2, lava="none")
    assert other.report.samples == 2 and other.report.chance is None


def test_paths_with_samples_in_memory(tmp_path: Path) -> None:
    path = foreign(tmp_path / "model.nir")
    said: dict[str, Any] = {"dt": 1e-3, "reset": "zero", "if_r": "step", "spike_input": True}
    said |= {"fires": "above"}
    x = np.random.default_rng(0).random((4, 6, 2)) < 0.5
    made = ps.compile(path, ps.Samples(x), **said, golden=2, lava="none")  # T is that of the data
    assert made.golden is not None and made.golden.inputs.shape == (4, 2, 2)
    made.save(tmp_path / "bundle")
    with pytest.raises(ps.UsageError, match="does not fit"):
        ps.compile(path, ps.Samples(x), **said, steps=5)
    with pytest.raises(ps.UsageError, match="given twice"):
        ps.compile(path, ps.Samples(x), **said, data="x.npz")
    with pytest.raises(ps.PurespikeError) as caught:
        ps.compile(str(path))
    assert {"dt", "steps", "reset", "if_r"} <= set(caught.value.open)
    bundle = ps.load(tmp_path / "bundle", ps.Samples(x))
    assert bundle.spikes.shape == (4, 6, 2) and not bundle.labelled
    assert ps.load(str(tmp_path / "bundle")).spikes.shape == (4, 2, 2)
    checked = ps.check(path, steps=4, **said)
    assert checked.to_compile and not checked.compliant
    built = ps.check(path, ps.Samples(x), lava=False, **said)
    assert built.headline == "NOT PROVED: not run PS010, PS012"


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: ps.compile(5), "not a network"),  # type: ignore[arg-type]
        (lambda: ps.compile("nothing.nir"), "no network of this name"),
        (lambda: ps.compile(Plain(nn.Identity())), "does not say what it takes"),
        (lambda: ps.compile("m.nir", np.zeros((1, 1, 1))), "second argument"),  # type: ignore[arg-type]
        (lambda: ps.compile("m.nir", lvaa="fast"), "did you mean lava"),  # type: ignore[call-arg]
        (lambda: ps.check("m.nir", weight_bits=4), "no such option"),  # type: ignore[call-arg]
        (lambda: ps.load("m.nir", policy="leaky"), "no such option"),  # type: ignore[call-arg]
        (lambda: ps.compile("m.nir", policy="lenient"), "unknown policy"),
        (lambda: ps.compile("m.nir", waivers=5), "waivers"),  # type: ignore[arg-type]
        (lambda: ps.compile("m.nir", options={"lava": "none"}), "not options"),  # type: ignore[arg-type]
        (lambda: ps.compile(subject(Plain(nn.Identity())), dt=1e-3), "does not take dt"),
        (lambda: ps.Samples([[1, 0]]), "needs samples"),
        (lambda: ps.Samples(np.zeros((2, 3, 4)), [0, 1]), "one label per sample"),
        (lambda: ps.Samples(np.zeros((2, 3, 4)), calibration=np.zeros((2, 3, 5))), "form of"),
        (lambda: ps.open_bundle("nothing"), "nothing"),
        (lambda: ps.train("no-such-recipe"), "cannot be read"),
        (lambda: ps.train(epochs=nn), "cannot have this value"),
        (lambda: ps.train(epoch=5), "epoch"),
    ],
)
def test_a_mistake_of_the_caller_is_one_clear_error(call: Any, found: str, here: Path) -> None:
    with pytest.raises(ps.PurespikeError, match=found) as caught:
        call()
    assert isinstance(caught.value, ps.UsageError) and not list(here.iterdir())


# Models of other frameworks.


class Step(nn.Module):
    """One time step of snnTorch, which ends in spikes or in currents."""

    def __init__(self, fires: bool) -> None:
        snn = pytest.importorskip("snntorch")
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.lif1 = nn.Conv2d(2, 4, 3, padding=1), snn.Leaky(beta=0.75)
        self.fc, self.lif2 = nn.Linear(4 * 36, 3), snn.Leaky(beta=0.75)
        self.fires = fires

    def forward(self, x: Tensor) -> Tensor:
        """(B, 2, 6, 6) to (B, 3)."""
        spikes, _ = self.lif1(self.conv(x))
        currents = self.fc(spikes.flatten(1))
        return self.lif2(currents)[0] if self.fires else currents  # type: ignore[no-any-return]


def jelly(mode: str, fires: bool) -> nn.Module:
    pytest.importorskip("spikingjelly")
    from spikingjelly.activation_based import functional, layer, neuron

    torch.manual_seed(0)
    parts = [layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(), layer.Flatten()]
    parts += [layer.Linear(4 * 36, 3), *([neuron.IFNode()] if fires else [])]
    model = nn.Sequential(*parts)
    functional.set_step_mode(model, mode)
    return model


@pytest.mark.parametrize("fires", [True, False])
@pytest.mark.parametrize("kind", ["snntorch", "m", "s"])
def test_models_of_other_frameworks_compile_as_they_are(kind: str, fires: bool) -> None:
    model = Step(fires) if kind == "snntorch" else jelly(kind, fires)
    x = (np.random.default_rng(0).random((5, 6, 2, 6, 6)) < 0.4).astype(np.float32)
    theirs = scores(model, torch.from_numpy(x), kind)
    labels = theirs.argmax(1)
    made = ps.compile(model, ps.Samples(x, labels), golden=2, lava="none", policy="leaky")
    trained = made.report.accuracy[0]
    assert (trained.stage, trained.correct, trained.n) == ("trained (torch)", 6, 6)
    assert made.headline == "NOT PROVED: not run PS010"
    captured = [f for f in made.findings if f.where == "torch: captured graph"]
    assert [f.status for f in captured] == ["PASS"]
    fired = theirs  # and the float graph decides as the framework itself
    assert made.report.accuracy[1].correct == 6 and fired.shape == (6, 3)


def scores(model: nn.Module, x: Tensor, kind: str) -> Tensor:
    """By the framework alone, from rest: summed over time."""
    if kind == "snntorch":
        for part in (model.lif1, model.lif2):
            part.mem = part.init_leaky()
    else:
        from spikingjelly.activation_based import functional

        functional.reset_net(model)
    with torch.no_grad():
        if kind == "m":
            return model(x).sum(0)  # type: ignore[no-any-return]
        if kind == "s":
            return torch.stack([model(s) for s in x]).sum(0)
        mem1, mem2 = model.lif1.init_leaky(), model.lif2.init_leaky()
        total = torch.zeros(x.shape[1], 3)
        for s in x:
            spikes, mem1 = model.lif1(model.conv(s), mem1)
            currents = model.fc(spikes.flatten(1))
            if model.fires:
                spikes, mem2 = model.lif2(currents, mem2)
            total += spikes if model.fires else currents
        return total


# What it gives.


def test_a_build_simulates_what_its_golden_samples_say() -> None:
    case = subject(Plain(nn.Identity()), samples=6)
    made = build(case, FAST)
    ran = made.simulate(ps.Samples(case.spikes, case.labels), membranes=True)
    assert made.golden is not None
    for name, spikes in made.golden.spikes.items():
        np.testing.assert_array_equal(ran.spikes[name], spikes)
        assert ran.rates[name] == pytest.approx(spikes.mean())
    for name, membranes in made.golden.membranes.items():
        np.testing.assert_array_equal(ran.membranes[name], membranes)
    assert ran.accuracy == made.report.accuracy[-1].rate
    assert made.simulate(case.spikes).accuracy is None
    for wrong in (case.spikes[:-1], case.spikes * 3):
        with pytest.raises(ps.PurespikeError):
            made.simulate(wrong)
    with pytest.raises(ps.UsageError, match="cannot have this value"):
        made.simulate(case.spikes, on="gpu")  # type: ignore[arg-type]


def test_a_refused_network_cannot_be_simulated() -> None:
    refused = build(subject(Plain(nn.ReLU()), samples=2), FAST)
    with pytest.raises(ps.UsageError, match="not compiled"):
        refused.simulate(np.zeros((3, 1, 2, 6, 6)))


def test_lava_gives_what_the_cpu_executor_gives() -> None:
    case = subject(Plain(nn.Identity()), samples=2)
    made = build(case, FAST)
    one, two = (made.simulate(case.spikes, on=on) for on in ("cpu", "lava"))  # type: ignore[arg-type]
    np.testing.assert_array_equal(one.decisions, two.decisions)
    assert one.spikes.keys() == two.spikes.keys()
    for name, spikes in one.spikes.items():
        np.testing.assert_array_equal(spikes, two.spikes[name])


SUFFIXES = {
    "html": "<!doctype html>",
    "json": "{",
    "md": "# ",
    "txt": "case",
    "sarif": "{",
    "xml": "<?xml",
}


def test_a_report_is_saved_by_its_suffix(tmp_path: Path) -> None:
    report: Report = build(subject(Plain(nn.Identity()), samples=2), FAST).report
    for suffix, starts in SUFFIXES.items():
        report.save(tmp_path / f"r.{suffix}")
        text = (tmp_path / f"r.{suffix}").read_text()
        assert (starts in text.lower()[:200] and "NOT PROVED" in text) or suffix in ("sarif", "xml")
    with pytest.raises(ps.UsageError, match="format"):
        report.save(str(tmp_path / "r.pdf"))
    assert not (tmp_path / "r.pdf").exists()


def test_what_calls_give_is_one_line_and_shows_in_a_notebook(tmp_path: Path) -> None:
    made = build(subject(Plain(nn.Identity()), samples=2), FAST)
    made.save(tmp_path / "bundle")
    bundle = ps.open_bundle(str(tmp_path / "bundle"))
    verified = bundle.verify(lava=False)
    checked = ps.check(tmp_path / "bundle" / "model.nir", static=True)
    ran = bundle.simulate(bundle.golden.inputs)
    for thing in (bundle, verified, checked, ran, made, Samples(np.ones((1, 1, 1)))):
        assert "\n" not in repr(thing) and len(repr(thing)) < 400
    for shown in (bundle, verified, checked):
        assert shown.headline in shown._repr_html_()
    assert verified.equal and set(verified.files.values()) == {"PASS"}
    (tmp_path / "bundle" / "run.log").write_text("x")
    with pytest.raises(ps.PurespikeError):
        ps.open_bundle(tmp_path / "bundle").verify(lava=False)
