"""Captured graphs run bit-equal to the torch module in float64; what has no meaning is refused."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import ANALOG, SPIKE, Domain
from purespike.compiler.ir.graph import Graph, IRError
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.strip_auxiliary import strip_auxiliary
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.errors import ShapeError
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn import gates, layers
from purespike.trainer.nn.auxiliary import Accumulate, AuxiliaryLinear
from purespike.trainer.nn.neuron import IF, LIF, PLIF, Neuron

SHAPE = (2, 6, 5)
STEPS = 3


def frames(shape: tuple[int, ...] = SHAPE, steps: int = STEPS, seed: int = 0) -> Tensor:
    r = np.random.default_rng(seed)
    return torch.tensor((r.random((steps, 3, *shape)) < 0.4).astype(np.float64))


def lively(model: nn.Module) -> nn.Module:
    """Random statistics and weights, so that every path matters and no membrane meets a tie."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.8, 2.0)
                nn.init.normal_(module.bias, 0.2, 0.2)
    return model.double().eval()


def neurons_of(model: nn.Module, x: Tensor) -> tuple[dict[str, list[Tensor]], Any]:
    """The spikes of every call of every neuron module, and the output."""
    seen: dict[str, list[Tensor]] = {}
    hooks = [
        module.register_forward_hook(
            lambda m, i, o, name=name: seen.setdefault(name, []).append(o.detach())
        )
        for name, module in model.named_modules()
        if isinstance(module, Neuron)
    ]
    with torch.no_grad():
        result = model(x)
    for hook in hooks:
        hook.remove()
    return seen, result


def assert_equal_to_torch(model: nn.Module, x: Tensor, **options: Any) -> Graph:
    graph = capture(model, tuple(x.shape[2:]), len(x), **options).graph
    verify(graph)
    trace = run(graph, x.numpy())
    seen, result = neurons_of(model, x)
    assert seen or not any(isinstance(n.op, ops.Neuron) for n in graph.nodes)
    for name, calls in seen.items():
        for k, spikes in enumerate(calls, start=1):
            edge = name if k == 1 else f"{name}-{k}"
            np.testing.assert_array_equal(trace.values[edge], spikes, err_msg=edge)
            assert 0 < float(spikes.mean()) < 1, f"{edge} shows nothing"
    results = result if isinstance(result, dict) else {"main": result}
    order = ["main", *(k for k, v in results.items() if k != "main" and v is not None)]
    assert len(graph.outputs) == len(order)
    for key, edge in zip(order, graph.outputs, strict=True):
        wanted = results[key].detach().numpy()
        found = trace.values[edge]
        found = found if wanted.ndim == found.ndim else found[-1]  # a mean over time
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12, err_msg=key)
    return graph


CONFIG = ModelConfig(
    in_channels=2, classes=3, steps=STEPS, size=(6, 5), stem=4, widths=(4, 6), strides=(1, 2),
    neuron=NeuronConfig(threshold=0.6),
)  # fmt: skip


@pytest.mark.parametrize("gate", ["or", "and", "iand", "xor", "sn", "add"])
@pytest.mark.parametrize(("aap", "shortcut"), [(True, True), (False, False)])
def test_our_networks_for_all_gates(gate: str, aap: bool, shortcut: bool) -> None:
    model = lively(build(replace(CONFIG, gate=gate, aap=aap, shortcut=shortcut), seed=1))
    graph = assert_equal_to_torch(model, frames())
    assert len(graph.outputs) == 1 + aap + shortcut
    stripped = strip_auxiliary(graph)
    assert {n.role for n in stripped.nodes} == {"main"}
    x = frames().numpy()
    np.testing.assert_array_equal(
        run(stripped, x).values[graph.outputs[0]], run(graph, x).values[graph.outputs[0]]
    )


