"""Networks that the trainer builds from a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from purespike.trainer.networks.blocks import ResidualBlock
from purespike.trainer.networks.catalogue import assemble, network_config
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig, from_dict
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.networks.folding import fold_modules
from purespike.trainer.networks.units import SpikingUnit
from purespike.trainer.nn.auxiliary import auxiliary_modules

__all__ = [
    "SpikingResNet",
    "as_dsnn",
    "build",
    "build_network",
    "main_only",
    "model_config",
    "without_paths",
]


class SpikingResNet(DualStreamNetwork):
    """A residual network with any number of blocks and any widths, for small images.

    Stem (3x3 convolution, batch normalization, neuron), residual blocks with two convolutions each,
    and the classifier.
    """

    def __init__(self, config: ModelConfig) -> None:
        # Drawn before any layer is made: layers of auxiliary paths use up random numbers too.
        seed = int(torch.randint(2**31, (), device="cpu"))
        inputs = (config.stem, *config.widths[:-1])
        blocks: list[nn.Module] = [
            ResidualBlock(i, o, stride, config.gate, config.neuron, aap=config.aap)
            for i, o, stride in zip(inputs, config.widths, config.strides, strict=True)
        ]
        super().__init__(
            config,
            SpikingUnit(config.in_channels, config.stem, config.neuron),
            blocks,
            # One branch fewer than blocks: the main classifier is the branch of the last block.
            branch_at=range(len(blocks) - 1) if config.shortcut else (),
            seed=seed,
        )
        if config.folded:
            fold_modules(self)


def model_config(table: Mapping[str, Any]) -> ModelConfig | NetworkConfig:
    """Read the ``[model]`` table of a recipe, or the JSON form of a configuration.

    With a ``name`` it is a network of :mod:`purespike.trainer.networks`, and what the table leaves
    out is as that network's paper has it; without one it is a :class:`ModelConfig`.

    Raises:
        ConfigError: if a name is unknown or missing, or a value has the wrong type or range.
    """
    if "name" in table:
        return network_config(**table)
    return from_dict(ModelConfig, dict(table), "model")


def build(
    config: ModelConfig | NetworkConfig | dict[str, Any], seed: int | None = None
) -> DualStreamNetwork:
    """Build a network; with a seed its weights are reproducible and torch's generator untouched.

    Args:
        config: what to build, or its JSON form.
        seed: of the initial weights; None draws from torch's global generator.

    Raises:
        ConfigError: if the JSON form is not a valid configuration, or the network cannot be built
            as configured.
    """
    if isinstance(config, dict):
        config = model_config(config)
    if seed is None:
        return SpikingResNet(config) if isinstance(config, ModelConfig) else assemble(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config)


def build_network(name: str, *, seed: int | None = None, **options: Any) -> DualStreamNetwork:
    """Build a network of the papers by name; options are fields of :class:`NetworkConfig`.

    >>> model = build_network("cifar-resnet-20", width=0.125, steps=2, aap=True, gate="or")

    Raises:
        ConfigError: on an unknown name or option, or a combination that the network cannot have.
    """
    return build(network_config(name, **options), seed)


def without_paths(
    config: ModelConfig | NetworkConfig, *, dsnn: bool = False
) -> ModelConfig | NetworkConfig:
    """A network's description without its training-only paths, and without options about them.

    Args:
        config: The network.
        dsnn: Leave the accumulation pathway of a DSNN, which is deployed.
    """
    off: dict[str, Any] = {"shortcut": False}
    if isinstance(config, NetworkConfig):
        off["shortcut_at"] = "block"
    if not (dsnn and config.dsnn):
        off |= {"aap": False, "aap_own_classifier": False, "dsnn": False}
    return replace(config, **off)


def main_only(model: DualStreamNetwork) -> DualStreamNetwork:
    """Copy a network without its training-only paths; the logits of ``'main'`` are the same."""
    config = model.config
    stripped = build(without_paths(config, dsnn=config.dsnn))
    training_only = auxiliary_modules(model)
    weights = {
        name: value
        for name, value in model.state_dict().items()
        if name.rpartition(".")[0] not in training_only
    }
    stripped.to(model.fc.weight).load_state_dict(weights)  # on the same device, in its precision
    return stripped.train(model.training)


def as_dsnn(model: DualStreamNetwork) -> DualStreamNetwork:
    """Copy a network trained with the accumulation pathway so that this pathway is deployed.

    The AAP paper's DSNN: better accuracy, but multiplications on integers remain, and the
    compliance check says where.

    Raises:
        ConfigError: if the network was built without the pathway.
    """
    kept = build(replace(model.config, dsnn=True))
    kept.to(model.fc.weight).load_state_dict(model.state_dict())
    return kept.train(model.training)
