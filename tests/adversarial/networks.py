"""The tiny network that most cases plant something in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from purespike.trainer.nn.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, TimeMean
from purespike.trainer.nn.neuron import IF

CHANNELS, WIDTH, CLASSES = 2, 3, 4


class Head(nn.Sequential):
    """The readout: (T, B, C, H, W) to (B, classes)."""

    def __init__(self, channels: int = WIDTH) -> None:
        super().__init__(GlobalAvgPool2d(), Flatten(), TimeMean(), nn.Linear(channels, CLASSES))


class Net(nn.Module):
    """conv1, norm1, neuron1, [middle], conv2, neuron2, head."""

    def __init__(self, middle: nn.Module | None = None, *, width: int = WIDTH) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = Conv2d(CHANNELS, WIDTH, 3, padding=1, bias=False)
        self.norm1 = statistics(BatchNorm2d(WIDTH))
        self.neuron1 = IF(threshold=0.5)
        self.middle = nn.Identity() if middle is None else middle
        self.conv2 = Conv2d(width, WIDTH, 3, padding=1)
        self.neuron2 = IF(threshold=0.3)
        self.head = Head()

    def forward(self, x: Tensor) -> Any:
        """Logits (B, classes)."""
        x = self.middle(self.neuron1(self.norm1(self.conv1(x))))
        return self.head(self.neuron2(self.conv2(x)))


class Between(nn.Module):
    """A middle that is a function of the first layer's spikes and of a second layer's."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.neuron = IF(threshold=0.2)
        self.join = join

    def forward(self, s: Tensor) -> Tensor:
        """Join the spikes ``a`` of the second layer with those of the first, ``s``."""
        return self.join(self.neuron(self.conv(s)), s)


class On(nn.Module):
    """A middle that is a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, s: Tensor) -> Tensor:
        """Apply it."""
        return self.function(s)


def statistics(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Running statistics and parameters that are not the defaults."""
    with torch.no_grad():
        norm.running_mean.fill_(0.1)
        norm.running_var.copy_(torch.linspace(0.3, 0.9, norm.num_features))
        norm.weight.copy_(torch.linspace(0.8, 1.4, norm.num_features))
        norm.bias.fill_(0.3)
    return norm


def changed(model: nn.Module, **parts: Any) -> Any:
    """The model with some of its modules replaced; ``conv2=...`` or, nested, ``head__3=...``."""
    for path, part in parts.items():
        *parents, name = path.split("__")
        owner: Any = model
        for parent in parents:
            owner = getattr(owner, parent)
        setattr(owner, name, part)
    return model


def filled(layer: Any, weight: float | Tensor, bias: float | None = None) -> Any:
    """The layer with these weights and biases."""
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weight).expand_as(layer.weight))
        if layer.bias is not None:
            layer.bias.fill_(0.0 if bias is None else bias)
    return layer


def mutated(module: Any, **attributes: Any) -> Any:
    """The module with attributes overwritten after its constructor checked them."""
    for name, value in attributes.items():
        setattr(module, name, value)
    return module
