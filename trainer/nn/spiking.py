"""Training by additions: a switch for networks as they are.

>>> import torch
>>> from purespike import nn
>>> model = torch.nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), nn.BatchNorm2d(8), nn.IF())
>>> with nn.spike_kernels(model) as kernels:
...     model(torch.ones(4, 1, 2, 8, 8)).sum().backward()
>>> kernels.pairs
('1', '2')

While it is on, modules of a network in training mode, on a CPU, in float32 or float64, compute so:

- convolutions and linear layers whose input is spikes, by
  :mod:`purespike.trainer.nn.synapses`, where that is quicker
  (:mod:`purespike.trainer.nn.choosing`);
- a batch normalization whose only reader is a neuron, with the neuron
  (:mod:`purespike.trainer.nn.normed`);
- gates on bits: what they keep for the backward pass is a 32nd.

The numbers are those of the modules themselves up to the order of sums. Everything else, and
everything without a compiler, stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from purespike.trainer.nn import gates, layers
from purespike.trainer.nn.choosing import Choice, choose
from purespike.trainer.nn.normed import Neurons, fire_normed, statistics
from purespike.trainer.nn.pairs import pairs
from purespike.trainer.nn.synapses import Sizes, fits, gate, hear, pack, ready

__all__ = ["Kernels", "spike_kernels"]


@dataclass
class Kernels:
    """What is on.

    Attributes:
        choices: of each layer by name; those that are missing are chosen by the rate of the first
            spikes that they hear in training, and stay.
        rate: that is taken in place of the one that is heard; processes that train together must
            choose alike.
        pairs: names of normalizations and of the neurons that compute them.
    """

    choices: dict[str, Choice] = field(default_factory=dict)
    rate: float | None = None
    pairs: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line."""
        forward = sum(choice.forward for choice in self.choices.values())
        gradient = sum(choice.gradient for choice in self.choices.values())
        return (
            f"{forward} of {len(self.choices)} layers that hear spikes add them up, "
            f"{gradient} in the gradient of their weights; {len(self.pairs) // 2} normalizations "
            "are computed with their neurons"
        )


@contextmanager
def spike_kernels(
    model: nn.Module, choices: dict[str, Choice] | None = None, *, rate: float | None = None
) -> Iterator[Kernels]:
    """Train a network by additions within the context.

    Modules are of another class meanwhile; weights, names and hooks are theirs.

    Args:
        model: of modules of ``purespike.nn`` or torch's.
        choices: of an earlier training, which then computes the same bit for bit.
        rate: spikes a place, to choose by instead of the measured rate.
    """
    kernels = Kernels(dict(choices or {}), rate)
    changed: list[tuple[nn.Module, type]] = []
    joined = pairs(model)
    behind = {neuron: norm for norm, neuron in joined}
    kernels.pairs = tuple(name for pair in joined for name in pair)
    modules = dict(model.named_modules())
    try:
        for name, module in modules.items():
            mixin: type | None = _MIXINS.get(type(module))
            if name in behind:
                link = _Link(modules[behind[name]], module)
                _become(modules[behind[name]], _Deferred, link, changed)
                _become(module, _Normed, link, changed)
            elif mixin is not None:
                _become(module, mixin, (name, kernels), changed)
        yield kernels
    finally:
        for module, was in changed:
            module.__class__ = was
            del module.__dict__["_spiking"]


def _become(module: nn.Module, mixin: type, what: object, changed: list[Any]) -> None:
    changed.append((module, type(module)))
    module.__dict__["_spiking"] = what
    cls: Any = type(module)
    module.__class__ = _mixed(cls, mixin)


def _new(cls: Any) -> Any:
    return cls.__new__(cls)


@cache
def _mixed(cls: Any, mixin: Any) -> type:
    def reduced(self: Any, protocol: object) -> Any:  # a copy, or what is saved, is as it was
        state = {name: value for name, value in vars(self).items() if name != "_spiking"}
        return _new, (cls,), state

    names = {"__module__": cls.__module__, "__reduce_ex__": reduced}
    return type(cls.__name__, (mixin, cls), names)


