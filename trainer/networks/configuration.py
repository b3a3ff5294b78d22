"""What describes a network, as frozen values that go to JSON and back unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.neurons import NeuronConfig
from purespike.trainer.nn.gates import JOINS, LOGICAL
from purespike.trainer.values import from_dict, to_dict

__all__ = ["ModelConfig", "NetworkConfig", "NeuronConfig", "from_dict", "to_dict"]


@dataclass(frozen=True)
class ModelConfig:
    """A :class:`purespike.trainer.networks.models.SpikingResNet`.

    Attributes:
        in_channels: channels of the spike input.
        classes: number of logits.
        steps: time steps T of one sample.
        size: height and width of the input.
        stem: channels of the stem convolution.
        widths: channels of each residual block.
        strides: stride of each residual block, as many as widths.
        gate: how a block joins its residual function with the identity: and, or, iand, xor (spikes
            only); sn (currents are added before a closing IF), vanilla (before a neuron as all
            others); add (SEW: refused by the compiler).
        neuron: the neuron of all layers.
        aap: build the auxiliary accumulation pathway.
        aap_own_classifier: give that pathway a classifier of its own; the paper's code shares it.
        shortcut: build a shortcut branch on every block but the last.
        zero_init_residual: start as identity mappings: the last batch normalization of each
            residual function is 0, so that it is silent (for ``and``: so that it always fires).
        dsnn: deploy the accumulation pathway too: its logits are ``'main'`` (the AAP paper's DSNN;
            not spike-only).
        folded: no batch normalizations on the main path, but biases: what training on the chip's
            integers leaves (:mod:`purespike.trainer.training.integers`).
    """

    in_channels: int
    classes: int
    steps: int = 4
    size: tuple[int, int] = (8, 8)
    stem: int = 16
    widths: tuple[int, ...] = (16, 32, 32)
    strides: tuple[int, ...] = (1, 2, 1)
    gate: str = "or"
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    aap: bool = True
    aap_own_classifier: bool = False
    shortcut: bool = True
    zero_init_residual: bool = False
    dsnn: bool = False
    folded: bool = False

    def __post_init__(self) -> None:
        counts = {
            "in_channels": (self.in_channels,),
            "classes": (self.classes,),
            "steps": (self.steps,),
            "size": self.size,
            "stem": (self.stem,),
            "widths": self.widths,
            "strides": self.strides,
        }
        _check_whole("ModelConfig", self, counts)
        _check_pathways("ModelConfig", self)
        if not self.widths or len(self.widths) != len(self.strides):
            raise ConfigError(
                "each residual block needs one width and one stride",
                found=f"{len(self.widths)} widths, {len(self.strides)} strides",
                allowed="equally many, at least one",
                where="ModelConfig(widths=..., strides=...)",
                remedy="give one stride for each width; 2 halves the height and the width",
            )


@dataclass(frozen=True)
class NetworkConfig:
    """A network of the papers by name; :mod:`purespike.trainer.networks` knows the names.

    Attributes:
        name: which network.
        in_channels: channels of the input.
        classes: number of logits.
        size: height and width of the input.
        steps: time steps T of one sample.
        gate: how a residual block joins, as in :class:`ModelConfig`; 'membrane' where currents are
            added that no neuron stands between; 'none' where a network has no residual blocks.
        neuron: the neuron of all layers.
        aap: build the auxiliary accumulation pathway.
        aap_own_classifier: give that pathway a classifier of its own.
        dsnn: deploy the accumulation pathway too (not spike-only).
        shortcut: build shortcut branches.
        shortcut_at: one after each 'block', or each 'stage'; never after the last.
        zero_init_residual: start as identity mappings.
        threshold_norm: tdBN inside the residual blocks.
        pool: 'avg' or 'max', where a network pools between its layers.
        width: factor on all channel counts, to build small relatives.
    """

    name: str
    in_channels: int
    classes: int
    size: tuple[int, int]
    steps: int
    gate: str
    neuron: NeuronConfig = field(default_factory=NeuronConfig)
    aap: bool = False
    aap_own_classifier: bool = False
    dsnn: bool = False
    shortcut: bool = False
    shortcut_at: str = "block"
    zero_init_residual: bool = False
    threshold_norm: bool = False
    pool: str = "avg"
    width: float = 1.0

    def __post_init__(self) -> None:
        counts = {
            "in_channels": (self.in_channels,),
            "classes": (self.classes,),
            "steps": (self.steps,),
            "size": self.size,
        }
        _check_whole("NetworkConfig", self, counts)
        _check_pathways("NetworkConfig", self, others=("membrane", "none"))
        for name, choices in (("shortcut_at", ("block", "stage")), ("pool", ("avg", "max"))):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"unknown {name} of a network",
                    found=repr(getattr(self, name)),
                    allowed=", ".join(choices),
                    where=f"NetworkConfig({name}=...)",
                    remedy="write one of the allowed names",
                )
        if not 0.0 < self.width <= 16.0:
            raise ConfigError(
                "the width of a network is a factor on its channels",
                found=repr(self.width),
                allowed="> 0, at most 16",
                where="NetworkConfig(width=...)",
                remedy="1 is the network of the paper",
            )


def _check_whole(owner: str, config: Any, counts: dict[str, tuple[Any, ...]]) -> None:
    for name, values in counts.items():
        if any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in values):
            raise ConfigError(
                f"{name} must be positive whole numbers",
                found=repr(getattr(config, name)),
                allowed=">= 1",
                where=f"{owner}({name}=...)",
                remedy="correct the value",
            )


def _check_pathways(
    owner: str, config: ModelConfig | NetworkConfig, others: tuple[str, ...] = ()
) -> None:
    gate, levels = config.gate, config.neuron.levels
    if gate not in (*JOINS, *others):
        raise ConfigError(
            "unknown residual gate",
            found=repr(gate),
            allowed=", ".join((*JOINS, *others)),
            where=f"{owner}(gate=...)",
            remedy="'or' trains best of the spike-only gates in our measurements",
        )
    if levels > 1 and gate in LOGICAL:
        raise ConfigError(
            f"gate {gate} takes spikes, and these neurons send counts",
            found=f"gate {gate!r}, neuron.levels {levels}",
            allowed=", ".join(g for g in JOINS if g not in LOGICAL),
            where=f"{owner}(gate=...)",
            remedy="set gate = 'vanilla' or 'add', or neuron.levels = 0 for spikes",
        )
    at = getattr(config, "shortcut_at", "block")
    for name, value, needed in (
        ("aap_own_classifier", config.aap_own_classifier, "aap"),
        ("shortcut_at", "" if at == "block" else at, "shortcut"),
    ):
        if value and not getattr(config, needed):
            raise ConfigError(
                f"{name} is about a path that is not built",
                found=f"{name}={value!r}, {needed}=False",
                allowed=f"{name} only together with {needed}",
                where=f"{owner}({name}=...)",
                remedy=f"set {needed} = true, or leave {name} out",
            )
    if config.dsnn and not config.aap:
        raise ConfigError(
            "a DSNN deploys an accumulation pathway that is not built",
            found="dsnn=True, aap=False",
            allowed="dsnn only together with aap",
            where=f"{owner}(dsnn=...)",
            remedy="set aap=True, or dsnn=False for the full-spike network",
        )
