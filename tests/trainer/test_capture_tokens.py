"""Attention on tokens and heads: masks and sums of spikes, and products that are refused."""

from __future__ import annotations

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
from spikingjelly.activation_based import layer  # noqa: E402

STEPS, C, H, W = 3, 8, 3, 4


class OnTokens(nn.Module):
    """Attention of SpikingJelly on (T, B, C, H, W), which takes tokens (T, B, C, H W)."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x.flatten(3)).reshape(x.shape)


class Heads(nn.Module):
    """Layers in front of a function of q and k, which are spikes (T, B, C, H, W)."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.q, self.k = (layer.Conv2d(C, C, 1, step_mode="m") for _ in range(2))
        self.qs, self.ks, self.last = (
            neuron.IFNode(v_threshold=0.4, step_mode="m") for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.qs(self.q(x)), self.ks(self.k(x))))


def node(**given: Any) -> nn.Module:
    return neuron.LIFNode(v_threshold=0.2, step_mode="m")


def same(model: nn.Module) -> Any:
    torch.manual_seed(0)
    for m in model.modules():
        if isinstance(m, nn.Conv2d | nn.Conv1d):
            nn.init.normal_(m.weight, 0.1, 0.5)
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(m.running_var, 0.2, 0.5)
            nn.init.normal_(m.bias, 0.3, 0.1)
    model = Imported(model.double().eval(), "sequence")
    x = (np.random.default_rng(0).random((STEPS, 4, C, H, W)) < 0.4).astype(np.float64)
    graph = capture(model, (C, H, W), STEPS).graph
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    found = run(graph, x).values[graph.outputs[0]]
    np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
    assert 0.02 < wanted.mean()
    return graph


@pytest.mark.parametrize("kind", ["token", "channel"])
def test_qk_attention(kind: str) -> None:
    graph = same(OnTokens(layer.QKAttention(C, 2, qka_type=kind, spiking_neuron=node)))
    (mask,) = [n for n in graph.nodes if n.name.endswith(".mask")]
    assert isinstance(mask.op, ops.Neuron) and mask.op.decay == 0 and float(mask.op.threshold) == 2


def test_spike_driven_attention() -> None:
    same(
        nn.Sequential(
            layer.SpikeDrivenSelfAttention(C, 2, spiking_neuron=node), neuron.IFNode(step_mode="m")
        )
    )


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean over tokens": lambda q, k: (q - k).flatten(3).mean(-1),
    "the second half of the channels": lambda q, k: torch.chunk(q, 2, dim=2)[1],
    "half of the channels, sliced": lambda q, k: k[:, :, C // 2 :],
    "there and back": lambda q, k: q.transpose(-1, -2).transpose(-1, -2) * k,
    "tokens in both": lambda q, k: (
        q.flatten(3).transpose(-1, -2) * k.flatten(3).transpose(-1, -2)
    ).transpose(-1, -2),
    "a constant for each channel of tokens": lambda q, k: (
        q.flatten(3).transpose(-1, -2) * torch.arange(1.0, C + 1) / 4
    ).transpose(-1, -2),
}


@pytest.mark.parametrize("name", FORMS)
def test_views_of_samples(name: str) -> None:
    same(Heads(FORMS[name]))


def refused(function: Callable[[Tensor, Tensor], Tensor]) -> str:
    with pytest.raises(CaptureError) as e:
        capture(Imported(Heads(function), "sequence"), (C, H, W), STEPS)
    return e.value.text("Python")


def test_all_products_are_named_with_their_lines() -> None:
    def attend(q: Tensor, k: Tensor) -> Tensor:
        a, b = q.flatten(3), k.flatten(3)
        scores = a.transpose(-1, -2) @ b
        mixed = torch.matmul(b, scores)
        return mixed.reshape(q.shape)

    text = refused(attend)
    assert "2 times" in text and "no synapse has a weight that arrives" in text
    assert "test_capture_tokens.py" in text
    assert "scores = a.transpose(-1, -2) @ b" in text and "mixed = torch.matmul(b, scores)" in text
    assert "where: model" in text


def test_attention_is_named_by_its_module() -> None:
    block = nn.Sequential()
    block.add_module("attn", OnTokens(layer.SpikingSelfAttention(dim=C, num_heads=2)))
    with pytest.raises(CaptureError) as e:
        capture(Imported(block, "sequence"), (C, H, W), STEPS)
    assert e.value.where == "model.attn.attention"
    assert "x_seq = vt @ kt.transpose(-2, -1)" in e.value.found


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda q, k: q.transpose(-1, -2) * k.transpose(-1, -2)[..., :1], "multiplies what"),
        (lambda q, k: q + k.transpose(2, 3).reshape(q.shape), "different shapes or orders"),
        (lambda q, k: q.permute(2, 0, 1, 3, 4), "mixes time, samples"),
    ],
)
def test_other_orders_are_refused(function: Any, said: str) -> None:
    text = refused(function)
    assert said in text


def test_a_layer_of_another_order_is_refused() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = layer.Conv2d(C, C, 1, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.transpose(-1, -2))

    with pytest.raises(CaptureError, match="another order than that of channels and places") as e:
        capture(Imported(Turned(), "sequence"), (C, H, W), STEPS)
    assert e.value.where == "model.conv"