@pytest.mark.parametrize(
    "neuron",
    [
        NeuronConfig(decay=0.5, input_scale=0.5, threshold=0.4),
        NeuronConfig(decay=0.7, threshold=0.5, reset="subtract"),
        NeuronConfig(threshold=0.5, reset="subtract", amount=1.0),
        NeuronConfig(decay=0.0, threshold=0.3),
        NeuronConfig(decay=0.6, input_scale=0.4, threshold=0.3, learned_tau=True),
        NeuronConfig(threshold=0.5, reset="subtract", amount=1.0, rectified=True),
    ],
)
def test_our_networks_for_all_neurons(neuron: NeuronConfig) -> None:
    assert_equal_to_torch(lively(build(replace(CONFIG, neuron=neuron), seed=2)), frames())


def test_threshold_batch_norm_and_a_trained_time_constant() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        layers.Conv2d(2, 4, 3), layers.ThresholdBatchNorm2d(4, 0.5, terms=2), PLIF(threshold=0.2)
    )
    with torch.no_grad():
        model[2].w.fill_(0.7)  # type: ignore[union-attr, operator]
    graph = assert_equal_to_torch(lively(model), frames())
    neuron = graph.nodes[-1].op
    assert isinstance(neuron, ops.Neuron)
    assert neuron.decay == 1.0 - float(torch.tensor(0.7).double().sigmoid())


def test_signals_of_one_dimension_and_adaptive_max_pooling() -> None:
    model = nn.Sequential(
        layers.Conv1d(2, 4, 3, stride=2, padding=1, groups=2),
        layers.BatchNorm2d(4),
        IF(threshold=0.3),
        layers.Conv1d(4, 4, 3, padding="same", dilation=2),
        LIF(tau=2.0, threshold=0.2),
        layers.AdaptiveMaxPool2d((1, 2)),
        layers.Flatten(),
        nn.Linear(8, 3),
        layers.TimeMean(),
    )
    x = frames((2, 1, 12))
    graph = assert_equal_to_torch(lively(model), x)
    kernels = [n.op.weight.shape for n in graph.nodes if isinstance(n.op, ops.Conv2d)]
    assert kernels == [(4, 1, 1, 3), (4, 4, 1, 3)]
    with pytest.raises(ShapeError, match="sequence of signals"):
        model(torch.zeros(STEPS, 3, 2, 2, 12))


def roles(graph: Graph) -> dict[str, str]:
    return {n.name: n.role for n in graph.nodes}


def test_roles_and_the_shared_classifier() -> None:
    model = lively(build(replace(CONFIG, gate="or"), seed=1))
    found = roles(capture(model, SHAPE, STEPS).graph)
    assert found["fc"] == "main" and found["fc-2"] == "auxiliary"
    for name, role in found.items():
        training = name.startswith(("aap", "branches", "fc-2")) or ".aap" in name
        assert role == ("auxiliary" if training else "main"), name
    own = lively(build(replace(CONFIG, aap_own_classifier=True), seed=1))
    found = roles(capture(own, SHAPE, STEPS).graph)
    assert found["aap_fc"] == "auxiliary" and "fc-2" not in found


class Net(nn.Module):
    """A plain user module."""

    def __init__(self, body: nn.Module, forward: Any = None) -> None:
        super().__init__()
        self.body = body
        self.other = IF(threshold=0.5)
        self.run = forward

    def forward(self, x: Tensor) -> Any:
        return self.body(x) if self.run is None else self.run(self, x)


def test_plain_user_module() -> None:
    body = nn.Sequential(
        layers.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
        layers.BatchNorm2d(4, eps=0.3),
        nn.Dropout(0.5),
        LIF(tau=3.0, threshold=0.3),
        layers.MaxPool2d(2, 1, 1),
        nn.Identity(),
        layers.AvgPool2d((2, 1), padding=(1, 0)),
        layers.Conv2d(4, 3, 3, padding="same", bias=False),
        Neuron(decay=0.5, threshold=0.2, reset="subtract"),
        layers.Flatten(),
        nn.Linear(3 * 3 * 4, 5),
        layers.TimeMean(),
    )
    graph = assert_equal_to_torch(lively(Net(body)), frames())
    assert "body.3.input" in roles(graph) and "body.2" not in roles(graph)


