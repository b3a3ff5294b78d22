"""Networks and data of the user's own: trained with paths by name, deployed without them."""

from __future__ import annotations

import copy
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import own_networks as own
from torch import Tensor, nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.strip_auxiliary import strip_auxiliary
from purespike.trainer.capture.trace import capture
from purespike.trainer.data import DataConfig
from purespike.trainer.errors import CheckpointError, ConfigError, TrainingInterrupted
from purespike.trainer.networks.attached import Attached, logits
from purespike.trainer.networks.own import ModuleConfig, main_of, own_network
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.learner import Learner
from purespike.trainer.training.own import NotCompilableWarning, train_module
from purespike.trainer.training.settings import TrainConfig

NAME = "helpers.own_networks"
CONFIG = TrainConfig(epochs=2, batch_size=16, seed=3)
LONGER = replace(CONFIG, epochs=8)
PATHS = {"aap": ("layer1", "layer2", "layer3"), "shortcut": ("layer2",)}
# A network, and places in it: for both kinds of path.
NETWORKS = {
    "blocks": ("Images", PATHS),
    "neurons of blocks": ("Images", {"aap": ("layer1.2", "layer3.2"), "shortcut": ("layer1.0",)}),
    "vectors": ("Vectors", {"aap": ("lif1", "lif2"), "shortcut": ("lif1",)}),
    "SpikingJelly": ("jelly", {"aap": ("model.2", "model.5"), "shortcut": ("model.2",)}),
    "SpikingJelly, single steps": ("jelly_stepwise", {"aap": ("model.2", "model.5")}),
    "snnTorch": ("Snn", {"aap": ("model.lif1", "model.lif2"), "shortcut": ("model.lif1",)}),
}


def made(name: str, aap: Any = (), shortcut: Any = (), seed: int = 0) -> nn.Module:
    if name in ("jelly", "jelly_stepwise"):
        pytest.importorskip("spikingjelly")
    if name == "Snn":
        pytest.importorskip("snntorch")
    config = ModuleConfig(f"{NAME}:{name}", tuple(aap), tuple(shortcut))
    return own_network(config.module, config, own.SHAPE, own.STEPS, seed=seed).model


def lively(model: nn.Module) -> nn.Module:
    """With weights that let every layer fire."""
    for module in main_of(model).modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data *= 3
            module.weight.data += 0.05
    return model


def bare_graph(model: nn.Module) -> Graph:
    return capture(model, own.SHAPE, own.STEPS).graph


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def weights(folder: Path) -> dict[str, Tensor]:
    return load_checkpoint(folder / "model", trust=True).model.state_dict()


