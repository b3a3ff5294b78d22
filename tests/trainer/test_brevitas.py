"""Modules of Brevitas, captured by what their own quantizers say, against their own forward."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Levels
from purespike.trainer.capture.conversions import CaptureError
from purespike.trainer.capture.interop.brevitas import is_brevitas, quantized_graph


@pytest.fixture(scope="module", autouse=True)
def brevitas_warns() -> Iterator[None]:
    """Of a package that it would rather have, and of named tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import brevitas.nn  # noqa: F401

        yield


def settled(net: nn.Module, shape: tuple[int, ...], seed: int = 0) -> nn.Module:
    """With scales and statistics from a few batches."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            net.train()(torch.rand(32, *shape))
    return net.eval()


def value(x: Any) -> Tensor:
    found = x.value if hasattr(x, "value") else x
    assert isinstance(found, Tensor)
    return found.detach()


def levels_differ(net: nn.Module, graph: Graph, x: Tensor) -> tuple[int, int, int]:
    """(levels compared, that differ, decisions that are not among the greatest)."""
    seen: dict[str, list[np.ndarray[Any, Any]]] = {}

    def note(path: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            scale = value(module.act_quant.scale()).reshape(-1)[0]
            zero = value(module.act_quant.zero_point()).reshape(-1)[0]
            seen.setdefault(path, []).append(torch.round(value(output) / scale + zero).numpy())

        return hook

    hooks = [
        m.register_forward_hook(note(p)) for p, m in net.named_modules() if hasattr(m, "act_quant")
    ]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = value(net(x)).numpy()
    for hook in hooks:
        hook.remove()
    trace = run(graph, x.numpy()[None].astype(np.float64)).values
    compared = different = 0
    for node in graph.nodes:
        if isinstance(node.op, Levels) and seen.get(node.origin):
            ours = trace[node.name][0]
            off = (
                seen[node.origin].pop(0) - ours
            )  # a channel's lowest level, and what every input passes
            compared += ours.size
            constant = np.median(off.reshape(*off.shape[:2], -1), axis=(0, 2))
            different += int((off != constant.reshape(-1, *(1,) * (off.ndim - 2))).sum())
    readout = trace[graph.outputs[0]][0].reshape(len(x), -1)
    reference = theirs.reshape(len(x), -1).argmax(1)
    decided = np.take_along_axis(readout, reference[:, None], axis=1)[:, 0]
    # Where the greatest sums are equal, their order is the rounding of float32.
    return compared, different, int((decided != readout.max(axis=1)).sum())


def cnn(bits: int, **rest: Any) -> nn.Module:
    import brevitas.nn as qnn
    from brevitas.quant import (
        Int8WeightPerChannelFloat,
        Int8WeightPerTensorFloat,
        Int32Bias,
        Uint8ActPerTensorFloat,
    )

    by_channel = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 4}
    by_tensor = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": 4}
    act = {"bit_width": bits, "return_quant_tensor": True}
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, **act),
        qnn.QuantConv2d(2, 6, 3, padding=1, bias=False, **by_channel),
        nn.BatchNorm2d(6),
        qnn.QuantReLU(**act),
        nn.MaxPool2d(2),
        qnn.QuantConv2d(6, 6, 3, groups=6, bias=True, **by_channel),
        qnn.QuantReLU(**act),
        nn.Flatten(),
        qnn.QuantLinear(24, 5, bias=True, bias_quant=Int32Bias, **by_tensor),
    )


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_network_of_few_bits_is_equal(bits: int) -> None:
    net = settled(cnn(bits), (2, 8, 8), seed=bits)
    graph = quantized_graph(net, (2, 8, 8))
    compared, different, decisions = levels_differ(net, graph, torch.rand(60, 2, 8, 8))
    assert compared > 20_000 and different == 0 and decisions == 0
    assert {n.op.levels for n in graph.nodes if isinstance(n.op, Levels)} == {2**bits - 1}


class Block(nn.Module):
    """Two branches through one quantizer, a signed one, zero points, and a quantized end."""

    def __init__(self) -> None:
        super().__init__()
        import brevitas.nn as qnn
        from brevitas.quant import Int8ActPerTensorFloat, ShiftedUint8ActPerTensorFloat

        act = {"bit_width": 3, "return_quant_tensor": True}
        self.first = qnn.QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat, **act)
        self.conv = qnn.QuantConv2d(2, 2, 3, padding=1, bias=True, weight_bit_width=4)
        self.norm = nn.BatchNorm2d(2)
        self.both = qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, **act)
        self.act = qnn.QuantReLU(**act)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.head = qnn.QuantLinear(8, 4, bias=True, weight_bit_width=4)
        self.last = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = self.act(self.both(self.norm(self.conv(x))) + self.both(x))
        x = self.pool(x)
        return self.last(self.head(torch.flatten(x, 1))).value


def test_a_block_with_zero_points_and_a_quantized_end_is_equal() -> None:
    net = settled(Block(), (2, 8, 8))
    graph = quantized_graph(net, (2, 8, 8))
    compared, different, decisions = levels_differ(net, graph, torch.rand(60, 2, 8, 8))
    assert compared > 20_000 and different == 0 and decisions == 0


def test_torch_alone_is_no_brevitas() -> None:
    assert is_brevitas(cnn(2)) and not is_brevitas(nn.Sequential(nn.Linear(2, 2)))


def refused(net: nn.Module, shape: tuple[int, ...] = (2, 8, 8)) -> CaptureError:
    with pytest.raises(CaptureError) as e:
        quantized_graph(settled(net, shape), shape)
    return e.value


def test_what_has_no_exact_form_is_refused_by_module() -> None:
    import brevitas.nn as qnn

    act = qnn.QuantIdentity(bit_width=3, return_quant_tensor=True)
    free = nn.Sequential(
        act, qnn.QuantConv2d(2, 3, 3, weight_quant=None), qnn.QuantReLU(bit_width=3)
    )
    assert refused(free).where == "1" and "not quantized" in refused(free).message
    bent = nn.Sequential(act, nn.Sigmoid(), qnn.QuantConv2d(2, 3, 3))
    assert refused(bent).where == "1" and "Sigmoid" in refused(bent).found
    bare = nn.Sequential(act, qnn.QuantConv2d(2, 3, 3), qnn.QuantConv2d(3, 3, 3))
    assert refused(bare).where == "2" and "no quantizer made" in refused(bare).message
    curve = nn.Sequential(act, qnn.QuantConv2d(2, 3, 3), qnn.QuantTanh(bit_width=3))
    assert refused(curve).where == "2"
