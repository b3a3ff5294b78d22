"""Layers that people have: captured exactly, or refused with a remedy that is tried here too."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from purespike.compiler.ir import ops
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.judge.capture_check import check_capture
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.nn import layers as ours
from purespike.trainer.nn.neuron import IF

snn = pytest.importorskip("snntorch")
sj = pytest.importorskip("spikingjelly.activation_based.layer")
from spikingjelly.activation_based import functional, neuron  # noqa: E402

STEPS = 5


def frames(shape: tuple[int, ...]) -> Tensor:
    r = np.random.default_rng(0)
    return torch.tensor((r.random((STEPS, 6, *shape)) < 0.4).astype(np.float64))


def lively(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(m.running_mean, 0.0, 0.1)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
            nn.init.uniform_(m.weight, 0.8, 2.0)
            nn.init.normal_(m.bias, 0.3, 0.2)
    return model.double().eval()


def assert_same(model: nn.Module, shape: tuple[int, ...], spiking: bool = True) -> Graph:
    """The output of the graph is the module's in float64, and no silent or constant one."""
    x = frames(shape)
    graph = capture(lively(model), shape, STEPS).graph
    verify(graph)
    with torch.no_grad():
        wanted = model(x).numpy()
    found = run(graph, x.numpy()).values[graph.outputs[0]]
    found = found if found.ndim == wanted.ndim else found[-1]
    if spiking:
        np.testing.assert_array_equal(found, wanted)
        assert 0 < wanted.mean() < 1
    else:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)
        assert wanted.std() > 0
    finding, layers = check_capture(model, graph, x.numpy())
    assert finding.status == "PASS" and not any(m.different for m in layers)
    return graph


def compiles(model: nn.Module, shape: tuple[int, ...]) -> Graph:
    """All the way to integers."""
    graph = capture(lively(model), shape, STEPS).graph
    return compile_graph(graph, standard_pipeline(), frames(shape).numpy()).graph


# torch.cat ---------------------------------------------------------------------------------------


class Dense(nn.Module):
    """Two branches and the input, concatenated; what follows is a parameter."""

    def __init__(self, *behind: nn.Module, dim: int = -3) -> None:
        super().__init__()
        self.a, self.na = ours.Conv2d(2, 3, 3, padding=1), IF(threshold=0.2)
        self.b, self.nb = ours.Conv2d(2, 4, 3, padding=1), IF(threshold=0.3)
        self.behind, self.dim = nn.Sequential(*behind), dim

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(torch.cat([self.na(self.a(x)), x, self.nb(self.b(x))], dim=self.dim))


torch.manual_seed(0)  # the layers below are made as this file is read, whatever was read before
LAST = IF(threshold=0.5)
BEHIND: dict[str, list[Any]] = {
    "convolution": [ours.Conv2d(9, 5, 3, padding=1), IF(threshold=0.4)],
    "norm first": [ours.Conv2d(9, 5, 1, bias=False), ours.BatchNorm2d(5), IF(threshold=0.4)],
    "as DenseNet": [ours.BatchNorm2d(9), IF(threshold=0.5), ours.Conv2d(9, 4, 3), LAST],
    "pools": [ours.MaxPool2d(2), ours.AvgPool2d(2, 1), ours.Conv2d(9, 4, 1), IF(threshold=0.2)],
    "flat": [ours.Flatten(), nn.Linear(9 * 30, 7), IF(threshold=0.3)],
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=list(BEHIND))
def test_concatenated_channels(behind: list[nn.Module]) -> None:
    graph = assert_same(Dense(*behind), (2, 6, 5))
    linear = [n for n in graph.nodes if isinstance(n.op, ops.Conv2d | ops.Linear)]
    last = [n.name for n in linear if n.name.startswith("behind")]
    assert len(last) == 3 and all(".cat" in n for n in last)
    assert isinstance(graph.producer(last[0].rsplit(".", 1)[0]).op, ops.Add)  # type: ignore[union-attr]


def test_concatenated_features_and_nested_concatenation() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n = nn.Linear(6, 4), IF(threshold=0.2)
            self.fc, self.last = nn.Linear(16, 5), IF(threshold=0.3)

        def forward(self, x: Tensor) -> Tensor:
            s = torch.cat([x, self.n(self.a(x))], -1)
            return self.last(self.fc(torch.cat((s, x), 2)))

    assert_same(Flat(), (6,))