def test_one_module_used_twice_starts_at_rest_each_time() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        once: Tensor = self.other(self.body(x))
        return self.other(self.body(once) + x)

    model = lively(Net(layers.Conv2d(2, 2, 3, padding=1), forward))
    graph = assert_equal_to_torch(model, frames())
    assert [n.origin for n in graph.nodes] == ["body", "other", "body", "", "other"]


@pytest.mark.parametrize(
    "add",
    [
        lambda a, b: a + b,
        operator.add,
        torch.add,
    ],
)
def test_sums(add: Any) -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        doubled = add(x, x)
        return self.other(add(self.body(x), doubled))

    model = lively(Net(layers.Conv2d(2, 2, 1), forward))
    graph = assert_equal_to_torch(model, frames())
    assert next(n for n in graph.nodes if n.name == "add").inputs == ("x", "x")


def test_in_place_sums() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        out = self.body(x)
        out += x
        return self.other(out)

    graph = assert_equal_to_torch(lively(Net(layers.Conv2d(2, 2, 1), forward)), frames())
    assert [n.name for n in graph.nodes] == ["body", "add", "other"]


def test_in_place_sums_that_something_else_sees() -> None:
    def forward(self: Net, x: Tensor) -> Tensor:
        out = self.body(x)
        kept = out
        out += x
        return self.other(out + kept)  # kept has changed too

    with pytest.raises(CaptureError, match="changes a tensor"):
        capture(Net(layers.Conv2d(2, 2, 1), forward), SHAPE, STEPS)


def test_gates_keep_the_order_of_their_inputs() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layers.Conv2d(2, 2, 3, padding=1)
            self.neuron = IF(threshold=0.3)
            self.gate = gates.Iand()

        def forward(self, x: Tensor) -> Tensor:
            return self.gate(self.neuron(self.conv(x)), x)

    graph = assert_equal_to_torch(lively(Join()), frames())
    assert graph.nodes[-1].inputs == ("neuron", "x")


def test_analog_input_and_time_step() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(layers.Conv2d(2, 4, 1), IF(threshold=0.3))
    x = torch.rand(STEPS, 3, *SHAPE, dtype=torch.float64)
    graph = assert_equal_to_torch(lively(Net(body)), x, domain=Domain(0, 1, 0), dt=0.002)
    assert (graph.dt, graph.steps) == (0.002, STEPS)
    assert graph.inputs[0].domain == Domain(0, 1, 0)


def test_flat_input() -> None:
    body = nn.Sequential(nn.Linear(6, 4), IF(threshold=0.3), nn.Linear(4, 2), layers.TimeMean())
    assert_equal_to_torch(lively(Net(body)), frames((6,)))


def test_the_model_is_left_alone() -> None:
    model = build(CONFIG, seed=0).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    graph = capture(model, SHAPE, STEPS).graph
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    node = graph.producer("fc")
    assert node is not None and isinstance(node.op, ops.Linear)
    with torch.no_grad():
        model.fc.weight.zero_()
    assert node.op.weight.any()


def test_parametrized_weights_are_the_effective_ones() -> None:
    conv = layers.Conv2d(2, 2, 3, padding=1)
    nn.utils.parametrizations.weight_norm(conv)
    with torch.no_grad():
        conv.parametrizations.weight.original0.mul_(2.0)
    assert_equal_to_torch(lively(Net(nn.Sequential(conv, IF(threshold=0.5)))), frames())


