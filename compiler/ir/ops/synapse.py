"""Synapses: the linear operations that weigh what they receive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array, Domain, Reach, image, with_zero
from purespike.compiler.ir.graph import Edge, IRError, Op, Shape, frozen
from purespike.compiler.wording import Advice

Pair = tuple[int, int]
_CHANNELS_FIRST = Advice(
    "channels stand first here, (C, H, W), and stand last in this input: move that axis of the "
    "data, which is then (T, B, C, H, W): np.moveaxis(inputs, -1, 2); or state {shape} so"
)


@dataclass(frozen=True, eq=False)
class Conv2d(Op):
    """2-D cross-correlation as in torch: weight (out, in / groups, kH, kW), bias (out,) or None."""

    weight: Array
    bias: Array | None = None
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight))
        if self.bias is not None:
            object.__setattr__(self, "bias", frozen(self.bias))

    @cached_property
    def reach(self) -> Reach:
        """Sums of the weights of each output: asked for at every check, computed once."""
        return Reach.of(self.weight.reshape(len(self.weight), -1))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """(in, H, W) -> (out, H', W'); the domain is the exact image of the weights."""
        (x,) = inputs
        fits = self.weight.ndim == 4 and len(x.shape) == 3
        fits = fits and x.shape[0] == self.weight.shape[1] * self.groups
        if not fits or len(self.weight) % self.groups or not _one_each(self.bias, self.weight):
            bias = "" if self.bias is None else f", bias {self.bias.shape}"
            raise IRError(
                "the convolution does not fit its input",
                found=f"input {x}, weight {self.weight.shape}{bias}, groups {self.groups}",
                allowed="an input (C, H, W), a weight (out, C / groups, kH, kW), a bias (out,)",
                remedy=_CHANNELS_FIRST
                if self.weight.ndim == 4 and x.shape[-1:] == (self.weight.shape[1] * self.groups,)
                else "give the layer as many input channels (in_channels) as what arrives has",
            )
        out, _, kh, kw = self.weight.shape
        spans = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, (kh, kw), strict=True))
        rooms = [n + 2 * p - s for n, p, s in zip(x.shape[1:], self.padding, spans, strict=True)]
        if min(rooms) < 0:
            raise IRError("the kernel is larger than its padded input", found=f"{spans} on {x}")
        height, width = (r // s + 1 for r, s in zip(rooms, self.stride, strict=True))
        domain = with_zero(x.domain) if any(self.padding) else x.domain
        return (out, height, width), image(self.reach, self.bias, domain)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Unfold the windows and multiply: one matrix product a group."""
        (x,) = inputs
        dh, dw = self.dilation
        kh, kw = self.weight.shape[2:]
        span = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
        # (B, in, H', W', kH, kW)
        windows = unfold(x, span, self.stride, self.padding)[..., ::dh, ::dw]
        batch, _, height, width = windows.shape[:4]
        outputs, heard = len(self.weight) // self.groups, self.weight.shape[1]
        parts = []
        for g in range(self.groups):
            part = windows[:, g * heard : (g + 1) * heard]
            columns = part.transpose(0, 2, 3, 1, 4, 5).reshape(batch * height * width, -1)
            w = self.weight[g * outputs : (g + 1) * outputs].reshape(outputs, -1)
            parts.append(columns @ w.T)
        y = parts[0] if self.groups == 1 else np.concatenate(parts, axis=1)
        y = y.reshape(batch, height, width, -1).transpose(0, 3, 1, 2)
        return None, y if self.bias is None else y + self.bias[:, None, None]

    def arrays(self) -> dict[str, Array]:
        """Weight, and bias where there is one."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def details(self) -> str:
        """Kernel and geometry."""
        text = f"{'x'.join(map(str, self.weight.shape))}, stride {self.stride}, pad {self.padding}"
        text += f", dilation {self.dilation}" if self.dilation != (1, 1) else ""
        return text + (f", groups {self.groups}" if self.groups > 1 else "")


class _Weight:
    """The field ``weight`` of a linear layer: what is kept, or made of it when it is asked for."""

    def __get__(self, op: Linear | None, owner: type[Linear]) -> Array:
        if op is None:
            raise AttributeError("weight")  # tells the dataclass that there is no default
        return op.kept if op.run == 1 else op.spread(op.kept)

    def __set__(self, op: Linear, weight: Array) -> None:
        shared = isinstance(weight, np.ndarray) and weight.ndim == 3 and weight.strides[2] == 0
        object.__setattr__(op, "run", weight.shape[2] if shared else 1)
        object.__setattr__(op, "kept", frozen(weight[:, :, 0] if shared else weight))


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """``y = W x + b``: weight (out, in), bias (out,) or None.

    Behind a global average pool all places of a channel share a weight: `shared` makes a layer that
    keeps one for each ``run`` of inputs. Its ``weight`` is an array of the full size, made whenever
    it is asked for, which is 800 MB where 100 352 inputs reach 1000 outputs; whoever works value by
    value takes ``kept`` and, for a file, `spread`.

    Attributes:
        weight: (out, in).
        bias: (out,) or None.
        kept: (out, in / run), what is in memory.
        run: How many inputs in a row share a weight; 1 unless `shared`.
    """

    weight: _Weight = _Weight()
    bias: Array | None = None
    kept: Array = field(init=False, repr=False)
    run: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.bias is not None:
            object.__setattr__(self, "bias", frozen(self.bias))

    @classmethod
    def shared(cls, kept: Array, bias: Array | None, run: int) -> Linear:
        """A layer whose weight is ``np.repeat(kept, run, axis=1)``, of which it keeps ``kept``."""
        return cls(np.broadcast_to(kept[:, :, None], (*kept.shape, run)) if run > 1 else kept, bias)

    def spread(self, kept: NDArray[Any]) -> NDArray[Any]:
        """One column of ``kept`` (out, in / run) for each input, in the type that it has."""
        return kept if self.run == 1 else np.repeat(kept, self.run, axis=1)

    @property
    def shape(self) -> Shape:
        """The shape of the weight, without making it."""
        if self.run == 1:
            return self.kept.shape
        return self.kept.shape[0], self.kept.shape[1] * self.run

    @cached_property
    def reach(self) -> Reach:
        """Sums of the weights of each output: asked for at every check, computed once."""
        one = Reach.of(self.kept.reshape(len(self.kept), -1))
        return Reach(one.positive * self.run, one.negative * self.run, one.whole)

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """(in,) -> (out,); the domain is the exact image of the weights."""
        (x,) = inputs
        fits = self.kept.ndim == 2 and x.shape == self.shape[1:]
        if not fits or not _one_each(self.bias, self.kept):
            bias = "" if self.bias is None else f", bias {self.bias.shape}"
            raise IRError(
                "the linear layer does not fit its input",
                found=f"input {x}, weight {self.shape}{bias}",
                allowed="an input (in,), a weight (out, in), a bias (out,)",
                remedy="flatten what arrives, and give the layer as many inputs (in_features)",
            )
        return self.shape[:1], image(self.reach, self.bias, x.domain)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """One matrix product; what shares a weight is added up first."""
        (x,) = inputs
        if self.run > 1:
            x = x.reshape(len(x), -1, self.run).sum(axis=2)
        y = x @ self.kept.T
        return None, y if self.bias is None else y + self.bias

    def arrays(self) -> dict[str, Array]:
        """Weight, and bias where there is one."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def details(self) -> str:
        """Outputs x inputs."""
        return "x".join(map(str, self.shape))


