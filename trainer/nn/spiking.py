"""Training by additions: a switch for networks as they are.

>>> import torch
>>> from purespike import nn
>>> model = torch.nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), nn.BatchNorm2d(8), nn.IF())
>>> with nn.spike_kernels(model) as kernels:
...     model(torch.ones(4, 1, 2, 8, 8)).sum().backward()
>>> kernels.pairs
('1', '2')

While it is on, modules of a network in training mode, on a CPU, in float32 or float64, compute so
(of them the normalizations under autocast to bfloat16, too, where all else is torch's):

- convolutions and linear layers whose input is spikes, by
  :mod:`purespike.trainer.nn.synapses`, where that is quicker
  (:mod:`purespike.trainer.nn.choosing`);
- a batch normalization whose only reader is a neuron, with the neuron
  (:mod:`purespike.trainer.nn.normed`), and with the convolution whose only reader it is
  (:mod:`purespike.trainer.nn.unit`);
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
from purespike.trainer.nn.carrying import carried
from purespike.trainer.nn.choosing import Choice, choose
from purespike.trainer.nn.deferring import Deferred, Link, Normed, listened
from purespike.trainer.nn.filtering import Sizes, kernel, shape_of
from purespike.trainer.nn.memory import Memory
from purespike.trainer.nn.pairs import pairs
from purespike.trainer.nn.paths import Fused, Through, whole
from purespike.trainer.nn.synapses import Packed, fits, gate, hear, pack, ready

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
    kernels.pairs = tuple(name for norm, neuron, _ in joined for name in (norm, neuron))
    modules = dict(model.named_modules())
    begun = {}
    try:
        for norm, neuron, convolution in joined:
            link = Link(modules[norm], modules[neuron])
            if convolution:
                begun[convolution] = link
            _become(link.norm, Deferred, link, changed)
            _become(link.neuron, Normed, link, changed)
        spare = Memory()
        for block, paths in whole(modules, joined).items():
            _become(block, Through, Fused(block, paths, modules, kernels, spare), changed)
        for name, module in modules.items():
            mixin: type | None = _MIXINS.get(type(module))
            if name in begun:
                _become(module, _Begun, (name, kernels, begun[name]), changed)
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
        sizes = _sizes(self)
        if sizes is not None and input.dim() == 4:
            heard = _heard(self, input, weight, bias, sizes)
            if heard is not None:
                return heard
        plain: Tensor = super()._conv_forward(input, weight, bias)  # type: ignore[misc]
        return plain


class _Begun(_Hearing):
    """A convolution that leaves its work to the neuron behind its normalization."""

    def forward(self: Any, input: Tensor) -> Tensor:
        link = self._spiking[2]
        link.heard = None
        sizes = _sizes(self)
        if (
            sizes is not None
            and input.dim() == 5
            and self.bias is None
            and not listened(self)
            and not link.neuron._forward_hooks  # which see the currents
            and link.deferred(input, self.out_channels)
        ):
            size = torch.Size((input.shape[0] * input.shape[1], *input.shape[2:]))
            found = _listening(self, input, size, self.weight, sizes)
            if found is not None:
                spikes, events = found
                link.heard = input, spikes, (self.weight, sizes, events)
                promised: Tensor = link.promise(input, shape_of(size, self.weight.shape, sizes))
                return promised
        plain: Tensor = super().forward(input)  # type: ignore[misc]
        return plain


def _sizes(convolution: Any) -> Sizes | None:
    """Stride, padding and dilation of those that the kernels take."""
    padding = (0, 0) if convolution.padding == "valid" else convolution.padding
    if convolution.groups != 1 or convolution.padding_mode != "zeros" or isinstance(padding, str):
        return None
    return convolution.stride, padding, convolution.dilation


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
    found = _listening(layer, x, x.shape, weight, sizes)
    return None if found is None else hear(x, found[0], weight, bias, sizes, found[1])


def _listening(
    layer: Any, x: Tensor, size: torch.Size, weight: Tensor, sizes: Sizes
) -> tuple[Packed, tuple[bool, bool]] | None:
    """The bits of spikes x, images of that size, and what is computed of them by events."""
    name, kernels, *_ = layer._spiking
    if not (_on(layer, x) and weight.dtype == x.dtype and weight.requires_grad):
        return None
    if not fits(size, weight, sizes):  # torch says what is wrong
        return None
    known = kernels.choices.get(name)

    def useful(choice: Choice) -> bool:
        filtered = x.requires_grad and bool(kernel(size, weight, sizes))
        return choice.forward or choice.gradient or filtered

    if known is not None and not useful(known):
        return None
    spikes = carried(x) or pack(x if x.dim() == 4 else x.flatten(0, 1))
    if spikes is None:
        return None
    if known is None:
        rate = spikes.rate if kernels.rate is None else kernels.rate
        known = kernels.choices[name] = choose(size, weight.shape, sizes, rate)
        if not useful(known):
            return None
    return spikes, (known.forward, known.gradient)


class _Gated:
    """A gate."""

    def forward(self: Any, a: Tensor, s: Tensor) -> Tensor:
        if _on(self, a) and ready(s) and s.dtype == a.dtype:
            out = gate(a, s, type(self).__name__.lower())
            if out is not None:
                return out
        plain: Tensor = super().forward(a, s)  # type: ignore[misc]
        return plain


_MIXINS: dict[type, type] = {
    layers.Conv2d: _Hearing,
    nn.Conv2d: _Hearing,
    nn.Linear: _LinearHearing,
    gates.And: _Gated,
    gates.Or: _Gated,
    gates.Iand: _Gated,
    gates.Xor: _Gated,
}


def _on(module: Any, x: Tensor) -> bool:
    return (
        module.training
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and ready(x)
    )
