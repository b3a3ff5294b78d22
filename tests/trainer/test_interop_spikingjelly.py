"""SpikingJelly's modules and models, spike for spike against SpikingJelly itself in float64."""

from __future__ import annotations

import copy
import importlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.rules.graph_rules import check_domains
from purespike.judge.capture_check import check_capture
from purespike.judge.static import network_findings
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.errors import ConfigError
from purespike.trainer.nn import layers as ours
from purespike.trainer.nn.neuron import IF

pytest.importorskip("spikingjelly")
from spikingjelly.activation_based import functional, layer, neuron, surrogate

SHAPE = (2, 8, 8)
STEPS = 4


@pytest.fixture(scope="module")
def models() -> Any:
    """The ResNets and VGGs, whose files take torch's download function from torchvision."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            importlib.import_module("torchvision._internally_replaced_utils")
        except ImportError:
            part = ModuleType("torchvision._internally_replaced_utils")
            part.load_state_dict_from_url = torch.hub.load_state_dict_from_url  # type: ignore[attr-defined]
            patch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
            patch.setitem(sys.modules, part.__name__, part)
        package = "spikingjelly.activation_based.model"
        names = ("spiking_resnet", "sew_resnet", "spiking_vgg")
        return {name: importlib.import_module(f"{package}.{name}") for name in names}


def frames(shape: tuple[int, ...] = SHAPE, samples: int = 3, steps: int = STEPS) -> Tensor:
    r = np.random.default_rng(0)
    return torch.tensor((r.random((steps, samples, *shape)) < 0.4).astype(np.float64))


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Statistics and weights as after a training, so that every layer fires and is silent."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0.1, 0.1)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 2.0)
            nn.init.normal_(module.bias, 0.3, 0.2)
    return model.double().eval()


def spikes_of(model: Imported, x: Tensor) -> tuple[dict[str, np.ndarray], Tensor]:
    """What every neuron of SpikingJelly makes, (T, B, ...), and the output."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_hook(
            lambda m, i, o, name=name: seen.setdefault(name, []).append(o.detach())
        )
        for name, module in model.named_modules()
        if isinstance(module, neuron.BaseNode)
    ]
    with torch.no_grad():
        result = model(x)
    for hook in hooks:
        hook.remove()
    whole = {k: v[0] if len(v) == 1 else torch.stack(v) for k, v in seen.items()}
    return {k: v.numpy() for k, v in whole.items()}, result


def assert_same(model: nn.Module, x: Tensor) -> Graph:
    """The captured graph makes the spikes of the model in every layer, and its output."""
    imported = Imported(model)
    imported(torch.ones_like(x))  # whose state must not matter
    graph = capture(imported, tuple(x.shape[2:]), len(x)).graph
    verify(graph)
    trace = run(graph, x.numpy())
    seen, result = spikes_of(imported, x)
    assert seen.keys() == {n.name for n in graph.nodes if isinstance(n.op, ops.Neuron)}
    for name, spikes in seen.items():
        np.testing.assert_array_equal(trace.values[name], spikes, err_msg=name)
        assert 0 < spikes.mean() < 1, f"{name} shows nothing"
    np.testing.assert_allclose(trace.values[graph.outputs[0]], result, rtol=0, atol=1e-9)
    finding, mismatches = check_capture(imported, graph, x.numpy())
    assert finding.status == "PASS"
    assert {m.layer for m in mismatches} == set(seen)
    return graph


NEURONS = [
    neuron.IFNode(v_threshold=0.7),
    neuron.IFNode(v_threshold=0.7, v_reset=None),
    neuron.IFNode(v_threshold=1.0, v_reset=0.25),
    neuron.IFNode(v_threshold=0.5, v_reset=-0.25),
    neuron.HalfThresholdIFNode(v_threshold=0.8),
    neuron.LIFNode(tau=2.0, v_threshold=0.4),
    neuron.LIFNode(tau=3.0, v_threshold=0.6, decay_input=False, v_reset=None),
    neuron.LIFNode(tau=1.6, v_threshold=0.6, v_reset=0.2, surrogate_function=surrogate.ATan()),
    neuron.LIFNode(tau=1.6, v_threshold=0.6, v_reset=-0.2, decay_input=False),
    neuron.ParametricLIFNode(init_tau=1.7, v_threshold=0.4, detach_reset=True),
    neuron.ParametricLIFNode(init_tau=3.0, v_threshold=0.5, v_reset=None, decay_input=False),
]

IDS = [f"{type(n).__name__}{i}" for i, n in enumerate(NEURONS)]


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("node", NEURONS, ids=IDS)
def test_neurons(node: nn.Module, mode: str) -> None:
    model = nn.Sequential(layer.Conv2d(2, 6, 3), copy.deepcopy(node))
    functional.set_step_mode(model, mode)
    assert_same(lively(model), frames())