def test_concatenated_channels_compile_to_integers() -> None:
    net = nn.Sequential(
        Dense(ours.Conv2d(9, 5, 3, padding=1), IF(threshold=0.4)),
        ours.Flatten(),
        nn.Linear(150, 3),
        ours.TimeMean(),
    )
    graph = compiles(net, (2, 6, 5))
    assert all(n.op.fixed for n in graph.nodes if isinstance(n.op, ops.Neuron))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Dense(ours.Conv2d(9, 9, 1, groups=3)), "mixes concatenated channels"),
        (Dense(nn.Identity(), dim=0), "another axis than their channels"),
        (Dense(nn.Identity(), dim=-1), "another axis than their channels"),
        (Dense(nn.Identity()), "concatenated channels"),
    ],
)
def test_refused_concatenation(model: nn.Module, message: str) -> None:
    with pytest.raises(CaptureError, match=message) as e:
        capture(model, (2, 6, 5), STEPS)
    assert e.value.remedy


# Signals -----------------------------------------------------------------------------------------


class Signals(nn.Module):
    """torch's own layers on signals, one step at a time."""

    def __init__(self, taken: str, *body: nn.Module) -> None:
        super().__init__()
        self.taken, self.body = taken, nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.squeeze(-2) if self.taken == "squeeze" else x[:, :, 0])


def leaky() -> nn.Module:
    return snn.Leaky(0.5, threshold=0.4, init_hidden=True)


def test_signals_behind_squeeze() -> None:
    body = [
        nn.Conv1d(2, 6, 3, stride=2, padding=1, groups=2),
        nn.BatchNorm1d(6),
        leaky(),
        nn.Conv1d(6, 4, 3, padding="same", dilation=2),
        leaky(),
        nn.MaxPool1d(2),
        nn.AvgPool1d(3, 1, 1),
        nn.Conv1d(4, 8, 1),
        leaky(),
        nn.AdaptiveAvgPool1d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.BatchNorm1d(5),
        leaky(),
    ]
    graph = assert_same(Imported(Signals("squeeze", *body)), (2, 1, 16))
    kernels = [n.op.weight.shape for n in graph.nodes if isinstance(n.op, ops.Conv2d)]
    assert kernels == [(6, 1, 1, 3), (4, 6, 1, 3), (8, 4, 1, 1)]


def test_spikingjelly_signals() -> None:
    body = nn.Sequential(
        sj.Conv1d(2, 6, 3, padding=1),
        sj.BatchNorm1d(6),
        neuron.IFNode(0.5),
        sj.MaxPool1d(2),
        sj.AvgPool1d(2),
        sj.Conv1d(6, 4, 3),
        neuron.LIFNode(2.0, v_threshold=0.2),
        sj.AdaptiveAvgPool1d(1),
        sj.Flatten(),
        sj.Linear(4, 20),
        neuron.IFNode(0.2),
        sj.VotingLayer(5),
    )

    class Squeezed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x.squeeze(-2))

    net = Squeezed()
    functional.set_step_mode(net, "m")
    assert_same(Imported(net), (2, 1, 16), spiking=False)


def test_refused_signals() -> None:
    """Without the axis there is nothing to see them as images by; the remedy is the test above."""
    body = nn.Sequential(nn.Conv1d(2, 6, 3), leaky())
    with pytest.raises(CaptureError, match="takes signals") as e:
        capture(Imported(body), (2, 16), STEPS)
    assert "squeeze(-2)" in e.value.remedy


# Transposed convolution, upsampling, normalization -----------------------------------------------


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_of_stride_1(groups: int) -> None:
    body = [
        nn.ConvTranspose2d(2, 4, 3, padding=1, groups=groups),
        leaky(),
        nn.ConvTranspose2d(4, 4, (3, 2), padding=(0, 1), dilation=(2, 1), groups=groups),
        leaky(),
    ]
    graph = assert_same(Imported(nn.Sequential(*body)), (2, 6, 5))
    assert graph.edge(graph.outputs[0]).shape == (4, 10, 4)


