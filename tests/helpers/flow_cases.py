"""Small networks, compliant and not, with data to judge them by."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from purespike.compiler.rules.policy import Policy
from purespike.flow.build import Options, Subject
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build as build_model
from purespike.trainer.nn.auxiliary import Accumulate
from purespike.trainer.nn.gates import Or
from purespike.trainer.nn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    TimeMean,
)
from purespike.trainer.nn.neuron import IF

STEPS, CHANNELS, SIZE, CLASSES = 3, 2, 6, 4
LENIENT = Policy("lenient", leak_multiplies=False, accuracy_drop=100.0)
FAST = Options(golden=8, lava="none", lava_samples=8, policy=LENIENT)


def subject(model: nn.Module, samples: int = 12, name: str = "case") -> Subject:
    """The model with random spikes; its own decisions are the labels."""
    rng = np.random.default_rng(0)
    spikes = (rng.random((STEPS, samples, CHANNELS, SIZE, SIZE)) < 0.4).astype(np.uint8)
    x = torch.from_numpy(spikes).to(next(model.parameters()).dtype)
    model.train()
    with torch.no_grad():
        for _ in range(4):  # batch norm statistics that mean something
            model(x)
        result = model.eval()(x)
    logits = result["main"] if isinstance(result, dict) else result
    return Subject(name, model, (CHANNELS, SIZE, SIZE), spikes, logits.argmax(1).numpy())


def resnet(gate: str = "or", **changes: object) -> nn.Module:
    """A spiking ResNet with both kinds of auxiliary path, one block halving the image."""
    config = ModelConfig(
        CHANNELS,
        CLASSES,
        STEPS,
        (SIZE, SIZE),
        stem=4,
        widths=(4, 6),
        strides=(1, 2),
        gate=gate,
        **changes,  # type: ignore[arg-type]
    )
    return build_model(config, seed=1)


class Head(nn.Sequential):
    """The readout: (T, B, C, H, W) to (B, classes)."""

    def __init__(self, channels: int) -> None:
        super().__init__(GlobalAvgPool2d(), Flatten(), TimeMean(), nn.Linear(channels, CLASSES))


class Plain(nn.Module):
    """Two layers with something planted between them."""

    def __init__(self, planted: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = Conv2d(CHANNELS, 4, 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(4)
        self.neuron1 = IF()
        self.planted = planted
        self.conv2 = Conv2d(4, 4, 3, padding=1)
        self.neuron2 = IF()
        self.head = Head(4)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes)."""
        x = self.planted(self.neuron1(self.bn1(self.conv1(x))))
        return self.head(self.neuron2(self.conv2(x)))


class ReluInstead(Plain):
    """A ReLU where a neuron belongs."""

    def __init__(self) -> None:
        super().__init__(nn.Identity())
        self.neuron1 = nn.ReLU()  # type: ignore[assignment]


class LeakingAuxiliary(nn.Module):
    """An accumulation pathway whose sum feeds the deployed classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = Conv2d(CHANNELS, 4, 3, padding=1)
        self.neuron1 = IF()
        self.conv2 = Conv2d(4, 4, 3, padding=1)
        self.neuron2 = IF()
        self.gate = Or()
        self.aap_add = Accumulate()
        self.head = Head(4)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits of the wrong stream under the name of the right one."""
        s = self.neuron1(self.conv1(x))
        a = self.neuron2(self.conv2(s))
        return {"main": self.head(self.aap_add(s, a)), "aap": self.head(self.gate(a, s))}


def average_pool_in_the_middle() -> nn.Module:
    """Overlapping, padded windows: they cannot be folded into the convolution behind them."""
    return Plain(AvgPool2d(3, stride=1, padding=1))
