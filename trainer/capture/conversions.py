"""What each module of torch and of this trainer is in the graph: one operation, or two."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purespike.compiler.errors import Refusal
from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import IRError, Op
from purespike.compiler.ir.ops.join import GateKind
from purespike.compiler.ir.ops.levels import thresholds_of_rounding
from purespike.trainer.capture.masks import MASKS
from purespike.trainer.capture.reasons import reason_of
from purespike.trainer.nn import attention, gates, layers
from purespike.trainer.nn.auxiliary import Accumulate
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import Neuron

__all__ = [
    "CONVERSIONS",
    "CaptureError",
    "Converted",
    "converter",
    "is_operation",
    "on_tokens",
    "refused",
    "require",
    "unknown",
]


class CaptureError(Refusal):
    """A module or operation that has no meaning in the compiler's graph."""


def refused(e: IRError, where: str) -> CaptureError:
    """What the algebra of spikes does not know, as an error of the module that asks for it."""
    details = {k: getattr(e, k) for k in ("found", "allowed")}
    remedy = e.remedy or "express it with layers, neurons and gates of purespike.trainer"
    return CaptureError(e.message, where=where, remedy=remedy, **details)


_GATES: dict[type[nn.Module], GateKind] = {
    gates.And: "and",
    gates.Or: "or",
    gates.Iand: "iand",
    gates.Xor: "xor",
}


Converted = list[tuple[str, Op]]


def _array(x: Tensor) -> Array:
    dense = x.detach().to_dense() if x.layout != torch.strided else x.detach()
    return np.asarray(dense.cpu().to(torch.float64).numpy())


def _optional(x: Tensor | None) -> Array | None:
    return None if x is None else _array(x)


def _pair(x: Any) -> tuple[int, int]:
    return (int(x), int(x)) if isinstance(x, int) else (int(x[0]), int(x[1]))


def require(holds: bool, path: str, module: nn.Module, allowed: str) -> None:
    """Refuse the module at ``path`` if something about it has no exact form in the graph.

    Raises:
        CaptureError: If ``holds`` is false; it says what is ``allowed``.
    """
    if not holds:
        raise CaptureError(
            f"this {type(module).__name__} has no exact form in the graph",
            where=path,
            found=" ".join(repr(module).split()),
            allowed=allowed,
            remedy="build the module with what is allowed, or replace it",
        )


