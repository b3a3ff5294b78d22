"""How gradients travel through a deep network, and which surrogate carries them.

Ledinauskas et al. 2020 (Training Deep Spiking Neural Networks) train networks of ResNet-50's depth
by choosing the width of the surrogate: too wide and gradients explode on their way to the first
layer, too narrow and they vanish. Here that is measured on one batch, layer by layer, for any
surrogate; nothing is trained.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import Neuron
from purespike.trainer.nn.surrogate import Shaped, Surrogate

__all__ = ["LayerGradient", "SurrogateScan", "layer_gradients", "scan_surrogates", "tune_width"]

Objective = Callable[[dict[str, Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class LayerGradient:
    """What one neuron layer saw.

    Attributes:
        name: dotted path of the neuron.
        gradient: root mean square of dL/d(spikes) of the layer.
        rate: spikes a neuron and step.
    """

    name: str
    gradient: float
    rate: float


@dataclass(frozen=True)
class SurrogateScan:
    """One surrogate on one network.

    Attributes:
        surrogate: what all neurons used.
        layers: in the order of the forward pass.
        gain: factor by which the gradient grows from one layer to the one in front of it, as a
            geometric mean over the network: above 1 it explodes, below 1 it vanishes.
    """

    surrogate: Surrogate
    layers: tuple[LayerGradient, ...]
    gain: float


def layer_gradients(
    model: nn.Module, x: Tensor, labels: Tensor, objective: Objective | None = None
) -> tuple[LayerGradient, ...]:
    """Measure the gradient at every neuron layer on one batch; the model is left as it is.

    Args:
        model: returns logits (B, K), or a dict of them.
        x: input, (T, B, C, H, W).
        labels: (B,).
        objective: of the logits by head and the labels; by default the cross entropy of 'main'.

    Returns:
        One entry a call of a neuron, in the order of the forward pass; what the objective does
        not depend on has gradient 0.
    """
    model = copy.deepcopy(model)  # statistics of batch normalization move in training mode
    seen: list[tuple[str, Tensor]] = []

    def listen(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], spikes: Tensor) -> None:
            seen.append((name, spikes))

        return hook

    for name, module in model.named_modules():
        if isinstance(module, Neuron | ILIF):
            module.register_forward_hook(listen(name))
    out = model(x)
    heads = out if isinstance(out, dict) else {"main": out}
    loss = cross_entropy(heads["main"], labels) if objective is None else objective(heads, labels)
    gradients = torch.autograd.grad(loss, [spikes for _, spikes in seen], allow_unused=True)
    return tuple(
        LayerGradient(
            name,
            0.0 if gradient is None else gradient.square().mean().sqrt().item(),
            spikes.detach().mean().item(),
        )
        for (name, spikes), gradient in zip(seen, gradients, strict=True)
    )


def scan_surrogates(
    model: nn.Module,
    surrogates: Iterable[Surrogate],
    x: Tensor,
    labels: Tensor,
    objective: Objective | None = None,
) -> tuple[SurrogateScan, ...]:
    """Measure one batch with each surrogate in turn, everything else equal.

    The spikes are the same for all, since a surrogate acts on gradients only. Arguments are those
    of :func:`layer_gradients`.
    """
    if not any(isinstance(m, Neuron) for m in model.modules()):
        raise ConfigError(
            "the network has no surrogate whose width could be tried",
            allowed="neurons that send spikes",
            where=type(model).__name__,
            remedy="the gradient of counts is that of a clamp; scan the network with levels = 0",
        )
    rows = []
    for surrogate in surrogates:
        trial = copy.deepcopy(model)
        for module in trial.modules():
            if isinstance(module, Neuron):
                module.surrogate = surrogate
        layers = layer_gradients(trial, x, labels, objective)
        rows.append(SurrogateScan(surrogate, layers, _gain(layers)))
    return tuple(rows)


def tune_width(
    model: nn.Module,
    start: Shaped,
    x: Tensor,
    labels: Tensor,
    objective: Objective | None = None,
    *,
    tolerance: float = 0.02,
    most: int = 24,
) -> SurrogateScan:
    """Find the width, at the height and shape of ``start``, at which gradients keep their size.

    A wider curve lets more of the membrane potential through, so the gain rises with the width, and
    bisection on its logarithm finds where it is 1.

    Args:
        model: as for :func:`scan_surrogates`.
        start: shape and height, and the width to start from.
        x: input, (T, B, C, H, W).
        labels: (B,).
        objective: as for :func:`layer_gradients`.
        tolerance: how far from 1 the gain may be.
        most: trials before giving up.

    Raises:
        ConfigError: if no width between 1/64 and 64 times the start's gives that gain.
    """
    low, high = math.log(start.width / 64.0), math.log(start.width * 64.0)
    width = start.width
    for _ in range(most):
        (row,) = scan_surrogates(model, [replace(start, width=width)], x, labels, objective)
        if abs(row.gain - 1.0) <= tolerance:
            return row
        if row.gain < 1.0:
            low = math.log(width)
        else:
            high = math.log(width)
        width = math.exp((low + high) / 2.0)
    raise ConfigError(
        "no width of this surrogate keeps the gradient's size",
        found=f"gain {row.gain:g} at width {width:g}",
        allowed=f"a gain within {tolerance:g} of 1",
        where=f"{start.shape} of height {start.height:g}",
        remedy="raise the height, or check that every layer fires",
    )


def _gain(layers: tuple[LayerGradient, ...]) -> float:
    """From the last layer that the loss sees to the first, a layer."""
    sizes = [layer.gradient for layer in layers if layer.gradient > 0.0]
    if len(sizes) < 2:
        return 0.0
    return float((sizes[0] / sizes[-1]) ** (1.0 / (len(sizes) - 1)))