def assert_deployed(model: nn.Module, module: nn.Module) -> None:
    """What the compiler deploys of ``model`` is ``module``, bit for bit."""
    stripped, alone = strip_auxiliary(bare_graph(model)), bare_graph(module)
    assert len(stripped.nodes) == len(alone.nodes)
    for one, other in zip(stripped.nodes, alone.nodes, strict=True):
        assert one.name == f"network.{other.name}" and type(one.op) is type(other.op)
        for name, array in getattr(other.op, "arrays", dict)().items():
            np.testing.assert_array_equal(one.op.arrays()[name], array)  # type: ignore[attr-defined]
    x = own.quadrants(6)[0]
    one, other = run(stripped, x), run(alone, x)
    for name, value in other.values.items():
        mine = one.values.get(f"network.{name}", one.values.get(name))
        np.testing.assert_array_equal(mine, value, err_msg=name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    data = own.quadrants()
    return folder, train_module(f"{NAME}:Images", data, folder, LONGER, progress=False, **PATHS)


@pytest.mark.parametrize(("name", "paths"), NETWORKS.values(), ids=NETWORKS)
def test_paths_change_nothing_of_the_network_that_is_deployed(name, paths):
    model, alone = lively(made(name, **paths)), lively(made(name))
    assert isinstance(model, Attached)
    x = torch.from_numpy(own.quadrants(5)[0]).float()
    for part in (model, alone):
        part.eval()
    heads = logits(model(x))
    assert list(heads) == ["main", "aap", *(f"shortcut.{n}" for n in paths.get("shortcut", ()))]
    assert all(head.shape == (5, own.CLASSES) for head in heads.values())
    assert torch.equal(heads["main"], logits(alone(x))["main"])  # with the same weights, too
    assert_deployed(model, main_of(model))
    assert same(alone.state_dict(), main_of(model).state_dict())


@pytest.mark.parametrize(("name", "paths"), NETWORKS.values(), ids=NETWORKS)
def test_a_graph_says_what_the_paths_compute(name, paths):
    """An independent second computation of the auxiliary heads, too: the compiler's interpreter."""
    model = lively(made(name, **paths)).eval()
    x = own.quadrants(5)[0].astype(np.float32)
    with torch.no_grad():
        heads = logits(model(torch.from_numpy(x)))
    graph = bare_graph(model)
    trace = run(graph, x)
    rates = [trace.values[n.name].mean() for n in graph.nodes if isinstance(n.op, Neuron)]
    assert len(rates) >= 3 and all(0 < rate < 1 for rate in rates), rates
    timed = name not in ("Images",)  # its 'main' is a mean over time already
    for output, (head, value) in zip(graph.outputs, heads.items(), strict=True):
        found = trace.values[output]
        found = found.mean(0) if head == "main" and timed else found[-1]
        np.testing.assert_allclose(found, value, rtol=0, atol=1e-4, err_msg=head)


@pytest.mark.parametrize(("name", "paths"), NETWORKS.values(), ids=NETWORKS)
def test_gradients_flow_through_each_path(name, paths):
    model = made(name, **paths).train()
    x, labels = (torch.from_numpy(a) for a in own.quadrants(16))
    heads = logits(model(x.float()))
    first = next(p for p in main_of(model).parameters() if p.dim() > 1)
    norms = {}
    for head, value in heads.items():
        loss = nn.functional.cross_entropy(value, labels)
        (gradient,) = torch.autograd.grad(loss, [first], retain_graph=True)
        norms[head] = float(gradient.norm())
    assert all(norm > 0 for norm in norms.values()), norms


def test_a_path_trains_what_is_in_front_of_its_place_only():
    model = made("Images", shortcut=["layer2"]).train()
    x, labels = (torch.from_numpy(a) for a in own.quadrants(16))
    loss = nn.functional.cross_entropy(logits(model(x.float()))["shortcut.layer2"], labels)
    loss.backward()
    moved = {n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None}
    assert moved == {"layer1", "layer2", "0"}  # the last is the branch


@pytest.mark.parametrize("prefix", ["", "model."])
def test_modules_of_other_frameworks_go_by_the_users_names(prefix):
    model = made("Snn", aap=[f"{prefix}lif1", f"{prefix}lif2"], shortcut=[f"{prefix}lif1"])
    assert isinstance(model, Attached)
    assert model.places == (("model.lif1", "model.lif2"), ("model.lif1",))
    with pytest.raises(ConfigError, match="no such module"):
        made("Snn", shortcut=["lif9"])


REFUSED = {
    "no such module": ("Images", {"aap": ("layer1", "layer9")}, "no such module", "layer1"),
    "currents": ("Images", {"aap": ("layer1.0", "layer2")}, "adds up spikes", "Conv2d"),
    "one place": ("Images", {"aap": ("layer1",)}, "needs places", "two or more"),
    "not run": ("Images", {"shortcut": ("unused",)}, "does not run", "unused"),
    "nothing reads it": ("Twice", {"shortcut": ("layer3",)}, "does not depend", "layer3"),
    "runs twice": ("Twice", {"shortcut": ("layer3.0",)}, "runs several times", "2 calls"),
    "after the time": ("Images", {"shortcut": ("fc",)}, "cannot read", "(2, 4)"),
    "images and vectors": ("Images", {"aap": ("layer3", "flat")}, "cannot be carried", "(24,)"),
    "heads of its own": ("Heads", {"aap": ("layer1", "layer2")}, "heads already", "shortcut.0"),
}


@pytest.mark.parametrize(("name", "paths", "message", "detail"), REFUSED.values(), ids=REFUSED)
def test_where_the_structure_allows_no_path_one_error_says_so(name, paths, message, detail):
    with pytest.raises(ConfigError, match=message) as caught:
        made(name, **paths)
    text = str(caught.value)
    assert detail in text.replace("torch.Size", "") and "auxiliary path at" in text
    assert "to do" in text and len(text.splitlines()) <= 6


def test_images_that_shrink_by_no_stride_are_refused():
    from purespike.trainer.networks.attached import AccumulationPathway

    with pytest.raises(ConfigError, match="cannot be carried"):
        AccumulationPathway([(2, 8, 8), (2, 5, 3)], ["a", "b"], 3)
    AccumulationPathway([(2, 7, 8), (2, 4, 4), (5, 4, 4)], ["a", "b", "c"], 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.at:all", "cannot be made"),
        (f"{NAME}:STEPS", "cannot be made"),
        (f"{NAME}:quadrants", "not a torch module"),
        (lambda: nn.Linear(3, 3), "does not run"),
        (nn.Flatten, "gives no logits"),
        (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(64, 1)), "do not tell classes apart"),
    ],
)
def test_what_is_no_such_network_is_refused(given, message):
    path = given if isinstance(given, str) else ""
    with pytest.raises(ConfigError, match=message):
        own_network(given, ModuleConfig(path), own.SHAPE, own.STEPS)