@pytest.mark.parametrize("v_reset", [0.0, 0.25, None])
def test_ties_fire(v_reset: float | None) -> None:
    """Sums of whole halves meet the threshold exactly, and the membrane keeps whole quarters."""
    model = nn.Sequential(layer.Conv2d(2, 3, 2, bias=False), neuron.IFNode(1.0, v_reset))
    model.double().eval()
    nn.init.constant_(model[0].weight, 0.25)
    graph = assert_same(model, frames())
    x = run(graph, frames().numpy())
    v = x.membranes["model.1"]  # without the neurons that fired, none of which reaches it again
    current = x.values["model.0"]
    before = np.concatenate([np.zeros_like(v[:1]), v[:-1]]) + current
    assert (before == 1.0 - (v_reset or 0.0)).any()


def all_layers() -> nn.Sequential:
    return nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1, bias=False),
        layer.BatchNorm2d(6),
        neuron.IFNode(0.8),
        layer.Dropout2d(0.3),
        layer.MaxPool2d(2, 1),
        layer.Conv2d(6, 6, 3, stride=2, padding=1, groups=2),
        layer.ThresholdDependentBatchNorm2d(1.0, 0.5, 6),
        neuron.LIFNode(2.0, v_threshold=0.3),
        layer.AvgPool2d(2),
        layer.Conv2d(6, 4, 1),
        neuron.ParametricLIFNode(2.0, v_threshold=0.3, v_reset=None),
        layer.AdaptiveAvgPool2d((1, 2)),
        layer.Flatten(),
        layer.Linear(8, 12),
        neuron.IFNode(0.5),
        layer.Dropout(0.5),
        layer.Linear(12, 3),
    )


def test_layers() -> None:
    model = all_layers()
    functional.set_step_mode(model, "m")
    graph = assert_same(lively(model), frames())
    assert not any("Drop" in type(n.op).__name__ for n in graph.nodes)
    del model[6]  # which SpikingJelly has for sequences only
    functional.set_step_mode(model, "s")
    assert_same(model, frames())


def test_containers() -> None:
    model = nn.Sequential(
        layer.SeqToANNContainer(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6)),
        neuron.IFNode(0.5, step_mode="m"),
        layer.MultiStepContainer(layer.Conv2d(6, 4, 3), neuron.LIFNode(v_threshold=0.3)),
        layer.StepModeContainer(True, "m", nn.Conv2d(4, 4, 1), neuron.IFNode(0.3)),
        layer.StepModeContainer(False, "m", nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 9)),
        neuron.IFNode(0.5, step_mode="m"),
    )
    graph = assert_same(lively(model), frames())
    assert "model.2.1" in {n.name for n in graph.nodes}


class Step(nn.Module):
    """One step of a network as people write them, with torch's functions."""

    def __init__(self, function: bool) -> None:
        super().__init__()
        self.function = function
        self.conv = nn.Conv2d(2, 5, 3)
        self.neuron = neuron.IFNode(0.6)
        self.fc = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(self.neuron(self.conv(x)), 3, stride=2)
        x = nn.functional.avg_pool2d(x, 1)
        return self.fc(torch.flatten(x, 1) if self.function else x.flatten(1))


@pytest.mark.parametrize("function", [True, False])
def test_functions_of_a_step(function: bool) -> None:
    assert_same(lively(Step(function)), frames())


# Their networks.


def small_resnet(models: Any, kind: str, **options: Any) -> nn.Module:
    """One block a stage; all widths are SpikingJelly's."""
    file = models[kind]
    cls = file.SpikingResNet if kind == "spiking_resnet" else file.SEWResNet
    return cls(file.BasicBlock, [1, 1, 1, 1], num_classes=5, **options)


@pytest.mark.parametrize("mode", ["m", "s"])
def test_spiking_resnet(models: Any, mode: str) -> None:
    model = small_resnet(
        models, "spiking_resnet", spiking_neuron=neuron.LIFNode, tau=2.0, v_threshold=0.5
    )
    functional.set_step_mode(model, mode)
    graph = assert_same(lively(model), frames((3, 32, 32), samples=1, steps=2))
    assert sum(isinstance(n.op, ops.Neuron) for n in graph.nodes) == 9