def test_dead_parameters() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = nn.Linear(4, 2)
            self.branch = nn.Linear(4, 3)
            self.unused = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2, bias=False))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            self.unused(x)
            return {"branch": self.branch(x), "main": self.used(x)}

    captured = capture(Half(), (4,), 1)
    assert captured.dead == ("unused.0.weight", "unused.0.bias", "unused.1.weight")
    assert captured.graph.outputs == ("used", "branch")
    assert roles(captured.graph)["branch"] == "auxiliary"


def test_shared_modules_are_alive() -> None:
    body = nn.Linear(4, 4)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = body, body
            self.n = IF(threshold=0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.n(self.a(x)))

    captured = capture(Tied(), (4,), 1)
    assert captured.dead == ()


def test_tied_weights_are_alive() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.b(x)

    assert capture(Tied(), (4,), 1).dead == ()


# What is refused, and where.


class Scaled(layers.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return 2.0 * super().forward(input)


class Leaky(IF):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(0.5 * x)


class OddGate(gates.And):
    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        return a + s


def patched() -> nn.Module:
    module = layers.Conv2d(2, 2, 1)
    module.forward = lambda x: x  # type: ignore[method-assign]
    return module


def hooked() -> nn.Module:
    module = layers.Conv2d(2, 2, 1)
    module.register_forward_hook(lambda m, i, o: 2 * o)
    return module


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.GELU(), "no operation for GELU"),
        (nn.Softmax(-1), "no operation for Softmax"),
        (nn.Conv3d(2, 2, 1), "no operation for Conv3d"),
        (nn.BatchNorm1d(2), "takes signals"),
        (layers.Conv2d(2, 2, 3, padding_mode="reflect"), "no exact form"),
        (layers.Conv2d(2, 2, 2, padding="same"), "no exact form"),
        (layers.AvgPool2d(2, ceil_mode=True), "no exact form"),
        (layers.AvgPool2d(2, padding=1, count_include_pad=False), "no exact form"),
        (layers.AvgPool2d(2, divisor_override=3), "no exact form"),
        (layers.MaxPool2d(2, ceil_mode=True), "no exact form"),
        (layers.MaxPool2d(2, dilation=2), "no exact form"),
        (layers.MaxPool2d(2, return_indices=True), "no exact form"),
        (nn.AdaptiveAvgPool2d(4), "no exact form"),
        (nn.AdaptiveMaxPool2d(4), "no exact form"),
        (nn.AdaptiveMaxPool2d(3, return_indices=True), "no exact form"),
        (layers.Conv1d(2, 4, 3), "takes signals"),
        (nn.Sequential(layers.Flatten(), nn.AdaptiveAvgPool2d(1)), "no exact form"),
        (nn.Flatten(), "no exact form"),
        (nn.Flatten(2, 3), "no exact form"),
        (layers.BatchNorm2d(2, track_running_stats=False), "no exact form"),
        (Scaled(2, 2, 1), "forward of its own"),
        (Leaky(), "forward of its own"),
        (patched(), "forward of its own"),
        (hooked(), "hooks"),
    ],
)
def test_refused_modules(module: nn.Module, message: str) -> None:
    with pytest.raises(CaptureError, match=message) as e:
        capture(Net(nn.Sequential(nn.Identity(), module)), SHAPE, STEPS)
    assert e.value.where.startswith("body.1")


def test_refused_gate_with_a_forward_of_its_own() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = OddGate()

        def forward(self, x: Tensor) -> Tensor:
            return self.gate(x, x)

    with pytest.raises(CaptureError, match="forward of its own") as e:
        capture(Join(), SHAPE, STEPS)
    assert e.value.where == "gate"


def test_subclass_without_a_forward_of_its_own() -> None:
    class Named(gates.Or):
        """Another name."""

    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = IF(threshold=0.5)
            self.gate = Named()

        def forward(self, x: Tensor) -> Tensor:
            return self.gate(x, self.n(x))

    assert_equal_to_torch(lively(Join()), frames())


def branch(self: Net, x: Tensor) -> Tensor:
    return self.body(x) if x.sum() > 0 else x


