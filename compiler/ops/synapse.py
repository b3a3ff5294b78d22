"""Synapses: the linear operations that weigh what they receive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from purespike.compiler.domain import Array, Domain, Reach, image, with_zero
from purespike.compiler.ir import Edge, IRError, Op, Shape, frozen

Pair = tuple[int, int]


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
        parts = []
        for w, part in zip(
            np.split(self.weight, self.groups), np.split(windows, self.groups, axis=1), strict=True
        ):
            columns = part.transpose(0, 2, 3, 1, 4, 5).reshape(batch * height * width, -1)
            parts.append(columns @ w.reshape(len(w), -1).T)
        y = np.concatenate(parts, axis=1).reshape(batch, height, width, -1).transpose(0, 3, 1, 2)
        return None, y if self.bias is None else y + self.bias[:, None, None]

    def arrays(self) -> dict[str, Array]:
        """Weight, and bias where there is one."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def details(self) -> str:
        """Kernel and geometry."""
        text = f"{'x'.join(map(str, self.weight.shape))}, stride {self.stride}, pad {self.padding}"
        text += f", dilation {self.dilation}" if self.dilation != (1, 1) else ""
        return text + (f", groups {self.groups}" if self.groups > 1 else "")


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """``y = W x + b``: weight (out, in), bias (out,) or None."""

    weight: Array
    bias: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight))
        if self.bias is not None:
            object.__setattr__(self, "bias", frozen(self.bias))

    @cached_property
    def reach(self) -> Reach:
        """Sums of the weights of each output: asked for at every check, computed once."""
        return Reach.of(self.weight.reshape(len(self.weight), -1))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """(in,) -> (out,); the domain is the exact image of the weights."""
        (x,) = inputs
        fits = self.weight.ndim == 2 and x.shape == self.weight.shape[1:]
        if not fits or not _one_each(self.bias, self.weight):
            bias = "" if self.bias is None else f", bias {self.bias.shape}"
            raise IRError(
                "the linear layer does not fit its input",
                found=f"input {x}, weight {self.weight.shape}{bias}",
                allowed="an input (in,), a weight (out, in), a bias (out,)",
            )
        return self.weight.shape[:1], image(self.reach, self.bias, x.domain)

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """One matrix product."""
        y = inputs[0] @ self.weight.T
        return None, y if self.bias is None else y + self.bias

    def arrays(self) -> dict[str, Array]:
        """Weight, and bias where there is one."""
        return {"weight": self.weight} | ({} if self.bias is None else {"bias": self.bias})

    def details(self) -> str:
        """Outputs x inputs."""
        return "x".join(map(str, self.weight.shape))


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


def unfold(x: Array, window: Pair, stride: Pair, padding: Pair) -> Array:
    """Windows of images: (B, C, H, W) -> (B, C, H', W', h, w), a view, padded with zeros."""
    if any(padding):
        x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    slide: Any = np.lib.stride_tricks.sliding_window_view  # its stub knows no pairs of axes
    view: Array = slide(x, window, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1]]


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
