"""SpikingJelly's own networks as they come: compiled, or what stands in the way is named."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.interpret import run
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import CaptureError, capture

neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
from spikingjelly.activation_based import functional, layer  # noqa: E402

STEPS = 4


def of(name: str) -> Any:
    return importlib.import_module(f"spikingjelly.activation_based.model.{name}")


def node(**_: Any) -> nn.Module:
    return neuron.LIFNode(tau=2.0, v_threshold=0.3)


def voting(name: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        net = getattr(of("parametric_lif_net"), name)(4, node)
        functional.set_step_mode(net, "m")
        return net

    return make


def members(**more: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        options = {"T": STEPS, "layers": (1, 1, 1, 1), "base_channels": 4, "num_classes": 5}
        return of("ms_resnet").MSResNet(**options, spiking_neuron=node, **more)

    return make


def lively(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(m.running_var, 0.2, 0.5)
            nn.init.normal_(m.bias, 0.3, 0.1)
    return model.double().eval()


EXACT: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str | None]] = {
    "MNISTNet": (voting("MNISTNet"), (1, 28, 28), None),
    "FashionMNISTNet": (voting("FashionMNISTNet"), (1, 28, 28), None),
    "NMNISTNet": (voting("NMNISTNet"), (2, 34, 34), None),
    "CIFAR10Net": (voting("CIFAR10Net"), (3, 32, 32), None),
    "MSResNet": (members(), (3, 32, 32), None),
    "MSResNet of frames": (members(), (3, 32, 32), "frame"),
}


@pytest.mark.parametrize(("make", "shape", "takes"), EXACT.values(), ids=list(EXACT))
def test_exact(make: Callable[[], nn.Module], shape: tuple[int, ...], takes: Any) -> None:
    """Spikes of every layer, and the output, in float64."""
    model = Imported(lively(make()), takes)
    r = np.random.default_rng(0)
    x = (r.random((1 if takes == "frame" else STEPS, 1, *shape)) < 0.4).astype(np.float64)
    x = np.repeat(x, STEPS // len(x), 0)
    graph = capture(model, shape, STEPS).graph
    trace = run(graph, x)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, neuron.BaseNode):
            module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    firing = {n.name for n in graph.nodes if isinstance(n.op, ops.Neuron)}
    assert firing == set(seen)
    total = sum(float(s.sum()) for s in seen.values())
    assert total > 100
    for name, spikes in seen.items():
        np.testing.assert_array_equal(trace.values[name], spikes.numpy(), err_msg=name)
    made = trace.values[graph.outputs[0]]
    np.testing.assert_allclose(made if made.ndim == wanted.ndim else made[-1], wanted, atol=1e-9)


def pooled(name: str, cls: str, **options: Any) -> Callable[[], nn.Module]:
    return lambda: getattr(of(name), cls)(T=STEPS, **options)


NAMED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str, str]] = {
    "Spikformer": (
        lambda: of("spikformer").spikformer_cifar10(T=STEPS), (3, 32, 32), "max pooling", "block.2"
    ),
    "QKFormer": (pooled("qkformer", "QKFormer"), (3, 64, 64), "max pooling", "pool1"),
    "SpikeDrivenTransformer": (
        pooled("spike_driven_transformer", "SpikeDrivenTransformer"), (3, 64, 64), "max pooling",
        "final_stage.2",
    ),
    "MaxFormer": (pooled("maxformer", "MaxFormer"), (3, 64, 64), "max pooling", "shortcut.2"),
    "MaxResNet": (
        pooled("ms_resnet", "MaxResNet", layers=(1, 1, 1), base_channels=4), (3, 32, 32),
        "max pooling", "max_pool",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "shape", "message", "where"), NAMED.values(), ids=list(NAMED))
def test_what_stands_in_the_way_is_named(
    make: Callable[[], nn.Module], shape: tuple[int, ...], message: str, where: str
) -> None:
    from purespike.compiler.errors import PurespikeError

    with pytest.raises(PurespikeError, match=message) as e:
        capture(Imported(make()), shape, STEPS)
    assert where in e.value.where and e.value.remedy


def test_attention_is_named() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = layer.SpikingSelfAttention(dim=8, num_heads=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.attn(x)

    with pytest.raises(CaptureError, match="multiplies activations") as e:
        capture(Imported(Block(), "sequence"), (8, 4, 4), STEPS)
    assert e.value.where == "model.attn"