class _Hearing:
    """A convolution."""

    def _conv_forward(self: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.dim() == 4 and self.groups == 1 and self.padding_mode == "zeros":
            padding = self.padding
            if padding == "valid":
                padding = (0, 0)
            if not isinstance(padding, str):
                sizes: Sizes = self.stride, padding, self.dilation
                heard = _heard(self, input, weight, bias, sizes)
                if heard is not None:
                    return heard
        plain: Tensor = super()._conv_forward(input, weight, bias)  # type: ignore[misc]
        return plain


class _LinearHearing:
    """A linear layer: a pointwise convolution of one image, whose pixels are samples and steps."""

    def forward(self: Any, input: Tensor) -> Tensor:
        if input.dim() >= 2 and input.numel():
            image = input.reshape(-1, input.shape[-1]).t()[None, :, None]
            sizes: Sizes = (1, 1), (0, 0), (1, 1)
            out = _heard(self, image, self.weight[:, :, None, None], self.bias, sizes)
            if out is not None:
                return out[0, :, 0].t().reshape(*input.shape[:-1], -1)
        plain: Tensor = super().forward(input)  # type: ignore[misc]
        return plain


def _heard(layer: Any, x: Tensor, weight: Tensor, bias: Tensor | None, sizes: Any) -> Tensor | None:
    """What a layer hears of spikes, by the kernels; None where torch is to compute it."""
    name, kernels = layer._spiking
    if not (_on(layer, x) and weight.dtype == x.dtype and weight.requires_grad):
        return None
    if not fits(x, weight, sizes):  # torch says what is wrong
        return None
    known = kernels.choices.get(name)
    if known is not None and not (known.forward or known.gradient):
        return None
    spikes = pack(x)
    if spikes is None:
        return None
    if known is None:
        rate = spikes.rate if kernels.rate is None else kernels.rate
        known = kernels.choices[name] = choose(x.shape, weight.shape, sizes, rate)
    if not (known.forward or known.gradient):
        return None
    return hear(x, spikes, weight, bias, sizes, (known.forward, known.gradient))


class _Gated:
    """A gate."""

    def forward(self: Any, a: Tensor, s: Tensor) -> Tensor:
        if _on(self, a) and ready(s) and s.dtype == a.dtype:
            out = gate(a, s, type(self).__name__.lower())
            if out is not None:
                return out
        plain: Tensor = super().forward(a, s)  # type: ignore[misc]
        return plain


class _Link:
    """A normalization and the neuron that computes it."""

    def __init__(self, norm: Any, neuron: Any) -> None:
        self.norm, self.neuron = norm, neuron
        self.pending: Tensor | None = None  # what the neuron shall normalize


class _Deferred:
    """A normalization that leaves its work to the neuron behind it."""

    def forward(self: Any, input: Tensor) -> Tensor:
        deferred = (
            _on(self, input)
            and input.dim() == 5
            and input.shape[2] == self.num_features
            and not self.over_processes
            and self.affine
            and self.weight.dtype == input.dtype
            and self.momentum is not None
            and self.running_mean is not None
            and not _listened(self)
            and not self._spiking.neuron._forward_pre_hooks
            and input.numel() > input.shape[2]
        )
        self._spiking.pending = input if deferred else None
        if deferred:
            return input
        plain: Tensor = super().forward(input)  # type: ignore[misc]
        return plain


class _Normed:
    """A neuron that normalizes its input, too."""

    def forward(self: Any, x: Tensor, steps: int | None = None) -> Tensor:
        link = self._spiking
        pending, link.pending = link.pending, None
        if pending is None or pending is not x:
            plain: Tensor = super().forward(x, steps)  # type: ignore[misc]
            return plain
        norm = link.norm
        if not x[0].is_contiguous(memory_format=torch.channels_last) or (
            len(x) > 1 and x.stride(0) != x[0].numel()
        ):
            flat = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            x = flat.reshape(*x.shape[:2], *flat.shape[1:])
        with torch.no_grad():
            mean, variance = moments = statistics(x.detach())
            count = x.numel() // x.shape[2]
            norm.running_mean.lerp_(mean.to(x.dtype), norm.momentum)
            unbiased = variance * (count / (count - 1))
            norm.running_var.lerp_(unbiased.to(x.dtype), norm.momentum)
            norm.num_batches_tracked.add_(1)
        weight = norm.weight
        if isinstance(norm, layers.ThresholdBatchNorm2d):
            weight = weight * norm.scale
        neurons = Neurons(self.decay, self.input_scale, self.dynamics(), steps)
        spikes, self.firing_rate = fire_normed(x, weight, norm.bias, moments, norm.eps, neurons)
        return spikes


_MIXINS: dict[type, type] = {
    layers.Conv2d: _Hearing,
    nn.Conv2d: _Hearing,
    nn.Linear: _LinearHearing,
    gates.And: _Gated,
    gates.Or: _Gated,
    gates.Iand: _Gated,
    gates.Xor: _Gated,
}


def _listened(module: Any) -> bool:
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def _on(module: Any, x: Tensor) -> bool:
    return (
        module.training
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and ready(x)
    )