@pytest.mark.parametrize("kind", ["IAND", "AND", "ADD"])
def test_sew_resnet(models: Any, kind: str) -> None:
    model = small_resnet(
        models, "sew_resnet", cnf=kind, spiking_neuron=neuron.IFNode, v_threshold=0.7
    )
    functional.set_step_mode(model, "m")
    graph = assert_same(lively(model, 3), frames((3, 32, 32), samples=1, steps=2))
    joins = [n for n in graph.nodes if n.name.endswith(f".{kind.lower()}")]
    assert len(joins) == 4
    wrong = [f for f in check_domains(graph, budget=8) if f.status == "FAIL"]
    assert {f.rule.id for f in wrong} <= {"PS001"}
    sums = [f.where for f in wrong if f.where.startswith("model.layer")]
    assert bool(sums) == (kind == "ADD")
    if kind == "ADD":
        assert sums[:2] == ["model.layer2.0.conv1", "model.layer2.0.downsample.0"]


def vgg(models: Any) -> nn.Module:
    """SpikingJelly's VGG with the classifier of small images; its own has 100 million weights."""
    cfg = [8, "M", 16, "M", 16, 16, "M", 24]
    options = {"spiking_neuron": neuron.IFNode, "v_threshold": 0.6, "init_weights": False}
    with torch.device("meta"):
        model = models["spiking_vgg"].SpikingVGG(cfg, batch_norm=True, **options)
    model.avgpool = layer.AdaptiveAvgPool2d((2, 2))
    model.classifier[0] = layer.Linear(24 * 4, 32)
    model.classifier[3] = layer.Linear(32, 32)
    model.classifier[6] = layer.Linear(32, 5)
    return model.to_empty(device="cpu")


def test_spiking_vgg(models: Any) -> None:
    model = vgg(models)
    functional.set_step_mode(model, "m")
    assert_same(lively(model), frames((3, 32, 32), samples=1))
    functional.set_step_mode(model, "s")
    assert_same(model, frames((3, 32, 32), samples=1))


def sew_blocks(models: Any, kind: str) -> nn.Module:
    """Two of SEW's blocks, one of which halves the image, and a readout over all steps."""
    block = models["sew_resnet"].BasicBlock
    down = nn.Sequential(layer.Conv2d(4, 6, 1, stride=2, bias=False), layer.BatchNorm2d(6))
    options = {"cnf": kind, "spiking_neuron": neuron.IFNode, "v_threshold": 0.8}
    body = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False),
        layer.BatchNorm2d(4),
        neuron.IFNode(0.8),
        block(4, 4, **options),
        block(4, 6, 2, down, **options),
        layer.AdaptiveAvgPool2d(1),
        layer.Flatten(),
        layer.Linear(6, 3),
    )
    functional.set_step_mode(body, "m")
    return nn.Sequential(Imported(body), ours.TimeMean())


def assert_compiles(model: nn.Sequential, minimum: int) -> None:
    """``Sequential(Imported(body), TimeMean())``: integers, no finding, the spikes of the body."""
    graph = capture(model, SHAPE, STEPS).graph
    x = frames(samples=12).numpy()
    compiled = compile_graph(graph, standard_pipeline(), x)
    left = [n.op for n in compiled.graph.nodes if isinstance(n.op, ops.Neuron)]
    assert left and all(op.fixed is not None for op in left)
    fails = [f for f in network_findings(compiled.graph) if f.status == "FAIL"]
    assert not fails
    seen, _ = spikes_of(model[0], torch.from_numpy(x))
    front = run(compiled.stages["split_host"], x)  # real weights, spikes only
    names = [name for name in ("0." + n for n in seen) if name in front.values]
    assert len(names) >= minimum
    for name in names:
        np.testing.assert_array_equal(front.values[name], seen[name[2:]], err_msg=name)
    assert compiled.ledger[-1].agreement > 0.95  # what the rounding to 8 bits leaves


def test_sew_iand_compiles_to_integers(models: Any) -> None:
    assert_compiles(lively(sew_blocks(models, "IAND"), 1), minimum=6)


@pytest.mark.parametrize("node", NEURONS, ids=IDS)
def test_neurons_compile_to_integers(node: nn.Module) -> None:
    body = nn.Sequential(
        layer.Conv2d(2, 6, 3),
        copy.deepcopy(node),
        layer.MaxPool2d(2),
        layer.Flatten(),
        layer.Linear(54, 12),
        copy.deepcopy(node),
        layer.Linear(12, 4),
    )
    assert_compiles(lively(nn.Sequential(Imported(body), ours.TimeMean())), minimum=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["spiking_resnet", "sew_resnet"])
