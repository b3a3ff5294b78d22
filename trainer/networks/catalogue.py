"""Networks by name: their configurations, and what is built of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.architectures import CATALOGUE, Architecture
from purespike.trainer.networks.configuration import NetworkConfig, from_dict, to_dict
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.networks.parts import Parts

__all__ = ["CATALOGUE", "Architecture", "assemble", "network_config"]


def network_config(name: str, **options: Any) -> NetworkConfig:
    """The configuration of a named network, with the paper's values where none is given.

    Args:
        name: one of :data:`CATALOGUE`.
        **options: fields of :class:`NetworkConfig`, as values or in their JSON form; ``size`` may
            be one number, and ``neuron`` a table of what differs.

    Raises:
        ConfigError: on an unknown name or option, or a value of the wrong type or range.
    """
    defaults = _architecture(name).defaults
    data = to_dict(defaults)
    for key, value in options.items():
        if key == "size" and isinstance(value, int) and not isinstance(value, bool):
            value = [value, value]
        elif dataclasses.is_dataclass(value):
            value = to_dict(value)
        elif key == "neuron" and isinstance(value, dict):
            value = {**data["neuron"], **value}
        data[key] = list(value) if isinstance(value, tuple) else value
    return from_dict(NetworkConfig, data, "model")


def assemble(config: NetworkConfig) -> DualStreamNetwork:
    """Build a named network; its weights are drawn from torch's global generator.

    Raises:
        ConfigError: if the network cannot have this join or pathway, or the name is unknown.
    """
    architecture = _architecture(config.name)
    if config.gate not in architecture.gates:
        raise ConfigError(
            f"{config.name} cannot join its blocks so",
            found=f"gate {config.gate!r}",
            allowed=", ".join(architecture.gates),
            where="NetworkConfig(gate=...)",
            remedy=f"the paper's is {architecture.defaults.gate!r}",
        )
    if config.aap and not architecture.pathway:
        raise ConfigError(
            f"{config.name} has no residual blocks whose spikes a pathway could add up",
            found="aap=True",
            allowed="aap=False",
            where="NetworkConfig(aap=...)",
            remedy="use shortcut branches, or a network whose blocks join spikes, such as fsnn-18",
        )
    own = architecture.defaults
    for name in (n for n in architecture.fixed if getattr(config, n) != getattr(own, n)):
        raise ConfigError(
            f"{config.name} has no choice of {name}",
            found=f"{name} {getattr(config, name)!r}",
            allowed=f"{getattr(own, name)!r}, which it has by itself",
            where=f"NetworkConfig({name}=...)",
            remedy=f"leave {name} out",
        )
    seed = int(torch.randint(2**31, (), device="cpu"))  # before any layer uses up random numbers
    parts = architecture.parts(config)
    return DualStreamNetwork(
        config, parts.stem, parts.blocks, branch_at=_branches(config, parts), seed=seed
    )


def _branches(config: NetworkConfig, parts: Parts) -> tuple[int, ...]:
    """After each block or stage but the last, whose branch is the main classifier."""
    if not config.shortcut:
        return ()
    if config.shortcut_at == "block":
        return tuple(range(len(parts.blocks) - 1))
    ends = [sum(parts.stages[: k + 1]) for k in range(len(parts.stages) - 1)]
    return tuple(end - 1 for end in ends if end > 0)


def _architecture(name: str) -> Architecture:
    if name not in CATALOGUE:
        raise ConfigError(
            "unknown network",
            found=repr(name),
            allowed=", ".join(CATALOGUE),
            where="NetworkConfig(name=...)",
            remedy="write one of the allowed names",
        )
    return CATALOGUE[name]
