"""Modules of Brevitas as a graph of levels: what their own quantizers say, in exact fractions.

Known by the path of their classes, so that Brevitas need not be there. A module is a network
without memory: it is called with (B, ...), and its graph has one step. Every quantizer is asked for
its scale, zero point and bits, and then tried: what it makes of numbers around all of its
boundaries has to be what those say.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import ANALOG, Domain
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Conv2d, Linear, MaxPool2d
from purespike.compiler.ir.ops.levels import Rounding
from purespike.compiler.quantized.counting import uniform
from purespike.compiler.quantized.exact import Affine, Clip, Exact, exact
from purespike.compiler.quantized.network import QuantizedNetwork
from purespike.compiler.quantized.value import Value
from purespike.trainer.capture.conversions import CaptureError

SPACE = "brevitas.nn"
_ROUNDINGS: dict[str, Rounding] = {
    "ROUND": "half even",
    "FLOOR": "floor",
    "CEIL": "ceil",
    "ROUND_TO_ZERO": "down",
}
_ALLOWED = (
    "QuantIdentity, QuantReLU, QuantHardTanh, QuantConv2d, QuantLinear, QuantEltwiseAdd; of torch "
    "BatchNorm1d and 2d, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Flatten, Dropout, "
    "Identity; sums, flatten"
)


def is_brevitas(module: nn.Module) -> bool:
    """Is a module, or one in it, a layer of Brevitas?"""
    return any(_brevitas(m) for m in module.modules())


def _brevitas(module: nn.Module) -> bool:
    return any(c.__module__.startswith(f"{SPACE}.") for c in type(module).__mro__)


def quantized_graph(
    module: nn.Module, shape: tuple[int, ...], *, dt: float = 1e-3, domain: Domain = ANALOG
) -> Graph:
    """The graph of a Brevitas module, as it computes in evaluation mode.

    Args:
        module: Takes (B, *shape), returns (B, ...) or a QuantTensor of that.
        shape: Of one sample.
        dt: Seconds per step; nothing depends on it.
        domain: What the input carries.

    Returns:
        A graph of one step in whole numbers, its activations `Levels`; see
        `purespike.compiler.quantized`.

    Raises:
        CaptureError: If something in it has no exact form; it names the module.
    """
    with _evaluating(module), torch.no_grad():
        walk = _Walk(module, QuantizedNetwork(shape, domain))
        traced = _Tracer().trace(module)
        for node in traced.nodes:
            walk.visit(node)
        return walk.graph(dt)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes.items():
            m.training = mode


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _brevitas(m) or super().is_leaf_module(m, module_qualified_name)


class _Walk:
    """The values of the traced nodes, one after the other."""

    def __init__(self, root: nn.Module, network: QuantizedNetwork) -> None:
        self.root, self.network = root, network
        self.values: dict[fx.Node, Any] = {}
        self.output: Value | None = None

    def graph(self, dt: float) -> Graph:
        if self.output is None:
            raise CaptureError("the module returns nothing that depends on its input")
        try:
            return self.network.graph((self.network.readout(self.output, "readout"),), dt)
        except PurespikeError as e:
            raise _at("the module's output", e) from None

    def visit(self, node: fx.Node) -> None:
        where = str(node.target)
        try:
            self.values[node] = self._value(node)
        except PurespikeError as e:
            raise _at(e.where or where, e) from None

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            if len(self.values):
                raise CaptureError("a forward takes more than the input", found=str(node.target))
            return self.network.input()
        if node.op == "output":
            found = node.args[0]
            found = found[0] if isinstance(found, tuple | list) else found
            self.output = self._of(found)
            return None
        x: Any = self._of(node.args[0]) if node.args else None
        if node.op == "call_module":
            path = str(node.target)
            module = self.root.get_submodule(path)
            return self._module(module, x, [self._of(a) for a in node.args[1:]], path)
        return self._call(node, x)

    def _of(self, x: Any) -> Any:
        return self.values[x] if isinstance(x, fx.Node) else x

    def _call(self, node: fx.Node, x: Any) -> Any:
        target, name = node.target, str(node.name)
        rest = [self._of(a) for a in node.args[1:]] + list(node.kwargs.values())
        if target in (operator.add, torch.add, "add") and len(rest) == 1:
            return self._sum(x, rest[0], name)
        if target in (torch.flatten, "flatten", "view", "reshape", torch.reshape):
            size = rest[0] if rest and isinstance(rest[0], tuple | list) else rest
            flat = [n for n in size if isinstance(n, int)][-1:]
            starts = target in (torch.flatten, "flatten") and list(size[:1]) == [1]
            if starts or flat in ([-1], [math.prod(x.seen)]):
                return self.network.flatten(x, name)
        if target in ("size", getattr) and (target == "size" or rest[:1] == ["shape"]):
            return _Size()
        if target is operator.getitem and isinstance(x, _Size):
            return _Size()
        if target is getattr and rest[:1] == ["value"]:  # of a QuantTensor
            return x
        if target in (functional.relu, torch.relu, "relu"):
            return x.then(Clip(low=Fraction(0)))
        raise CaptureError(
            "an operation that has no exact form in levels and spikes",
            found=getattr(target, "__name__", str(target)),
            allowed=_ALLOWED,
            remedy="write it with these, or leave it to the host",
        )

    def _sum(self, a: Any, b: Any, path: str) -> Value:
        if not (isinstance(a, Value) and isinstance(b, Value)):
            raise CaptureError("a constant is added", remedy="let a layer have it as its bias")
        return self.network.add(a, b, path)

    # ---- modules ------------------------------------------------------------------------------

    def _module(self, m: Any, x: Value, rest: list[Any], path: str) -> Value:
        if _brevitas(m):
            return self._quantized(m, x, rest, path)
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            return _norm(m, x)
        if isinstance(m, nn.Flatten):
            return self.network.flatten(x, path)
        if isinstance(m, nn.Dropout | nn.Dropout2d | nn.Identity):
            return x
        if isinstance(m, nn.ReLU):
            return x.then(Clip(low=Fraction(0)))
        if isinstance(m, nn.MaxPool2d) and not m.ceil_mode and _two(m.dilation) == (1, 1):
            pool = MaxPool2d(_two(m.kernel_size), _two(m.stride), _two(m.padding))
            return self.network.max_pool(x, pool, path)
        if isinstance(m, nn.AvgPool2d) and _plain(m):
            return self._mean(x, _two(m.kernel_size), _two(m.stride), _two(m.padding), path)
        if isinstance(m, nn.AdaptiveAvgPool2d) and len(x.seen) == 3:
            wanted = tuple(
                n if n is not None else s
                for n, s in zip(_two(m.output_size), x.seen[1:], strict=True)
            )
            if all(s % n == 0 for s, n in zip(x.seen[1:], wanted, strict=True)):
                size = (x.seen[1] // wanted[0], x.seen[2] // wanted[1])
                return self._mean(x, size, size, (0, 0), path)
        raise _unknown(m)

    def _mean(
        self,
        x: Value,
        size: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int],
        path: str,
    ) -> Value:
        made = self.network.sum_pool(x, size, stride, pad, path)
        return made.then(Affine.of(Fraction(1, size[0] * size[1])))

    def _quantized(self, m: Any, x: Value, rest: list[Any], path: str) -> Value:
        name = next(c.__name__ for c in type(m).__mro__ if c.__module__.startswith(f"{SPACE}."))
        if name in ("QuantIdentity", "QuantReLU", "QuantHardTanh", "QuantNLAL"):
            return self._through(m.act_quant, self._through(m.input_quant, x, path), path)
        if name == "QuantEltwiseAdd":
            a, b = (self._through(m.input_quant, v, path) for v in (x, *rest))
            return self._through(m.output_quant, self.network.add(a, b, path), path)
        if name in ("QuantConv2d", "QuantLinear"):
            taken = self._through(m.input_quant, x, path)
            return self._through(m.output_quant, _layer(self.network, m, taken, path), path)
        raise _unknown(m)

    def _through(self, proxy: Any, x: Value, path: str) -> Value:
        """The quantizer of activations behind a value, if there is one."""
        inner = getattr(proxy, "fused_activation_quant_proxy", None)
        activation = None if inner is None else inner.activation_impl
        if isinstance(activation, nn.ReLU):
            x = x.then(Clip(low=Fraction(0)))
        elif isinstance(activation, nn.Hardtanh):
            x = x.then(Clip(Fraction(activation.min_val), Fraction(activation.max_val)))
        elif type(activation).__name__ not in ("Identity", "NoneType"):
            raise _unknown(activation)
        if not proxy.is_quant_enabled:
            return x
        scale, zero = (_by_channel(t, x) for t in (proxy.scale(), proxy.zero_point()))
        mode = _ROUNDINGS.get(str(proxy.rounding_mode).upper())
        bits = float(proxy.bit_width())
        if mode is None or not bits.is_integer() or min(scale.ravel().tolist()) <= 0:
            raise CaptureError(
                "a quantizer that is not uniform",
                found=f"rounding {proxy.rounding_mode}, {bits:g} bits",
                allowed=f"{', '.join(_ROUNDINGS)}, whole bits",
            )
        counter = uniform(
            scale, zero, int(bits), bool(proxy.is_signed), bool(proxy.is_narrow_range), mode
        )
        made = self.network.quantize(x, counter, path)
        _try(proxy, activation, counter.boundaries, counter.worth, counter.strict)
        return made


class _Size:
    """A size that a forward reads, of which only the number of samples is used."""


def _at(where: str, e: PurespikeError) -> CaptureError:
    details = {k: getattr(e, k) for k in ("found", "allowed", "remedy")}
    return CaptureError(e.message, where=where, **details)


def _unknown(m: Any) -> CaptureError:
    return CaptureError(
        "a module that has no exact form in levels and spikes",
        found=f"{type(m).__module__}.{type(m).__name__}({getattr(m, 'extra_repr', str)()})",
        allowed=_ALLOWED,
        remedy="write it with these, or leave it to the host",
    )


def _plain(m: nn.AvgPool2d) -> bool:
    """Is each of its results the mean of as many values?"""
    counted = m.count_include_pad or not any(_two(m.padding))
    return counted and not m.ceil_mode and m.divisor_override is None


def _two(x: Any) -> tuple[int, int]:
    return (int(x), int(x)) if isinstance(x, int) else (x[0], x[1])


def _exact(t: Tensor) -> Exact:
    return exact(t.detach().cpu().numpy())


def _by_channel(t: Any, x: Value) -> Exact:
    """A parameter of a quantizer as () or (C, 1, ...)."""
    found = _exact(t if isinstance(t, Tensor) else torch.tensor(float(t)))
    if found.size == 1:
        return found.reshape(())
    return found.reshape(x.seen[0], *(1,) * (len(x.seen) - 1))


def _norm(m: Any, x: Value) -> Value:
    if m.running_mean is None:
        raise CaptureError("a norm without statistics of its own", found=str(m))
    rows = (-1, *(1,) * (len(x.shape) - 1))
    ones = torch.ones_like(m.running_mean)
    gamma, beta = (ones, 0 * ones) if m.weight is None else (m.weight, m.bias)
    found = [_exact(t).reshape(rows) for t in (gamma, beta, m.running_mean, m.running_var)]
    inside = np.asarray(found[3] + Fraction(m.eps), dtype=object)
    centered = x.then(Affine(exact(1), np.asarray(-found[2], dtype=object)))
    return centered.then(Affine(found[0], found[1], inside))


def _layer(network: QuantizedNetwork, m: Any, x: Value, path: str) -> Value:
    if not m.weight_quant.is_quant_enabled:
        raise CaptureError("weights that are not quantized", remedy="give the layer a weight_quant")
    weight = m.quant_weight()
    whole = torch.round(weight.value / weight.scale).detach().numpy().astype(np.float64)
    scale = _exact(weight.scale)
    if not torch.equal(torch.from_numpy(whole).float() * weight.scale, weight.value):
        raise CaptureError("weights off the grid of their own quantizer", found=str(weight.scale))
    unit = scale.reshape(()) if scale.size == 1 else scale.reshape(len(whole), -1)[:, 0]
    rows = (-1, *(1,) * (len(x.seen) - 1))
    if isinstance(m, nn.Conv2d):
        if m.padding_mode != "zeros" or isinstance(m.padding, str):
            raise CaptureError("padding with something else than zeros", found=str(m.padding))
        op: Conv2d | Linear = Conv2d(
            whole, None, _two(m.stride), _two(m.padding), _two(m.dilation), m.groups
        )
    else:
        op = Linear(whole)
    made = network.layer(x, op, unit.reshape(rows) if unit.size > 1 else unit, path)
    if m.bias is None:
        return made
    factor, _ = made.worth("a bias")
    if not m.bias_quant.is_quant_enabled:
        return made.then(Affine(exact(1), _exact(m.bias).reshape(rows)))
    if not m.bias_quant.requires_input_scale:
        value = m.bias_quant(m.bias).value
        return made.then(Affine(exact(1), _exact(value).reshape(rows)))
    # The scale of the bias is that of the sum, in float32; what it rounds to is meant exactly.
    floats = np.broadcast_to(factor.astype(np.float32).reshape(-1), m.bias.shape)
    steps = np.rint(m.bias.detach().numpy() / floats)
    bias = np.asarray(exact(steps).reshape(rows) * factor, dtype=object)
    return made.then(Affine(exact(1), bias))


def _try(
    proxy: Any,
    activation: nn.Module | None,
    boundaries: Exact,
    worth: Affine,
    strict: tuple[bool, ...],
) -> None:
    """Raise unless Brevitas' own quantizer gives these levels beside each boundary.

    Not at the boundaries themselves: there float32 decides, and not the quantizer.
    """
    if boundaries.size != len(boundaries):  # by channel: one of them is as good as all
        return
    bounds = boundaries.reshape(-1).astype(np.float64)
    step = max(1e-12, float(np.diff(bounds).min(initial=abs(float(worth.factor.reshape(-1)[0])))))
    x = np.concatenate([bounds - step / 4, bounds + step / 4]).astype(np.float32)
    seen = x.astype(np.float64)
    if isinstance(activation, nn.ReLU):
        seen = np.maximum(seen, 0)
    elif isinstance(activation, nn.Hardtanh):
        seen = np.clip(seen, activation.min_val, activation.max_val)
    counts = (seen[:, None] >= bounds).sum(axis=1)
    factor, shift = (float(a.reshape(-1)[0]) for a in (worth.factor, worth.shift))
    given = proxy(torch.from_numpy(x))
    theirs = (given.value if hasattr(given, "value") else given).detach().numpy()
    if not np.allclose(theirs, counts * factor + shift, rtol=1e-5, atol=abs(factor) * 1e-3):
        raise CaptureError(
            "a quantizer that computes something else than its scale, zero point and bits say",
            found=f"{type(proxy).__name__} with {len(strict)} boundaries",
            remedy="export it with Brevitas' export_qonnx, and compile the file",
        )


__all__ = ["is_brevitas", "quantized_graph"]
