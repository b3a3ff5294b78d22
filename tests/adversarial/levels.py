"""Networks of counts: what looks binary and is not, ties, scales a hair off, sums of others."""

from __future__ import annotations

from typing import Any

import torch
from adversarial.case import Corpus, Trial
from adversarial.networks import Between, Net, On
from torch import Tensor, nn

from purespike.trainer.nn.layers import AvgPool2d, MaxPool2d
from purespike.trainer.nn.levels import ILIF, LevelActivation

corpus = Corpus()
holds, breaks = corpus.holds, corpus.breaks


def counting(activation: nn.Module, middle: nn.Module | None = None, **more: Any) -> Trial:
    """The network with another first neuron."""
    net = Net(middle)
    net.neuron1 = activation  # type: ignore[assignment]
    return Trial(net, **more)


class Joined(Between):
    """A join with the counts of a second activation."""

    def __init__(self, join: Any, levels: int) -> None:
        super().__init__(join)
        self.neuron = LevelActivation(levels, step=0.2)  # type: ignore[assignment]


class Behind(nn.Sequential):
    """A join, and what reads it."""

    def __init__(self, join: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.join, self.pool = join, pool


# Spike-only ------------------------------------------------------------------------------------


@holds
def one_level() -> Trial:
    """A count of at most one is a spike: the memoryless neuron itself."""
    return counting(LevelActivation(1, step=0.5))


@holds
def a_sum_of_four_levels_and_spikes() -> Trial:
    """SEW's ADD is refused of spikes and exact of counts: W (a + b) is W a + W b."""
    return counting(LevelActivation(4, step=0.25), Between(torch.add))


@holds
def a_sum_of_mixed_levels() -> Trial:
    """Two, and three of another activation: five trains."""
    return counting(LevelActivation(2, step=0.25), Joined(torch.add, 3))


@holds
def a_sum_of_one_level_and_one() -> Trial:
    """Both are binary, and their sum is not: two trains of one level each."""
    return counting(LevelActivation(1, step=0.25), Joined(torch.add, 1))


@holds
def a_count_added_to_itself() -> Trial:
    """The same train twice, in one sum."""
    return counting(LevelActivation(3, step=0.25), On(lambda s: s + s))


@holds
def a_weighted_sum_of_counts() -> Trial:
    """A level of one is worth half of the other's."""
    return counting(LevelActivation(3, step=0.25), Joined(lambda a, s: s - 0.5 * a, 2))


@holds
def levels_below_zero() -> Trial:
    """A signed activation: trains on negated currents, which count as minus one."""
    return counting(On(lambda x: torch.clamp(4 * x, -3, 3).round()))


@holds
def a_clamp_between_two_levels() -> Trial:
    """round(3.5) is 4, and of 2.5 it is 2: the bound itself is rounded."""
    return counting(On(lambda x: torch.clamp(8 * x, 0, 3.5).round()))


@holds
def a_step_that_is_no_float() -> Trial:
    """A tenth: boundaries lie between two floats, and are taken in fractions."""
    return counting(LevelActivation(5, step=0.1))


@holds
def ties_of_every_level() -> Trial:
    """Currents are multiples of half a step: each is on a boundary or in the middle."""
    net = Net()
    net.norm1 = nn.Identity()  # type: ignore[assignment]
    net.conv1.weight.data = torch.randint(-2, 4, net.conv1.weight.shape).float() / 2
    net.neuron1 = LevelActivation(6)  # type: ignore[assignment]
    return Trial(net)


@holds
def straight_through() -> Trial:
    """``y + (round(y) - y).detach()`` is round(y)."""

    def quantized(x: Tensor) -> Tensor:
        y = torch.clamp(4 * x, 0, 3)
        return y + (y.round() - y).detach()

    return counting(On(quantized))


@holds
def the_maximum_of_counts() -> Trial:
    """Each level's maximum is an OR."""
    return counting(LevelActivation(4, step=0.25), MaxPool2d(2))


@holds
def the_average_of_counts() -> Trial:
    """Windows that tile the map go into the next kernel, of every train."""
    return counting(LevelActivation(4, step=0.25), AvgPool2d(2))


@holds
def several_spikes_per_step_and_what_is_left() -> Trial:
    """Multi-spike integrate-and-fire: all copies share one current and keep one membrane."""
    return counting(ILIF(3, decay=1.0, threshold=0.25))


# Not spike-only --------------------------------------------------------------------------------


@breaks("PS001 neuron1")
def more_levels_than_allowed() -> Trial:
    """17, which is 17 copies of the layer and of what reads it: to be said, not done in silence."""
    return counting(LevelActivation(17, step=0.1))


@breaks("refused neuron1")
def levels_that_look_binary() -> Trial:
    """A clamp to 0 and 1 that nothing rounds: every number between."""
    return counting(On(lambda x: torch.clamp(x, 0, 1)))


@breaks("refused neuron1")
def a_rounding_without_bounds() -> Trial:
    """It has no number of levels."""
    return counting(On(torch.round))


@breaks("refused middle")
def a_product_of_counts() -> Trial:
    """Counts times counts: attention without a sum."""
    return counting(LevelActivation(3, step=0.25), Joined(torch.mul, 2))


@breaks("PS001 middle.pool")
def the_maximum_of_a_sum_of_counts() -> Trial:
    """The maximum of a sum is not the sum of maxima."""
    join = Joined(torch.add, 2)
    return counting(LevelActivation(2, step=0.25), Behind(join, MaxPool2d(2)))


@breaks("PS001 middle")
def the_maximum_of_counts_below_zero() -> Trial:
    """The maximum reaches -1 where none of the counts is above that: no OR."""
    return counting(On(lambda x: torch.clamp(4 * x, -2, 2).round()), MaxPool2d(2))


@breaks("PS005 neuron1.level1")
def a_leak_between_counts() -> Trial:
    """I-LIF as trained: the chip multiplies its membrane by a quarter, like any leaky neuron."""
    return counting(ILIF(2, threshold=0.25))