def test_it_learns_and_says_what_was_held_out(trained, capsys, tmp_path):
    _, result = trained
    assert result.n == 16 and result.accuracy > 0.5  # four classes
    assert set(result.heads) == {"main", "aap", "shortcut.layer2"}
    config = replace(CONFIG, epochs=1, validation=20, deploy="best")
    train_module(f"{NAME}:Images", own.quadrants(), tmp_path / "held", config)
    said = " ".join(capsys.readouterr().err.split())
    assert "44 samples to train on, 20 held out of them for validation, 16 to test" in said


def test_the_checkpoint_is_the_network_without_its_paths_bit_for_bit(trained):
    folder, result = trained
    names = {p.name for p in (folder / "model").iterdir()}
    assert names == {"checkpoint.json", "weights.safetensors"}
    said = json.loads((folder / "model" / "checkpoint.json").read_text())
    assert said["model"]["module"] == f"{NAME}:Images" and said["shape"] == [1, 8, 8]
    with pytest.raises(CheckpointError, match="code that it names") as caught:
        load_checkpoint(folder / "model")
    assert "trust=True" in str(caught.value) and f"{NAME}:Images" in str(caught.value)
    loaded = load_checkpoint(folder / "model", trust=True)
    assert same(loaded.model.state_dict(), result.model.state_dict())
    user = own.Images()  # the weights are the user's own, by the user's own names
    user.load_state_dict(
        {
            name.removeprefix("network."): value
            for name, value in loaded.model.state_dict().items()
            if name.startswith("network.")
        }
    )
    assert_deployed(loaded.model, user.eval())
    again = load_checkpoint(folder / "model", network=own.Images())
    assert same(again.model.state_dict(), loaded.model.state_dict())


def test_a_module_in_memory_is_trained_in_place_and_needed_again(tmp_path):
    module = own.Images()
    before = copy.deepcopy(module.state_dict())
    x, y = own.quadrants()
    data = {"inputs": x[:, :16], "labels": y[:16], "training_inputs": x, "training_labels": y}
    result = train_module(module, data, tmp_path, replace(CONFIG, epochs=1), progress=False)
    assert result.model is module and not same(before, module.state_dict())
    with pytest.raises(CheckpointError, match="made in memory"):
        load_checkpoint(tmp_path / "model", trust=True)
    loaded = load_checkpoint(tmp_path / "model", network=own.Images)
    assert same(loaded.model.state_dict(), module.state_dict())


def cut_short(monkeypatch, folder: Path, *args: Any, epoch: int, **more: Any) -> str:
    original = Learner.training_step

    def step(self: Learner, batch: Any, batch_idx: int) -> Tensor:
        if (self.current_epoch, batch_idx) == (epoch, 1):
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "training_step", step)
        with pytest.raises(TrainingInterrupted) as caught:
            train_module(*args, folder, progress=False, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["Images", *(pytest.param(n, marks=pytest.mark.slow) for n in ("jelly", "Snn"))],
)
def test_a_resumed_training_equals_an_uninterrupted_one(name, tmp_path, monkeypatch):
    """With dropout, validation and all paths, in spite of what else draws random numbers."""
    paths = next(p for n, p in NETWORKS.values() if n == name)
    made(name)  # or skip
    args = (f"{NAME}:{name}", own.Recordings(60))
    config = replace(CONFIG, epochs=3, validation=8)
    train_module(*args, tmp_path / "whole", config, progress=False, **paths)
    torch.rand(7)
    text = cut_short(monkeypatch, tmp_path / "cut", *args, epoch=1, config=config, **paths)
    assert "last.ckpt" in text
    torch.rand(3)
    state = torch.get_rng_state()
    resumed = {**paths, "resume_from": tmp_path / "cut"}
    train_module(*args, tmp_path / "cut", config, progress=False, **resumed)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's generator is left alone
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    for change in ({"shortcut": ()}, {"aap": ()}):
        with pytest.raises(CheckpointError, match="another training"):
            train_module(*args, tmp_path / "cut", config, progress=False, **{**resumed, **change})
    other = (args[0], own.Recordings(65))
    with pytest.raises(CheckpointError, match="another training"):
        train_module(*other, tmp_path / "cut", config, progress=False, **resumed)


