"""The names of the networks, what their papers set, and which joins they can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from purespike.trainer.networks.configuration import NetworkConfig, NeuronConfig
from purespike.trainer.networks.dvs import seven_block_network
from purespike.trainer.networks.membrane import membrane_network
from purespike.trainer.networks.parts import Parts
from purespike.trainer.networks.qkformer import qkformer_network
from purespike.trainer.networks.resnet import ResNetPlan, residual_network
from purespike.trainer.networks.spike_driven import spike_driven_network
from purespike.trainer.networks.spikformer import spikformer_network
from purespike.trainer.networks.vgg import vgg_network
from purespike.trainer.nn.gates import GATES, JOINS
from purespike.trainer.nn.surrogate import Rectangular, Shaped

__all__ = ["CATALOGUE", "Architecture"]

# AAP paper, Eq. 5 and Sec. 5.1, and SEW ResNet; the PLIF of the event networks starts at tau = 2.
IF_NEURON = NeuronConfig()
LIF_NEURON = NeuronConfig(decay=0.5, input_scale=0.5)
PLIF_NEURON = NeuronConfig(decay=0.5, input_scale=0.5, learned_tau=True)
# The shortcut paper's group: decay 0.25, threshold 0.5, gradients through the reset, clamp.
GUO_LIF = NeuronConfig(decay=0.25, threshold=0.5, surrogate=Rectangular(1.0), detach_reset=False)
# InfLoR-SNN, Eq. 11 to 14: soft reset by the spike value, rectificator, clamp.
SRIF = NeuronConfig(
    threshold=0.5,
    reset="subtract",
    amount=1.0,
    surrogate=Rectangular(1.0),
    detach_reset=False,
    rectified=True,
)
# Ledinauskas et al. state neither neuron nor width; at this width a LIF network of depth 30
# neither amplifies nor damps its gradients (docs/networks.md).
DEEP_LIF = NeuronConfig(
    decay=0.5, input_scale=0.5, surrogate=Shaped("fast_sigmoid", width=0.69, height=1.0)
)

# MS-ResNet's code: decay 0.25, threshold 0.5, rectangle of width 1, no gradient through the reset.
MEMBRANE_LIF = NeuronConfig(decay=0.25, threshold=0.5, surrogate=Rectangular(1.0))
# I-LIF (Luo et al. 2024): decay 0.25, D = 4.
I_LIF = NeuronConfig(decay=0.25, reset="subtract", levels=4)


@dataclass(frozen=True)
class Architecture:
    """One network.

    Attributes:
        defaults: its configuration in the paper.
        parts: builds stem and blocks.
        gates: joins that it can have.
        pathway: whether it can carry the accumulation pathway.
        paper: where it stands.
        fixed: options that change nothing in it; only their default is taken.
    """

    defaults: NetworkConfig
    parts: Callable[[NetworkConfig], Parts]
    gates: tuple[str, ...]
    pathway: bool
    paper: str
    fixed: tuple[str, ...] = ()


_NORMAL = ("pool", "threshold_norm", "zero_init_residual")


def _residual(defaults: NetworkConfig, paper: str, plan: ResNetPlan) -> Architecture:
    fixed = () if plan.stem in ("averaged", "deep") else ("pool",)
    return Architecture(defaults, partial(_planned, plan), JOINS, True, paper, fixed)


def _planned(plan: ResNetPlan, config: NetworkConfig) -> Parts:
    return residual_network(config, plan)


def _imagenet(depth: int, depths: tuple[int, ...], *, bottleneck: bool) -> Architecture:
    # The paper joins by IAND. From 34 layers on OR is what trained best here (docs/depth.md).
    gate = "iand" if depth < 34 else "or"
    return _residual(
        NetworkConfig(f"fsnn-{depth}", 3, 1000, (224, 224), 4, gate, IF_NEURON, aap=True),
        "full-spike AAP paper, Table 2; SEW ResNet with gate add; Spiking ResNet with vanilla",
        ResNetPlan(depths, stem="imagenet", bottleneck=bottleneck),
    )


def _averaged(depth: int, depths: tuple[int, ...]) -> Architecture:
    return _residual(
        NetworkConfig(
            f"imagenet-resnet-{depth}",
            *(3, 1000, (224, 224), 4, "vanilla", SRIF),
            threshold_norm=True,
        ),
        "InfLoR-SNN, ImageNet; the shortcut paper's with its LIF and shortcut=True",
        ResNetPlan(depths, stem="averaged"),
    )


def _cifar(depth: int, classes: int, paper: str, plan: ResNetPlan, **more: Any) -> Architecture:
    steps = more.pop("steps", 4)
    name = f"cifar-resnet-{depth}"
    return _residual(
        NetworkConfig(name, 3, classes, (32, 32), steps, "vanilla", **more), paper, plan
    )


def _membrane(depth: int, depths: tuple[int, ...]) -> Architecture:
    return Architecture(
        NetworkConfig(
            f"ms-resnet-{depth}",
            *(3, 1000, (224, 224), 6, "membrane", MEMBRANE_LIF),
            zero_init_residual=True,
        ),
        lambda config: membrane_network(config, depths),
        ("membrane",),
        False,
        "MS-ResNet (Hu et al. 2021, arXiv 2112.08954)",
        _NORMAL[:2],
    )


def _events(name: str, classes: int, widths: tuple[int, ...]) -> Architecture:
    return Architecture(
        NetworkConfig(name, 2, classes, (128, 128), 16, "or", PLIF_NEURON, aap=True, pool="max"),
        lambda config: seven_block_network(config, widths),
        JOINS,
        True,
        "SEW ResNet (Fang et al. 2021), Sec. 4.2; full-spike AAP paper, Table 3",
        _NORMAL[:1],
    )


_SHORTCUT = "shortcut paper, Table 1"
_INFLOR = "InfLoR-SNN, Table 3"
_ALL = (
    _imagenet(18, (2, 2, 2, 2), bottleneck=False),
    _imagenet(34, (3, 4, 6, 3), bottleneck=False),
    _imagenet(50, (3, 4, 6, 3), bottleneck=True),
    _imagenet(101, (3, 4, 23, 3), bottleneck=True),
    _averaged(18, (2, 2, 2, 2)),
    _averaged(34, (3, 4, 6, 3)),
    _cifar(18, 10, _SHORTCUT, ResNetPlan((2, 2, 2, 2)), neuron=GUO_LIF, shortcut=True),
    _cifar(34, 100, _SHORTCUT, ResNetPlan((3, 4, 6, 3)), neuron=GUO_LIF, shortcut=True),
    _cifar(
        19,
        10,
        _INFLOR,
        ResNetPlan((3, 3, 2), (128, 256, 512)),
        neuron=SRIF,
        threshold_norm=True,
    ),
    _cifar(
        20,
        10,
        _INFLOR,
        ResNetPlan((2, 2, 2, 2), stem="deep", pooled_identity=True),
        steps=5,
        neuron=SRIF,
        threshold_norm=True,
        zero_init_residual=True,
    ),
    _cifar(
        50,
        100,
        "Ledinauskas et al. 2020, ResNet-50",
        ResNetPlan((3, 4, 6, 3), bottleneck=True),
        steps=10,
        neuron=DEEP_LIF,
    ),
    Architecture(
        NetworkConfig("vgg-16", 3, 10, (32, 32), 5, "none", SRIF),
        vgg_network,
        ("none",),
        False,
        _INFLOR,
        _NORMAL[1:],
    ),
    _events("7b-net", 11, (32,) * 7),
    _events("wide-7b-net", 10, (64,) * 4 + (128,) * 3),
    Architecture(
        NetworkConfig(
            "spikformer-4-384", 3, 100, (32, 32), 4, "iand", LIF_NEURON, aap=True, pool="max"
        ),
        spikformer_network,
        tuple(GATES),
        True,
        "Spikformer (Zhou et al. 2023), Table 4; full-spike AAP paper, Table 4",
        _NORMAL,
    ),
    _membrane(18, (2, 2, 2, 2)),
    _membrane(34, (3, 4, 6, 3)),
    Architecture(
        NetworkConfig("spike-driven-2-256", 3, 10, (32, 32), 4, "membrane", LIF_NEURON, pool="max"),
        spike_driven_network,
        ("membrane",),
        False,
        "Spike-driven Transformer (Yao et al. 2023, arXiv 2307.01694), CIFAR",
        _NORMAL,
    ),
    Architecture(
        NetworkConfig("qkformer-4-384", 3, 10, (32, 32), 4, "or", LIF_NEURON, pool="max"),
        qkformer_network,
        tuple(GATES),
        True,
        "QKFormer (Zhou et al. 2024, arXiv 2403.16552), CIFAR",
        _NORMAL,
    ),
    _residual(
        NetworkConfig("ilif-resnet-18", 3, 10, (32, 32), 1, "vanilla", I_LIF),
        "I-LIF (Luo et al. 2024, arXiv 2407.20708) in the ResNet-18 of the shortcut paper",
        ResNetPlan((2, 2, 2, 2)),
    ),
)
CATALOGUE: dict[str, Architecture] = {entry.defaults.name: entry for entry in _ALL}