def decided(condition: Any) -> Any:
    """A forward with a branch."""
    return lambda self, x: self.body(x) if condition(self, x) else self.other(x)


@pytest.mark.parametrize(
    ("forward", "message", "found"),
    [
        (lambda self, x: torch.relu(self.body(x)), "a clamp of a current", "clamp(body, 0, inf)"),
        (lambda self, x: functional.softmax(x, -1), "no operation for softmax", "softmax"),
        (lambda self, x: self.body(x).mean(1), "no operation for mean", "mean"),
        (lambda self, x: self.body(x) * x, "product of spikes and a current", "body * x"),
        (lambda self, x: self.body(x) * self.body(x), "product of currents", "body"),
        (lambda self, x: self.body(x) + 1, "a constant beside", "body + 1"),
        (lambda self, x: torch.add(x, x, out=x), "no operation for add", "add"),
        (lambda self, x: self.body(input=x), "not a tensor of the network", "body"),
        (lambda self, x: x[0], "no operation for getitem", "getitem"),
        (branch, "decides by its data", ".py:448: return self.body(x) if x.sum() > 0 else x"),
        (decided(lambda self, x: x.mean().item() > 0.1), "decides by its data", ".py:"),
        (decided(lambda self, x: (x > 0).any()), "decides by its data", ".py:"),
        (decided(lambda self, x: x.max()), "decides by its data", ".py:"),
        (decided(lambda self, x: self.body.weight.sum() > 0), "by its parameters", ".py:"),
        (lambda self, x: self.body(x) * float(x.mean()), "a Python number of its data", ".py:"),
        (lambda self, x: (x.norm(), self.body(x))[1], "no operation for norm", "norm"),
        (lambda self, x: self.body(x[-1].flatten(1)), "takes steps out of a sequence", "getitem"),
        (lambda self, x: self.body(x).argmax(-1), "the host does", "argmax"),
        (lambda self, x: self.body(functional.dropout(x)), "in evaluation, too", "dropout"),
        (lambda self, x: torch.flatten(self.body(x), 2)[:, :, :5], "a part of a layer", "5)"),
        (lambda self, x: self.body(x) * x.size(1), "depends on the number of samples", "samples"),
        (lambda self, x: [self.body(t) for t in x], "cannot be traced", ""),
        (lambda self, x: [self.body(t) for t in x.norm()], "no operation for norm", "norm"),
        (lambda self, x: self.missing(x), "cannot be traced", "missing"),
        (lambda self, x: self.body(x, 1, 2 / 0), "cannot be traced", "division"),
        (lambda self, x: (self.body(x), x), "which output is deployed", "tuple"),
        (lambda self, x: {"logits": self.body(x)}, "which output is deployed", "logits"),
        (lambda self, x: {"main": None}, "which output is deployed", "None"),
        (lambda self, x: {"main": x, "rate": 0.5}, "which output is deployed", "rate"),
        (lambda self, x: {"main": [x]}, "which output is deployed", "main"),
        (lambda self, x: None, "which output is deployed", "None"),
    ],
)
def test_refused_forwards(forward: Any, message: str, found: str) -> None:
    with pytest.raises(CaptureError, match=message) as e:
        capture(Net(layers.Conv2d(2, 2, 1), forward), SHAPE, STEPS)
    assert found in e.value.found
    assert e.value.where


@pytest.mark.parametrize(
    "drop",
    [
        lambda self, x: functional.dropout(x, 0.5, self.training),
        lambda self, x: functional.dropout3d(x, training=self.training),
        lambda self, x: functional.alpha_dropout(x, 0.0),
        lambda self, x: torch.dropout(x, 0.3, self.training),
    ],
)
def test_dropout_of_a_forward_is_nothing_in_evaluation(drop: Any) -> None:
    net = Net(layers.Conv2d(2, 2, 1), lambda self, x: self.body(drop(self, x))).train().double()
    graph = capture(net, SHAPE, STEPS).graph
    assert [type(n.op).__name__ for n in graph.nodes] == ["Conv2d"]
    assert_equal_to_torch(net.eval(), frames())