def test_firing_rates_of_other_frameworks_are_logged(tmp_path):
    pytest.importorskip("snntorch")
    config = replace(CONFIG, epochs=1)
    train_module(f"{NAME}:Snn", own.quadrants(), tmp_path, config, progress=False)
    header = (tmp_path / "log" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert "rate/model.lif1" in header and "gradient/model.fc1" in header


DATA = {
    "arrays": own.quadrants(),
    "lists": tuple(a.tolist() for a in own.quadrants()),
    "tensors": tuple(torch.from_numpy(a) for a in own.quadrants()),
    "a Dataset": own.Recordings(),
    "a pair": own.pair(),
    "a path": DataConfig(f"{NAME}:pair", encoder="sequence"),
    "a path of arrays": DataConfig(f"{NAME}:quadrants", encoder="sequence"),
}


@pytest.mark.parametrize("data", DATA.values(), ids=DATA)
def test_data_come_in_each_form(data, tmp_path, trained):
    config = replace(CONFIG, epochs=1)
    train_module(f"{NAME}:Images", data, tmp_path, config, progress=False)
    loaded = load_checkpoint(tmp_path / "model", trust=True)
    assert loaded.data == (data if isinstance(data, DataConfig) else None)
    if not isinstance(data, DataConfig) and not isinstance(data[0], own.Recordings):
        train_module(f"{NAME}:Images", DATA["arrays"], tmp_path / "a", config, progress=False)
        assert same(weights(tmp_path), weights(tmp_path / "a"))


X, Y = own.quadrants()
BAD_DATA = {
    "axes": ((np.moveaxis(X, 0, 1), Y), "samples in front", "np.moveaxis"),
    "a label too high": ((X, Y + 1), "none of the classes", "labels[3] = 4"),
    "a label short": ((X, Y[:-1]), "one label per sample", "(79,)"),
    "no labels": ({"inputs": X}, "incomplete", "labels"),
    "not finite": ((np.where(X == 1, np.nan, 0.0), Y), "not finite", "finite numbers"),
    "training of another shape": (
        {"inputs": X, "labels": Y, "training_inputs": X[:3], "training_labels": Y},
        "differ in their shape",
        "(3, 80, 1, 8, 8)",
    ),
    "training without labels": (
        {"inputs": X, "labels": Y, "training_inputs": X},
        "incomplete",
        "training_inputs",
    ),
    "nothing": (7, "not training data", "int"),
    "another size": ((X[..., :4], Y), "does not run", "(4, 2, 1, 8, 4)"),
    "too few": ((X[:, :4], Y[:4]), "too few samples", "4"),
    "too few for a batch": (
        (X[:, :5], Y[:5]),
        "left for training",
        "batch_size <= 4, of 4 samples",
    ),
}


@pytest.mark.parametrize(("data", "message", "detail"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_are_one_clear_error(data, message, detail, tmp_path):
    with pytest.raises(PurespikeError, match=message) as caught:
        train_module(f"{NAME}:Images", data, tmp_path / "run", CONFIG, progress=False)
    assert detail in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_label_of_a_data_set_is_checked_where_it_is_drawn(tmp_path):
    wrong = own.Recordings()
    wrong.labels[42] = 9
    with pytest.raises(PurespikeError, match="none of the classes") as caught:
        train_module(f"{NAME}:Images", wrong, tmp_path, CONFIG, progress=False)
    assert "sample 42" in str(caught.value)


def test_what_cannot_be_deployed_is_said_before_the_training(tmp_path):
    def late(*between: nn.Module) -> nn.Module:
        end = nn.Linear(256, own.CLASSES), *between
        return nn.Sequential(own.block(1, 4), own.Flatten(), *end)

    config = replace(CONFIG, epochs=1)
    undone = late(nn.ReLU(), nn.Linear(own.CLASSES, own.CLASSES))
    with pytest.warns(NotCompilableWarning, match="replace the ReLU by a spiking neuron"):
        train_module(undone, own.quadrants(), tmp_path / "a", config, progress=False)

    def relus() -> nn.Module:
        parts = [own.block(1, 4), nn.ReLU(), own.block(4, 4), nn.ReLU(), own.Flatten()]
        return nn.Sequential(*parts, own.TimeMean(), nn.Linear(256, own.CLASSES))

    with pytest.warns(NotCompilableWarning) as caught:
        train_module(relus, own.quadrants(), tmp_path / "c", config, progress=False)
    [text] = [str(w.message) for w in caught if w.category is NotCompilableWarning]
    all_of_them = "PS004 1: Relu has no place on the chip; PS004 3: Relu has no place on the chip"
    assert f"{all_of_them}; replace" in text  # the remedy once
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotCompilableWarning)
        train_module(f"{NAME}:Images", own.quadrants(), tmp_path / "b", config, progress=False)
        train_module(late(), own.quadrants(), tmp_path / "c", config, progress=False)


def test_images_of_a_data_set_need_steps(tmp_path):
    data = DataConfig("digits")
    module = nn.Sequential(own.Flatten(), own.TimeMean(), nn.Linear(320, 10))
    with pytest.raises(ConfigError, match="how many time steps"):
        train_module(module, data, tmp_path, CONFIG, progress=False)
    config = replace(CONFIG, epochs=1, batch_size=512)
    result = train_module(module, data, tmp_path, config, steps=2, progress=False)
    assert result.n == 360