def test_networks_of_full_size_compile_to_integers(models: Any, kind: str) -> None:
    """ResNet-18 as SpikingJelly builds it, with an integer readout over all steps."""
    build = getattr(models[kind], f"{kind}18")
    options = {"cnf": "IAND"} if kind == "sew_resnet" else {}
    body = build(spiking_neuron=neuron.IFNode, v_threshold=0.8, num_classes=10, **options)
    functional.set_step_mode(body, "m")
    x = frames((3, 32, 32), samples=1, steps=2)
    assert_same(lively(body, 1), x)
    model = nn.Sequential(Imported(body), ours.TimeMean())
    graph = capture(model, (3, 32, 32), 2).graph
    compiled = compile_graph(graph, standard_pipeline(), x.numpy())
    assert not [f for f in network_findings(compiled.graph) if f.status == "FAIL"]
    assert all(n.op.fixed for n in compiled.graph.nodes if isinstance(n.op, ops.Neuron))


# What is refused, and where.


class Doubled(layer.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Renamed(neuron.LIFNode):
    """Another name and other defaults."""

    def __init__(self) -> None:
        super().__init__(tau=4.0, v_threshold=0.3)


class Noisy(neuron.IFNode):
    def single_step_functional_forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def patched() -> nn.Module:
    node = neuron.IFNode()
    node.forward = lambda x: x  # type: ignore[method-assign]
    return node


def smooth() -> nn.Module:
    return neuron.IFNode(surrogate_function=surrogate.Sigmoid(spiking=False))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (smooth(), "no exact form"),
        (neuron.IFNode(v_threshold=0.5, v_reset=0.5), "no exact form"),
        (neuron.QIFNode(), "no operation for QIFNode"),
        (layer.GroupNorm(1, 2), "no operation for GroupNorm"),
        (layer.NeuNorm(2, 8, 8), "no operation for NeuNorm"),
        (layer.TLastMultiStepContainer(neuron.IFNode()), "no operation for TLast"),
        (layer.Flatten(2), "no exact form"),
        (layer.MaxPool2d(3, ceil_mode=True), "no exact form"),
        (Doubled(2, 2, 1), "in its own way"),
        (Noisy(), "in its own way"),
        (patched(), "in its own way"),
        (IF(), "takes sequences"),
        (layer.Conv2d(2, 2, 1, step_mode="m"), "time axis for something else"),
        (layer.SeqToANNContainer(nn.Conv2d(2, 2, 1), neuron.IFNode()), "time axis for something"),
        (layer.MultiStepContainer(neuron.IFNode()), "time axis for something else"),
        (nn.Sequential(Imported(neuron.IFNode())), "time axis for something else"),
    ],
)
def test_refused_modules(module: nn.Module, message: str) -> None:
    model = Imported(nn.Identity())
    model.model = nn.Sequential(nn.Identity(), module)
    with pytest.raises(CaptureError, match=message) as e:
        capture(model, SHAPE, STEPS)
    assert e.value.where.startswith("model.1")


def test_refused_outside_of_imported() -> None:
    """There a neuron would start where the last batch left it."""
    model = nn.Sequential(neuron.IFNode(step_mode="m"))
    with pytest.raises(CaptureError, match="time axis") as e:
        capture(model, SHAPE, STEPS)
    assert "Imported" in e.value.remedy


def test_refused_loop_over_time() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron = neuron.IFNode()

        def forward(self, x: Tensor) -> Tensor:
            return self.neuron(x) + self.neuron(x)

    with pytest.raises(CaptureError, match="called twice") as e:
        capture(Imported(Loop()), SHAPE, STEPS)
    assert e.value.where == "model.neuron"


def test_refused_mixture_of_step_modes() -> None:
    with pytest.raises(ConfigError, match="do not agree") as e:
        Imported(nn.Sequential(neuron.IFNode(), neuron.IFNode(step_mode="m")))
    assert "set_step_mode" in e.value.remedy


def test_other_defaults_are_no_other_neuron() -> None:
    assert_same(lively(nn.Sequential(layer.Conv2d(2, 4, 3), Renamed())), frames())


def test_starts_at_rest() -> None:
    """Whatever state somebody left in the model."""
    model = Imported(lively(all_layers()[:3]))
    x = frames()
    fresh = model(x)
    model.model(x[0])
    np.testing.assert_array_equal(model(x).detach(), fresh.detach())


def test_trains_and_is_captured_afterwards() -> None:
    """What a training step leaves in the membranes is gone: neither copied nor gone on from."""
    model = nn.Sequential(Imported(all_layers()[:3]), nn.Flatten(2), nn.Linear(6 * 64, 2))
    x = frames().float()
    model(x).sum().backward()
    assert model[0].model[0].weight.grad.abs().sum() > 0
    np.testing.assert_array_equal(model(x).detach(), model(x).detach())
    assert capture(model, SHAPE, STEPS).graph.outputs == ("2",)
