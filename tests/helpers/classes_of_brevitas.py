"""Brevitas' classes, each between quantizers of two bits: levels equal to its own, or refused."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from helpers.framework_classes import Row
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.interpret import run
from purespike.trainer.capture.interop.brevitas import quantized_graph

IMAGE, SIGNAL, FLAT = (4, 6, 6), (4, 6), (4,)
SAMPLES = 16
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("QuantConv1d", "QuantConv2d"), (4, 4, 3)),
    **dict.fromkeys(("QuantConvTranspose1d", "QuantConvTranspose2d"), (4, 4, 3)),
    **dict.fromkeys(("QuantLinear", "HadamardClassifier"), (4, 4)),
    "TruncAvgPool2d": (2,), "TruncAdaptiveAvgPool2d": (3,), "QuantUpsample": (None, 2),
    "QuantUpsamplingNearest2d": (None, 2), "QuantUpsamplingBilinear2d": (None, 2),
    "QuantScaleBias": (4, True, (1, 4, 1, 1)), "ScaleBias": (4, True, (1, 4, 1, 1)),
    "BatchNorm1dToQuantScaleBias": (4,), "BatchNorm2dToQuantScaleBias": (4,),
}  # fmt: skip
_PAIRS = ("QuantCat", "QuantEltwiseAdd")
_QUANTIZERS = ("QuantHardTanh", "QuantIdentity", "QuantReLU", "QuantSigmoid", "QuantTanh")
_QUANTIZERS += ("QuantHardSwish",)


class Tried(nn.Module):
    """Levels, a convolution where one is needed, the class, and levels again."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        from brevitas import nn as quantized

        two = {"bit_width": 2, "return_quant_tensor": True}
        self.first = quantized.QuantIdentity(**two)
        self.weights = None
        if type(body).__name__ in _QUANTIZERS:
            self.weights = quantized.QuantConv2d(4, 4, 1, weight_bit_width=4)
        self.body, self.pair = body, type(body).__name__ in _PAIRS
        self.last = quantized.QuantReLU(**two)

    def forward(self, x: Tensor) -> Any:
        """The levels of the last quantizer."""
        x = self.first(x)
        x = x if self.weights is None else self.weights(x)
        if type(self.body).__name__ == "QuantCat":
            return self.last(self.body([x, x]))
        return self.last(self.body(x, x) if self.pair else self.body(x))


def _made(cls: type[nn.Module]) -> nn.Module | None:
    name = cls.__name__
    more: dict[str, Any] = {"bit_width": 2} if name in (*_QUANTIZERS, *_PAIRS) else {}
    more |= {"return_quant_tensor": True} if more else {}
    if name == "QuantHardTanh":
        more |= {"min_val": -1.0, "max_val": 1.0}
    for arguments in [_ARGUMENTS.get(name, ()), (4,)]:
        try:
            return cls(*arguments, **more)
        except Exception:  # of another signature
            continue
    return None


def settled(net: nn.Module, x: Tensor) -> Any:
    """What a network gives after a few batches of statistics; None where Brevitas cannot run it."""
    try:
        for _ in range(4):
            net.train()(x)
        return net.eval()(x)
    except Exception:  # of Brevitas: it takes something else
        return None


def attempt(net: nn.Module, own: Any, x: Tensor) -> PurespikeError | None:
    """What refuses a network; None if all its levels are Brevitas' own.

    Raises:
        AssertionError: If it is captured as something else than it computes.
    """
    levels = torch.round(own.value / own.scale).detach().numpy()
    try:
        graph = quantized_graph(net, tuple(x.shape[1:]))
    except PurespikeError as e:
        return e
    found = run(graph, x[None].double().numpy()).values[graph.outputs[0]][-1]
    assert (found == levels.reshape(found.shape)).all() and levels.max() > levels.min()
    return None


def rows() -> Iterator[Row]:
    """Each class of brevitas.nn, tried."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brevitas import nn as quantized

        for name in sorted(dir(quantized)):
            cls = getattr(quantized, name)
            if inspect.isclass(cls) and issubclass(cls, nn.Module):
                yield _row(cls)


def _row(cls: type[nn.Module]) -> Row:
    name = cls.__name__
    body = _made(cls)
    if body is None:
        return Row("Brevitas", name, "not tried: it is made with arguments of its own")
    flat = "Linear" in name or name == "HadamardClassifier"
    torch.manual_seed(0)
    x = torch.rand(SAMPLES, *(FLAT if flat else SIGNAL if "1d" in name else IMAGE))
    net = Tried(body)
    own = settled(net, x)
    if own is None:
        return Row("Brevitas", name, "not tried: it does not run between quantizers")
    refused = attempt(net, own, x)
    if refused is None:
        return Row("Brevitas", name, "exact")
    why = refused.message.partition(": ")[2] or refused.message
    return Row("Brevitas", name, "refused", why, refused.remedy.replace("these", "those above"))


if __name__ == "__main__":
    for row in rows():
        print(row)