BATCH = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), leaky())


@pytest.mark.parametrize(
    ("module", "why", "remedy"),
    [
        (nn.GroupNorm(2, 4), "deviation of the very values", "BatchNorm2d"),
        (nn.LayerNorm([4, 4, 3]), "deviation of the very values", "BatchNorm2d"),
        (nn.InstanceNorm2d(4), "deviation of the very values", "BatchNorm2d"),
        (nn.Upsample(scale_factor=2), "larger than its input", "nn.Linear"),
        (nn.ConvTranspose2d(4, 4, 2, stride=2), "larger than its input", "of stride 1"),
        (nn.Sigmoid(), "a function of real numbers", "spiking neuron"),
        (snn.Alpha(0.9, 0.8, init_hidden=True), "keeps a state", "Leaky"),
        (neuron.LIAFNode(torch.relu, False), "other values than 0 and 1", "sends spikes"),
        (sj.GroupNorm(2, 4), "deviation of the very values", "BatchNorm2d"),
    ],
)  # fmt: skip
def test_refused_with_the_reason(module: nn.Module, why: str, remedy: str) -> None:
    body = nn.Sequential(nn.Conv2d(2, 4, 3), module)
    with pytest.raises(CaptureError, match="no operation for") as e:
        capture(Imported(body), (2, 6, 5), STEPS)
    assert why in e.value.message and remedy in e.value.remedy and e.value.where == "model.1"
    assert not e.value.allowed  # a list of all layers helps nobody: the remedy names what does


def test_what_passes_is_a_short_list_without_what_fails_later() -> None:
    with pytest.raises(CaptureError, match="no operation for LPPool2d") as e:
        capture(nn.Sequential(nn.Conv2d(2, 4, 3), nn.LPPool2d(2, 2)), (2, 6, 5), STEPS)
    assert "BatchNorm2d" in e.value.allowed and len(e.value.allowed) < 200
    assert "Upsample" not in e.value.allowed and "ReLU" not in e.value.allowed


REMEDIES: dict[str, list[nn.Module]] = {
    "batch norm": [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), leaky()],
    "batch norm behind linear": [nn.Flatten(), nn.Linear(60, 8), nn.BatchNorm1d(8), leaky()],
    "linear for an upsampling end": [nn.Conv2d(2, 4, 3), leaky(), nn.Flatten(), nn.Linear(48, 120),
                                     leaky()],
    "stride 1": [nn.ConvTranspose2d(2, 4, 2), leaky()],
    "a neuron for a function": [nn.Conv2d(2, 4, 3), leaky()],
}  # fmt: skip


@pytest.mark.parametrize("body", REMEDIES.values(), ids=list(REMEDIES))
def test_the_remedies_compile(body: list[nn.Module]) -> None:
    assert_same(Imported(nn.Sequential(*body)), (2, 6, 5))


def test_ceil_mode_where_it_adds_nothing() -> None:
    body = [nn.Conv2d(2, 4, 1), leaky(), nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            nn.AvgPool2d((1, 3), ceil_mode=True), nn.Conv2d(4, 3, 1), leaky()]  # fmt: skip
    assert_same(Imported(nn.Sequential(*body)), (2, 7, 5))
    with pytest.raises(CaptureError, match="no exact form"):
        capture(Imported(nn.Sequential(*body)), (2, 8, 5), STEPS)


# Weights that are computed -----------------------------------------------------------------------


class Masked(nn.Module):
    """A mask as a parametrization."""

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.rand(shape) < 0.5).float())

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