def test_two_inputs() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(CaptureError, match="exactly one input") as e:
        capture(Two(), SHAPE, STEPS)
    assert (e.value.found, e.value.where) == ("x, y", "Two")


@pytest.mark.parametrize(
    ("module", "where"),
    [
        (layers.Conv2d(3, 2, 1), "body.0"),
        (nn.Linear(7, 2), "body.0"),
        (layers.BatchNorm2d(3), "body.0"),
        (layers.Conv2d(2, 2, 9), "body.0"),
    ],
)
def test_shapes_that_do_not_fit(module: nn.Module, where: str) -> None:
    with pytest.raises(IRError) as e:
        capture(Net(nn.Sequential(module)), SHAPE, STEPS)
    assert where in e.value.where


def test_gate_on_what_is_no_spike() -> None:
    class Join(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layers.Conv2d(2, 2, 1)
            self.gate = gates.Or()

        def forward(self, x: Tensor) -> Tensor:
            return self.gate(self.conv(x), x)

    with pytest.raises(IRError, match="takes spikes only") as e:
        capture(Join(), SHAPE, STEPS)
    assert "gate" in e.value.where


def test_nested_additions_name_their_module() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layers.Conv2d(2, 2, 1)
            self.n = IF(threshold=0.4)

        def forward(self, x: Tensor) -> Tensor:
            return self.n(self.conv(x) + x)

    graph = assert_equal_to_torch(lively(Net(nn.Sequential(Inner(), Inner()))), frames())
    assert [n.name for n in graph.nodes if isinstance(n.op, ops.Add)] == [
        "body.0.add",
        "body.1.add",
    ]


def test_accumulation_is_marked() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = IF(threshold=0.4)
            self.sum = Accumulate()
            self.fc = nn.Linear(4, 2)
            self.extra = AuxiliaryLinear(4, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            s = self.n(x)
            return {"main": self.fc(s), "side": self.extra(self.sum(x, s))}

    graph = capture(Two(), (4,), 2).graph
    assert roles(graph) == {"n": "main", "fc": "main", "sum": "auxiliary", "extra": "auxiliary"}
    assert graph.inputs[0].domain == SPIKE and graph.edge("fc").domain <= ANALOG


class Means(nn.Module):
    """Something after the mean over time, which has no time axis any more."""

    def __init__(self, after: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.mean = layers.TimeMean()
        self.neuron = IF(threshold=0.3)
        self.gate = gates.Add()
        self.flatten = layers.Flatten()
        self.relu = nn.ReLU()
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self, self.mean(self.fc(x)), x)


@pytest.mark.parametrize(
    ("after", "where"),
    [
        (lambda self, m, x: self.neuron(m), "neuron"),
        (lambda self, m, x: self.mean(m), "mean"),
        (lambda self, m, x: self.flatten(m), "flatten"),
        (lambda self, m, x: self.gate(m, x), "gate"),
        (lambda self, m, x: m + x, "the model's forward"),
        (lambda self, m, x: self.mean(self.fc(self.fc(m) + x)), "the model's forward"),
        (lambda self, m, x: self.neuron(self.fc(m)), "neuron"),
    ],
)
def test_a_mean_over_time_is_no_sequence(after: Any, where: str) -> None:
    with pytest.raises(CaptureError, match="mean over time") as e:
        capture(Means(after), (4,), STEPS)
    assert e.value.where == where


@pytest.mark.parametrize(
    "after",
    [
        lambda self, m, x: self.fc(self.relu(m)),
        lambda self, m, x: self.fc(m) + m,
        lambda self, m, x: self.gate(m, self.mean(x)),
    ],
)
def test_what_may_follow_a_mean_over_time(after: Any) -> None:
    assert_equal_to_torch(lively(Means(after)), frames((4,)))