def _conv(m: nn.Conv2d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    require(m.padding_mode == "zeros", path, m, "padding_mode 'zeros'")
    if isinstance(m.padding, str):
        spans = [d * (k - 1) for d, k in zip(m.dilation, m.kernel_size, strict=True)]
        same = m.padding == "same"
        require(not same or all(s % 2 == 0 for s in spans), path, m, "the same padding both sides")
        padding = (spans[0] // 2, spans[1] // 2) if same else (0, 0)
    else:
        padding = _pair(m.padding)
    op = ops.Conv2d(
        _array(m.weight),
        _optional(m.bias),
        _pair(m.stride),
        padding,
        _pair(m.dilation),
        m.groups,
    )
    return [("", op)]


def _signal(m: nn.Module, shape: tuple[int, ...], path: str) -> None:
    """Signals (C, L) are images (C, 1, L) in the graph."""
    if len(shape) != 3 or shape[1] != 1:
        raise CaptureError(
            f"this {type(m).__name__} takes signals, and meets something else",
            where=path,
            found=f"{shape} of one sample" + (", which are its axes" if len(shape) == 2 else ""),
            allowed="signals (C, 1, L); behind squeeze(-2), or with torch's layers, (C, L)",
            remedy="give the input as (T, B, C, 1, L), and take the axis out in forward: "
            "x.squeeze(-2)",
        )


def _conv1d(m: nn.Conv1d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    _signal(m, shape, path)
    require(m.padding_mode == "zeros", path, m, "padding_mode 'zeros'")
    span = m.dilation[0] * (m.kernel_size[0] - 1)
    if isinstance(m.padding, str):
        same = m.padding == "same"
        require(not same or span % 2 == 0, path, m, "the same padding both sides")
        padding = span // 2 if same else 0
    else:
        padding = m.padding[0]
    weight = _array(m.weight)[:, :, None, :]  # a kernel of height 1
    wide = ((1, m.stride[0]), (0, padding), (1, m.dilation[0]))
    return [("", ops.Conv2d(weight, _optional(m.bias), *wide, m.groups))]


def _transposed(m: nn.ConvTranspose2d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    """Of stride 1 it is a convolution with the kernel turned, and the padding that is left."""
    if m.stride != (1, 1):
        raise unknown(m, path)
    plain = m.padding_mode == "zeros" and m.output_padding == (0, 0)
    require(plain, path, m, "padding_mode 'zeros', no output_padding")
    spans = [d * (k - 1) for d, k in zip(m.dilation, m.kernel_size, strict=True)]
    padding = (spans[0] - _pair(m.padding)[0], spans[1] - _pair(m.padding)[1])
    require(min(padding) >= 0, path, m, "a padding below the kernel's size")
    weight = _array(m.weight)  # (in, out / groups, kH, kW)
    parts = np.split(weight, m.groups)
    turned = np.concatenate([w.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1] for w in parts])
    op = ops.Conv2d(turned, _optional(m.bias), (1, 1), padding, _pair(m.dilation), m.groups)
    return [("", op)]


def _one(x: Any) -> int:
    return int(x) if isinstance(x, int) else int(x[0])


def _avg1d(m: nn.AvgPool1d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    _signal(m, shape, path)
    padding = _one(m.padding)
    require(not m.ceil_mode, path, m, "ceil_mode False")
    require(m.count_include_pad or not padding, path, m, "count_include_pad True")
    return [("", ops.AvgPool2d((1, _one(m.kernel_size)), (1, _one(m.stride)), (0, padding)))]


def _max1d(m: nn.MaxPool1d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    _signal(m, shape, path)
    plain = not m.ceil_mode and _one(m.dilation) == 1 and not m.return_indices
    require(plain, path, m, "ceil_mode False, dilation 1, no indices")
    kernel, stride = (1, _one(m.kernel_size)), (1, _one(m.stride))
    return [("", ops.MaxPool2d(kernel, stride, (0, _one(m.padding))))]


def _adaptive1d(
    m: nn.AdaptiveAvgPool1d, shape: tuple[int, ...], steps: int, path: str
) -> Converted:
    _signal(m, shape, path)
    size = _one(m.output_size)
    require(shape[2] % size == 0, path, m, f"an output size that divides {shape[2]}")
    kernel = (1, shape[2] // size)
    return [("", ops.AvgPool2d(kernel, kernel))]


def _upsample(m: nn.Upsample, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    factor = m.scale_factor
    same = m.size is None and {*(factor if isinstance(factor, tuple) else (factor,))} == {1.0}
    if not same:
        raise unknown(m, path)
    return []


def _linear(m: nn.Linear, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    return [("", ops.Linear(_array(m.weight), _optional(m.bias)))]


def _norm(
    m: nn.BatchNorm1d | nn.BatchNorm2d, shape: tuple[int, ...], steps: int, path: str
) -> Converted:
    if m.running_mean is None or m.running_var is None:
        require(False, path, m, "running statistics (track_running_stats=True)")
        raise AssertionError
    mean, variance = _array(m.running_mean), _array(m.running_var)
    weight = m.weight * m.scale if isinstance(m, layers.ThresholdBatchNorm2d) else m.weight
    gamma = np.ones_like(mean) if weight is None else _array(weight)
    beta = np.zeros_like(mean) if m.bias is None else _array(m.bias)
    return [("", ops.BatchNorm(gamma, beta, mean, variance, m.eps))]


def _norm1d(m: nn.BatchNorm1d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    if len(shape) != 1:
        _signal(m, shape, path)
    return _norm(m, shape, steps, path)


def _avg(m: nn.AvgPool2d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    padding = _pair(m.padding)
    even = not m.ceil_mode or _even(shape, _pair(m.kernel_size), _pair(m.stride), padding)
    plain = even and m.divisor_override is None
    require(plain, path, m, "ceil_mode False, or a map that it divides; no divisor_override")
    require(m.count_include_pad or padding == (0, 0), path, m, "count_include_pad True")
    return [("", ops.AvgPool2d(_pair(m.kernel_size), _pair(m.stride), padding))]


def _adaptive(m: nn.AdaptiveAvgPool2d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    kernel = _windows(m, shape, path)
    return [("", ops.AvgPool2d(kernel, kernel))]


def _adaptive_max(
    m: nn.AdaptiveMaxPool2d, shape: tuple[int, ...], steps: int, path: str
) -> Converted:
    require(not m.return_indices, path, m, "no indices")
    kernel = _windows(m, shape, path)
    return [("", ops.MaxPool2d(kernel, kernel))]


def _windows(
    m: nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d, shape: tuple[int, ...], path: str
) -> tuple[int, int]:
    """The equal windows of an adaptive pool; torch's overlap where they do not tile the map."""
    require(len(shape) == 3, path, m, f"an input (C, H, W), found {shape}")
    size = shape[1:]
    raw = m.output_size if isinstance(m.output_size, tuple) else (m.output_size,) * 2
    target = tuple(n if want is None else int(want) for n, want in zip(size, raw, strict=True))
    whole = all(n % t == 0 for n, t in zip(size, target, strict=True))
    require(whole, path, m, f"an output size that divides {size}")
    return size[0] // target[0], size[1] // target[1]


def _max(m: nn.MaxPool2d, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    kernel, stride, padding = (_pair(x) for x in (m.kernel_size, m.stride, m.padding))
    even = not m.ceil_mode or _even(shape, kernel, stride, padding)
    plain = even and _pair(m.dilation) == (1, 1) and not m.return_indices
    require(plain, path, m, "ceil_mode False, or a map that it divides; dilation 1, no indices")
    return [("", ops.MaxPool2d(kernel, stride, padding))]


def _even(
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> bool:
    """Do the windows end at the edge of the map, so that ceil_mode adds none?"""
    rooms = zip(shape[1:], kernel, stride, padding, strict=True) if len(shape) == 3 else ()
    return len(shape) == 3 and all((n + 2 * p - k) % s == 0 for n, k, s, p in rooms)


def _flatten(m: nn.Flatten, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    last = len(shape) + 1
    require(m.start_dim == 2 and m.end_dim in (-1, last), path, m, "start_dim 2 of (T, B, C, H, W)")
    return [("", ops.Flatten())]


def _neuron(m: Neuron, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    if m.reset not in ("zero", "subtract"):
        require(False, path, m, "reset 'zero' or 'subtract'")
    finite = all(bool(np.isfinite(np.asarray(x)).all()) for x in (m.threshold, m.amount))
    require(finite, path, m, "a finite threshold and reset amount")
    decay, factor = m.constants()  # of a PLIF: as trained
    op = (ops.RectifiedNeuron if m.rectified else ops.Neuron)(
        np.asarray(m.threshold),
        decay,
        "zero" if m.reset == "zero" else "subtract",
        np.asarray(m.amount),
    )
    scale = [] if factor == 1.0 else [(".input", ops.Scale(np.asarray(factor)))]
    return [*scale, ("", op)]


def _counting(m: ILIF, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    """A level activation; its count is that of the exact quotient, times what it is worth."""
    thresholds = thresholds_of_rounding(m.levels, m.threshold)
    counts = ops.Levels(thresholds, m.decay, np.asarray(m.threshold))
    if m.worth == 1:
        return [("", counts)]
    return [(".counts", counts), ("", ops.Scale(np.asarray(m.worth)))]


def _gate(m: nn.Module, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    kind = next(k for t, k in _GATES.items() if isinstance(m, t))
    return [("", ops.Gate(kind))]


CONVERSIONS: dict[type[nn.Module], Callable[..., Converted]] = {
    nn.Conv2d: _conv,
    nn.Conv1d: _conv1d,
    nn.ConvTranspose2d: _transposed,
    nn.Upsample: _upsample,
    nn.BatchNorm1d: _norm1d,
    nn.AvgPool1d: _avg1d,
    nn.MaxPool1d: _max1d,
    nn.AdaptiveAvgPool1d: _adaptive1d,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.AvgPool2d: _avg,
    nn.AdaptiveAvgPool2d: _adaptive,
    nn.AdaptiveMaxPool2d: _adaptive_max,
    nn.MaxPool2d: _max,
    nn.Flatten: _flatten,
    nn.ReLU: lambda m, shape, steps, path: [("", ops.Relu())],
    nn.Identity: lambda m, shape, steps, path: [],
    layers.TimeMean: lambda m, shape, steps, path: [("", ops.TimeMean(steps))],
    Neuron: _neuron,
    ILIF: _counting,
    Accumulate: lambda m, shape, steps, path: [("", ops.Add())],
    attention.AttentionScores: lambda m, shape, steps, path: [("", ops.AttentionScores(m.heads))],
    attention.AttentionMix: lambda m, shape, steps, path: [("", ops.AttentionMix(m.heads))],
    **MASKS,
    gates.Add: lambda m, shape, steps, path: [("", ops.Add())],
    **dict.fromkeys(_GATES, _gate),
    **dict.fromkeys(
        (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
        lambda m, shape, steps, path: [],
    ),
}
# What torch's convolutions call; a subclass may replace it behind an inherited forward.
CONVOLVE = tuple(
    t._conv_forward
    for t in (nn.Conv2d, nn.Conv1d, nn.ConvTranspose2d, layers.Conv2d, layers.Conv1d)
)

_LAYERS: tuple[type[nn.Module], ...] = (
    layers.AdaptiveMaxPool2d,
    layers.Conv1d,
    layers.Conv2d,
    layers.BatchNorm2d,
    layers.AvgPool2d,
    layers.GlobalAvgPool2d,
    layers.MaxPool2d,
    layers.ThresholdBatchNorm2d,
)
# The forwards whose meaning is known.
FORWARDS = {t.forward for t in (*CONVERSIONS, *_LAYERS)}


def on_tokens(module: nn.Module, shape: tuple[int, ...], path: str) -> Converted:
    """A layer on tokens (C, H W) as one on the map (C, H, W) that they are.

    Raises:
        CaptureError: If it looks at the axis of tokens.
    """
    if isinstance(module, nn.BatchNorm1d):
        return _norm(module, shape, 0, path)
    one = isinstance(module, nn.Conv1d) and module.kernel_size == module.stride == (1,)
    if not one or module.padding not in ((0,), "valid"):
        raise CaptureError(
            f"this {type(module).__name__} takes places of a map in a row",
            where=path,
            found=f"{module!r} on tokens of a map {shape}",
            allowed="Conv1d with a kernel of 1, BatchNorm1d, neurons",
            remedy="give it the map (C, H, W), as a layer of two axes",
        )
    assert isinstance(module, nn.Conv1d)
    weight = _array(module.weight)[..., None]
    return [("", ops.Conv2d(weight, _optional(module.bias), groups=module.groups))]


def is_operation(module: nn.Module) -> bool:
    """Whether a module is an operation of the graph, or derived from one."""
    return isinstance(module, tuple(CONVERSIONS))


_WHAT_PASSES = (
    "Conv2d, Linear, BatchNorm2d, average and max pools, Flatten, TimeMean, Dropout; neurons and "
    "gates of purespike.nn"
)


def unknown(module: nn.Module, path: str, allowed: Iterable[str] = ()) -> CaptureError:
    """The error of a module that is not an operation of the graph: why not, and what to do."""
    why, remedy = reason_of(module)
    first, *more = repr(module).splitlines()
    return CaptureError(
        f"the compiler has no operation for {type(module).__name__}" + (f": {why}" if why else ""),
        where=path,
        found=f"{first}...)" if more else first,
        allowed="" if why else ", ".join(sorted(allowed)) or _WHAT_PASSES,
        remedy=remedy or "replace the module, or write it with the ones above",
    )


def converter(module: nn.Module, path: str) -> Callable[..., Converted]:
    """What the module at ``path`` is in the graph.

    Raises:
        CaptureError: If it is none that the compiler knows, or computes in a way of its own.
    """
    base = next((t for t in CONVERSIONS if isinstance(module, t)), None)
    if base is None:
        raise unknown(module, path)
    own = {"forward", "_conv_forward"} & set(vars(module))
    inner = getattr(type(module), "_conv_forward", CONVOLVE[0])
    if type(module).forward not in FORWARDS or own or inner not in CONVOLVE:
        raise CaptureError(
            f"this {type(module).__name__} has a forward of its own",
            where=path,
            found=repr(module),
            allowed=f"modules that compute as {base.__name__} does",
            remedy="derive it from nn.Module, so that its forward is traced",
        )
    return CONVERSIONS[base]