def weights(kind: str) -> nn.Module:
    torch.manual_seed(0)
    conv: nn.Module = nn.Conv2d(2, 4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        if kind == "pruned":
            prune.l1_unstructured(conv, "weight", amount=0.4)
        elif kind == "pruned twice":
            prune.random_unstructured(conv, "weight", amount=0.3)
            prune.ln_structured(conv, "weight", amount=0.25, n=2, dim=0)
            prune.l1_unstructured(conv, "bias", amount=1)
        elif kind == "old weight norm":
            conv = nn.utils.weight_norm(conv)
        elif kind == "old spectral norm":
            conv = nn.utils.spectral_norm(conv)
        elif kind == "weight norm":
            parametrizations.weight_norm(conv)
        elif kind == "orthogonal":
            parametrizations.orthogonal(conv)
        else:
            parametrize.register_parametrization(conv, "weight", Masked(conv.weight.shape))
    return conv


KINDS = ["pruned", "pruned twice", "old weight norm", "old spectral norm", "weight norm",
         "orthogonal", "masked"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_computed_weights(kind: str) -> None:
    model = Imported(nn.Sequential(weights(kind), leaky()))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    graph = assert_same(model, (2, 6, 5))
    assert all(torch.equal(v.double(), before[k].double()) for k, v in model.state_dict().items())
    if "pruned" in kind:
        (conv,) = [n.op for n in graph.nodes if isinstance(n.op, ops.Conv2d)]
        assert 0 < (conv.weight == 0).sum() < conv.weight.size
    compiles(nn.Sequential(model, nn.Flatten(2), nn.Linear(48, 3), ours.TimeMean()), (2, 6, 5))


def test_sparse_weights() -> None:
    layer = nn.Linear(6, 4)
    layer.weight = nn.Parameter((layer.weight * (layer.weight > 0)).detach().to_sparse())
    graph = capture(Imported(nn.Sequential(layer, leaky())), (6,), STEPS).graph
    (op,) = [n.op for n in graph.nodes if isinstance(n.op, ops.Linear)]
    np.testing.assert_array_equal(op.weight, layer.weight.detach().to_dense().double().numpy())


# Readouts and converters -------------------------------------------------------------------------


class Readout(nn.Module):
    """The membrane of a last neuron that is never reset."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(6, 12), snn.Leaky(0.5, threshold=0.4)
        self.fc2, self.last = nn.Linear(12, 4), last

    def forward(self, x: Tensor) -> Tensor:
        spikes, _ = self.lif1(self.fc1(x))
        return self.last(self.fc2(spikes))[-1]


@pytest.mark.parametrize(
    "last",
    [
        snn.Leaky(0.75, reset_mechanism="none"),
        snn.Synaptic(0.5, 0.75, reset_mechanism="none"),
        snn.Lapicque(beta=0.75, reset_mechanism="none"),
    ],
)
def test_membranes_of_neurons_without_reset(last: nn.Module) -> None:
    graph = assert_same(Imported(Readout(last)), (6,), spiking=False)
    (silent,) = [n for n in graph.nodes if isinstance(n.op, ops.Neuron) and not n.op.fires]
    assert silent.name == "model.last.membrane"


@pytest.mark.parametrize("decode", ["last_mem", "mean-mem"])
@pytest.mark.parametrize(
    "kind", [neuron.NonSpikingIFNode, lambda d: neuron.NonSpikingLIFNode(2.0, d)]
)
def test_spikingjelly_readouts(kind: Any, decode: str) -> None:
    body = nn.Sequential(nn.Linear(6, 12), neuron.IFNode(0.4), nn.Linear(12, 4), kind(decode))
    functional.set_step_mode(body, "m")
    assert_same(Imported(body), (6,), spiking=False)


@pytest.mark.parametrize("decode", [None, "max-mem"])
def test_refused_readouts(decode: str | None) -> None:
    body = nn.Sequential(nn.Linear(6, 4), neuron.NonSpikingIFNode(decode))
    functional.set_step_mode(body, "m")
    with pytest.raises(CaptureError, match="no exact form") as e:
        capture(Imported(body), (6,), STEPS)
    assert "last_mem" in e.value.allowed


def test_converted_networks() -> None:
    """SpikingJelly's ann2snn: scalers around every neuron."""
    ann2snn = pytest.importorskip("spikingjelly.activation_based.ann2snn")
    torch.manual_seed(0)
    front = [nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()]
    ann = nn.Sequential(*front, nn.Linear(8, 4), nn.ReLU())
    data = [(torch.rand(8, 2, 6, 5), torch.zeros(8)) for _ in range(2)]
    recipe = ann2snn.recipes.RateCodingRecipe(dataloader=data, mode="max")
    snn_model = ann2snn.FXConverter(recipe=recipe, device="cpu").convert(ann.eval())
    assert_same(Imported(snn_model), (2, 6, 5), spiking=False)
