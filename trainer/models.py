"""Networks that the trainer builds from a configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from purespike.trainer.auxiliary import (
    AuxiliaryLinear,
    PooledFeatures,
    ShortcutBranch,
    auxiliary_modules,
)
from purespike.trainer.blocks import ResidualBlock, SpikingUnit
from purespike.trainer.configuration import ModelConfig, from_dict
from purespike.trainer.layers import Flatten, GlobalAvgPool2d, TimeMean

__all__ = ["SpikingResNet", "build", "main_only"]


class SpikingResNet(nn.Module):
    """A residual network whose deployed part carries nothing but spikes.

    Spikes in, stem (3x3 convolution, batch normalization, neuron), residual blocks, and the
    classifier on the mean over space and time. Beside it, only for training, the accumulation
    pathway and the shortcut branches; the logits of ``'main'`` do not depend on them, and the
    weights of the main path are the same for one seed whether they are built or not.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # Drawn before any layer is made: layers of auxiliary paths use up random numbers too.
        seed = int(torch.randint(2**31, ()))
        self.config = config
        self.stem = SpikingUnit(config.in_channels, config.stem, config.neuron)
        inputs = (config.stem, *config.widths[:-1])
        self.blocks = nn.ModuleList(
            ResidualBlock(i, o, stride, config.gate, config.neuron, aap=config.aap)
            for i, o, stride in zip(inputs, config.widths, config.strides, strict=True)
        )
        last = config.widths[-1]
        self.pool = GlobalAvgPool2d()
        self.flatten = Flatten()
        self.time_mean = TimeMean()
        self.fc = nn.Linear(last, config.classes)
        if config.aap:
            self.aap_features = PooledFeatures()
            if config.aap_own_classifier:
                self.aap_fc = AuxiliaryLinear(last, config.classes)
        # One branch fewer than blocks: the main classifier is the branch of the last block.
        self.branches = nn.ModuleList(
            ShortcutBranch(width, config.classes)
            for width in (config.widths[:-1] if config.shortcut else ())
        )
        self._initialize(torch.Generator().manual_seed(seed))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Classify a sequence of binary spike images.

        Args:
            x: spikes, (T, B, C, H, W), values 0 and 1.

        Returns:
            Logits, each (B, classes): ``'main'`` always; ``'aap'`` if built with the accumulation
            pathway; ``'shortcut.<l>'`` for each block but the last if built with shortcut branches.
        """
        s = self.stem(x)
        a = s if self.config.aap else None
        logits: dict[str, Tensor] = {}
        for index, block in enumerate(self.blocks):
            s, a = block(s, a)
            if index < len(self.branches):
                logits[f"shortcut.{index}"] = self.branches[index](s)
        logits["main"] = self.fc(self.time_mean(self.flatten(self.pool(s))))
        if self.config.aap:
            classifier = self.aap_fc if self.config.aap_own_classifier else self.fc
            logits["aap"] = classifier(self.aap_features(a))
        return logits

    def _initialize(self, generator: torch.Generator) -> None:
        """Draw the weights, main path first, so that auxiliary paths cannot change its draws.

        Kaiming normal (fan-out) for convolutions, torch's default for classifiers.
        """
        main: list[nn.Module] = []
        auxiliary: list[nn.Module] = []
        training_only = auxiliary_modules(self)
        for name, module in self.named_modules():
            (auxiliary if name in training_only else main).append(module)
        for module in (*main, *auxiliary):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu", generator=generator
                )
            elif isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        if self.config.zero_init_residual:
            for block in self.blocks:
                if isinstance(block, ResidualBlock):
                    nn.init.zeros_(block.bn2.weight)


def build(config: ModelConfig | dict[str, Any], seed: int | None = None) -> SpikingResNet:
    """Build a network; with a seed its weights are reproducible and torch's generator untouched.

    Args:
        config: what to build, or its JSON form.
        seed: of the initial weights; None draws from torch's global generator.

    Raises:
        ConfigError: if the JSON form is not a valid configuration.
    """
    if isinstance(config, dict):
        config = from_dict(ModelConfig, config)
    if seed is None:
        return SpikingResNet(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpikingResNet(config)


def main_only(model: SpikingResNet) -> SpikingResNet:
    """Copy a network without its auxiliary paths; the logits of ``'main'`` are the same."""
    stripped = build(replace(model.config, aap=False, shortcut=False))
    training_only = auxiliary_modules(model)
    weights = {
        name: value
        for name, value in model.state_dict().items()
        if name.rpartition(".")[0] not in training_only
    }
    stripped.load_state_dict(weights)
    return stripped.train(model.training)