def reweighted(
    op: Conv2d | Linear, change: Callable[[Array], Array], bias: Array | None
) -> Conv2d | Linear:
    """The layer with another bias, and with what ``change`` makes of its weights.

    Args:
        op: A layer.
        change: Maps weights to a new array of the same shape, value by value or row by row; a
            row holds each weight that inputs share once.
        bias: (out,) or None.
    """
    weight = change(op.kept if isinstance(op, Linear) else op.weight)
    if weight.base is None:
        weight.setflags(write=False)  # nobody else has it: no copy is made
    if isinstance(op, Linear):
        return Linear.shared(weight, bias, op.run)
    return replace(op, weight=weight, bias=bias)


@dataclass(frozen=True, eq=False)
class Scale(Op):
    """``y = factor * x`` value by value: on spikes, one synapse a neuron (a one-to-one synapse).

    ``factor`` is a scalar or an array that broadcasts to the input's shape, such as (C, 1, 1).
    """

    factor: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", frozen(self.factor))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same shape; the domain is scaled."""
        (x,) = inputs
        broadcasts(self.factor, x)
        low, high, d = float(self.factor.min()), float(self.factor.max()), x.domain
        if low == high:
            if low == 0:
                return x.shape, Domain(0, 0, 0)
            lo, hi = sorted((low * d.lo, low * d.hi))
            # A grid with no lowest value goes through zero, where this one may not.
            through = d <= Domain(-np.inf, np.inf, d.step)
            step = abs(low) * d.step if through or np.isfinite(lo) else 0.0
            return x.shape, Domain(lo, hi, step)
        return x.shape, image(self.factor.reshape(-1, 1), None, d)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """One product a value."""
        return None, inputs[0] * self.factor

    def arrays(self) -> dict[str, Array]:
        """The factor."""
        return {"factor": self.factor}

    def details(self) -> str:
        """The factor, or its shape."""
        return f"x {self.factor:g}" if self.factor.ndim == 0 else f"x {self.factor.shape}"


def unfold(x: Array, window: Pair, stride: Pair, padding: Pair, fill: float = 0.0) -> Array:
    """Windows of images: (B, C, H, W) -> (B, C, H', W', h, w), a view, padded with ``fill``."""
    # Asked at every step: np.pad and sliding_window_view take 7 times as long on small images.
    (h, w), (down, right) = window, stride
    if any(padding):
        batch, channels, height, width = x.shape
        top, left = padding
        wide = np.full((batch, channels, height + 2 * top, width + 2 * left), fill, x.dtype)
        wide[:, :, top : top + height, left : left + width] = x
        x = wide
    batch, channels, height, width = x.shape
    if height < h or width < w:
        raise ValueError(f"windows of {window} on images of {(height, width)}")
    b, c, y, z = x.strides
    shape = (batch, channels, (height - h) // down + 1, (width - w) // right + 1, h, w)
    strides = (b, c, y * down, z * right, y, z)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def _one_each(bias: Array | None, weight: Array) -> bool:
    """Is there one bias an output, or none?"""
    return bias is None or bias.shape == weight.shape[:1]


def broadcasts(parameter: Array, x: Edge) -> None:
    """Raise IRError unless ``parameter`` broadcasts to the shape of ``x``."""
    try:
        fits = np.broadcast_shapes(parameter.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise IRError(
            "the parameter does not fit its input",
            found=f"parameter of shape {parameter.shape} on {x}",
            allowed="a scalar, (C, 1, 1), or the shape of the input",
        )
