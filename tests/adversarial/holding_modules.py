"""Torch modules that look suspicious and are spike-only."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from adversarial.case import Corpus, Trial
from adversarial.networks import (
    CHANNELS,
    WIDTH,
    Between,
    Head,
    Net,
    On,
    changed,
    filled,
    mutated,
    statistics,
)
from torch import Tensor, nn

from purespike.compiler.ir.domain import ANALOG
from purespike.compiler.rules.policy import LEAKY
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build as build_model
from purespike.trainer.nn import gates
from purespike.trainer.nn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    TimeMean,
)
from purespike.trainer.nn.neuron import IF, LIF, Neuron

corpus = Corpus()
holds = corpus.holds


# Joins -------------------------------------------------------------------------------------------


@holds
def xor_join() -> Trial:
    """``a + s - 2 a s`` in training; on the chip an AND neuron and a subtraction of its spikes."""
    return Trial(Net(Between(gates.Xor())))


@holds
def iand_join() -> Trial:
    """``(1 - a) s`` in training; on the chip a synapse of weight -1 and one of +1."""
    return Trial(Net(Between(gates.Iand())))


@holds
def or_join_on_lava() -> Trial:
    """``a + s - a s`` in training, an OR neuron here; run on Lava too, where the skip is late."""
    return Trial(Net(Between(gates.Or())), lava="fast")


@holds
def and_of_a_spike_with_itself() -> Trial:
    """Both inputs of the gate are one edge."""
    return Trial(Net(_Same(gates.And())))


@holds
def xor_of_a_spike_with_itself() -> Trial:
    """Always zero: everything behind it only sees its biases."""
    return Trial(Net(_Same(gates.Xor())))


@holds
def hand_written_and() -> Trial:
    """``a * s`` multiplies in torch; of spikes it is AND, a threshold of 2 on the chip."""
    return Trial(Net(Between(lambda a, s: a * s)))


@holds
def hand_written_iand() -> Trial:
    """``(1 - a) * s``, as the AAP paper's released code writes its IAND."""
    return Trial(Net(Between(lambda a, s: (1 - a) * s)))


@holds
def hand_written_or() -> Trial:
    """``a + s - a * s``: two sums and a product that cancel where both fire."""
    return Trial(Net(Between(lambda a, s: a + s - a * s)))


@holds
def hand_written_xor() -> Trial:
    """``a + s - 2 * a * s`` is XOR, though one factor away from nonsense."""
    return Trial(Net(Between(lambda a, s: a + s - 2 * a * s)))


@holds
def clamped_sum() -> Trial:
    """``clamp(a + s, max=1)``: the SEW sum, cut off where it stops being a spike."""
    return Trial(Net(Between(lambda a, s: torch.clamp(a + s, max=1))))


@holds
def sum_of_bools() -> Trial:
    """torch adds bools as OR."""
    return Trial(Net(Between(lambda a, s: (a.bool() + s.bool()).float())))


@holds
def three_spikes_by_hand() -> Trial:
    """``a s + s - a s s``: what cancels is gone, ``s`` is left."""
    return Trial(Net(Between(lambda a, s: a * s + s - a * s * s)))


@holds
def concatenated_spikes() -> Trial:
    """torch.cat of two layers' spikes: a convolution of each, whose currents are added up."""
    return Trial(Net(Between(lambda a, s: torch.cat([a, s], dim=2)), width=2 * WIDTH))


@holds
def clamped_spikes() -> Trial:
    """``clamp(0, 1)`` of spikes changes nothing; of a current it would not be a spike."""
    return Trial(Net(On(lambda s: s.clamp(0, 1))))


@holds
def learned_gain_on_spikes() -> Trial:
    """A parameter that multiplies spikes in front of a layer: it goes into the layer's weights."""

    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(0.5))

        def forward(self, s: Tensor) -> Tensor:
            return s * self.gain

    return Trial(Net(Gain()))


@holds
def argument_with_a_default() -> Trial:
    """What is compiled is what ``model(x)`` computes."""

    class Optional(Net):
        def forward(self, x: Tensor, gain: Any = None) -> Any:
            return super().forward(x if gain is None else gain * x)

    return Trial(Optional())


@holds
def gates_of_gates() -> Trial:
    """Logic three deep, without a layer between."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate1, self.gate2, self.gate3 = gates.Or(), gates.Xor(), gates.Iand()

        def forward(self, a: Tensor, s: Tensor) -> Tensor:
            return self.gate3(self.gate2(self.gate1(a, s), a), self.gate1(s, a))

    return Trial(Net(Between(Deep())))


class _Same(nn.Module):
    """A gate on one spike twice."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, s: Tensor) -> Tensor:
        """Join it with itself."""
        return self.gate(s, s)


class _Currents(nn.Module):
    """Two convolutions whose currents meet in front of one neuron."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], **neuron: Any) -> None:
        super().__init__()
        self.main = Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.skip = Conv2d(WIDTH, WIDTH, 1)
        self.neuron = IF(threshold=0.4, **neuron)
        self.join = join

    def forward(self, s: Tensor) -> Tensor:
        """Spikes of the joined currents."""
        return self.neuron(self.join(self.main(s), self.skip(s)))


@holds
def plus_of_two_currents() -> Trial:
    """``a + b`` as SEW has it, but in front of the neuron: synapses that meet at a dendrite."""
    return Trial(Net(_Currents(lambda a, b: a + b)))


@holds
def in_place_sum_of_currents() -> Trial:
    """``a += b`` on a tensor that nothing else reads."""
    return Trial(Net(_Currents(operator.iadd)))


@holds
def a_current_added_to_itself() -> Trial:
    """``a + a``: not a multiplication by two, but every synapse twice; on Lava too."""
    return Trial(Net(_Currents(lambda a, b: a + a)), lava="fast")


@holds
def three_currents_with_biases() -> Trial:
    """Biases of three synapses meet in one register."""
    return Trial(Net(_Currents(lambda a, b: a + b + a)))


@holds
def spike_added_to_a_current() -> Trial:
    """The identity residual: a spike joins a current, through a synapse of one."""

    class Identity(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 3, padding=1)
            self.neuron = IF()

        def forward(self, s: Tensor) -> Tensor:
            return self.neuron(self.conv(s) + s)

    return Trial(Net(Identity()))


@holds
def sum_of_spikes_into_a_neuron() -> Trial:
    """``a + s`` of spikes, but a neuron reads it: an OR that looks like SEW's ADD."""

    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron = IF()

        def forward(self, a: Tensor, s: Tensor) -> Tensor:
            return self.neuron(a + s)

    return Trial(Net(Between(Summed())))


@holds
def skip_over_three_layers() -> Trial:
    """The identity waits three synapses long for its join; on Lava too."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                *(m for _ in range(3) for m in (Conv2d(WIDTH, WIDTH, 1), IF(threshold=0.2)))
            )
            self.gate = gates.Iand()

        def forward(self, s: Tensor) -> Tensor:
            return self.gate(self.body(s), s)

    return Trial(Net(Skip()), lava="fast")


def _resnet(gate: str, **more: Any) -> nn.Module:
    config = ModelConfig(2, 4, 3, (4, 4), stem=3, widths=(3, 4), strides=(1, 2), gate=gate, **more)
    return build_model(config, seed=1)


@holds
def residual_network_with_auxiliary_paths() -> Trial:
    """ReLU, accumulated integers, batch norm and averages: all on paths that are cut off."""
    return Trial(_resnet("iand"))


@holds
def classifier_shared_with_the_auxiliary_path() -> Trial:
    """The one classifier reads real-valued features in training and spikes when deployed."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.pool = Net(), nn.Sequential(GlobalAvgPool2d(), Flatten(), TimeMean())
            self.side = nn.Sequential(Conv2d(CHANNELS, WIDTH, 1), nn.ReLU())

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"main": self.net(x), "aap": self.net.head[3](self.pool(self.side(x)))}

    return Trial(Shared())


@holds
def identity_residuals_by_addition() -> Trial:
    """The SN residual: an identity addition in front of the neuron."""
    return Trial(_resnet("sn"))


# Pooling -----------------------------------------------------------------------------------------


@holds
def padded_max_pool_on_spikes() -> Trial:
    """A maximum with padding: an OR of what is there."""
    return Trial(Net(MaxPool2d(3, stride=1, padding=1)))


@holds
def max_pool_of_max_pool() -> Trial:
    """An OR of ORs, down to one pixel."""
    return Trial(Net(nn.Sequential(MaxPool2d(2), MaxPool2d(2))))


@holds
def average_pool_before_the_classifier() -> Trial:
    """Windows, flatten, linear: the averages move into the weights."""
    readout = nn.Sequential(AvgPool2d(2), Flatten(), TimeMean(), nn.Linear(WIDTH * 4, 4))
    return Trial(changed(Net(), head=readout))


@holds
def average_pool_in_front_of_a_convolution() -> Trial:
    """Quarters of spikes by value, one convolution of stride 2 by algebra."""
    return Trial(Net(AvgPool2d(2)))


@holds
def average_pool_into_a_neuron() -> Trial:
    """An average is a synapse of constant weight if a neuron reads it."""
    return Trial(Net(nn.Sequential(AvgPool2d(2), IF(threshold=0.5))))


@holds
def average_of_nine_at_a_tied_threshold() -> Trial:
    """Ninths that add up to exactly the threshold, where rounding may decide either way."""
    return Trial(Net(nn.Sequential(AvgPool2d(3, 1, 1), IF(threshold=1.0))), samples=64)


@holds
def average_pool_of_one_pixel() -> Trial:
    """A window of 1 x 1: the identity."""
    return Trial(Net(AvgPool2d(1)))


# Normalisation -----------------------------------------------------------------------------------


@holds
def batch_norm_with_gamma_zero() -> Trial:
    """Zero-init residual: the layer is its bias."""
    norm = statistics(BatchNorm2d(WIDTH))
    return Trial(changed(Net(), norm1=filled(norm, 0.0, 0.6)))


@holds
def batch_norm_with_a_tiny_variance() -> Trial:
    """1e-12 under the root: eps decides the scale, and one outlier the resolution."""
    norm = statistics(BatchNorm2d(WIDTH))
    norm.running_var[0] = 1e-12
    return Trial(changed(Net(), norm1=norm))


@holds
def batch_norm_twice() -> Trial:
    """Two norms in a row fuse one after the other."""
    two = nn.Sequential(statistics(BatchNorm2d(WIDTH)), statistics(BatchNorm2d(WIDTH)))
    return Trial(changed(Net(), norm1=two))


@holds
def batch_norm_without_affine_part() -> Trial:
    """No gamma and no beta."""
    return Trial(changed(Net(), norm1=BatchNorm2d(WIDTH, affine=False)))


@holds
def batch_norm_after_the_classifier() -> Trial:
    """A norm of the class currents, fused into the classifier of every step."""
    readout = nn.Sequential(Conv2d(WIDTH, 4, 4), statistics(BatchNorm2d(4)), IF(), Flatten())
    last = nn.Sequential(TimeMean(), nn.Linear(4, 4))
    return Trial(changed(Net(), head=nn.Sequential(*readout, *last)))


# Activity ----------------------------------------------------------------------------------------


@holds
def dead_layer() -> Trial:
    """Never fires: silent, not broken."""
    return Trial(changed(Net(), neuron1=IF(threshold=1000.0)))


@holds
def always_firing_layer() -> Trial:
    """Fires at every step by its bias: spikes carry nothing, and are spikes."""
    conv = filled(Conv2d(WIDTH, WIDTH, 3, padding=1), 0.01, 5.0)
    return Trial(changed(Net(), conv2=conv))


@holds
def empty_input() -> Trial:
    """All zeros, which NeuroBench counts as accumulations whatever the type."""
    return Trial(Net(), inputs=np.zeros((3, 8, 2, 4, 4), np.uint8))


@holds
def full_input() -> Trial:
    """All ones: a constant, and spikes."""
    return Trial(Net(), inputs=np.ones((3, 8, 2, 4, 4), np.uint8))


@holds
def spikes_stored_as_floats() -> Trial:
    """0.0 and 1.0 in 64 bits."""
    return Trial(Net(), inputs=Trial(Net()).spikes().astype(np.float64))


@holds
def analog_input_with_declared_encoder() -> Trial:
    """Grey values, and the first layer declared to run on the host."""
    r = np.random.default_rng(0)
    return Trial(
        Net(), inputs=r.random((3, 8, 2, 4, 4)), domain=ANALOG, host_encoder=True, lava="fast"
    )


@holds
def declared_encoder_on_spikes() -> Trial:
    """The flag is set where nothing needs it: the first layer stays on the chip."""
    return Trial(Net(), host_encoder=True)


# Geometry ----------------------------------------------------------------------------------------


@holds
def grouped_and_depthwise() -> Trial:
    """Groups of one input channel."""
    return Trial(Net(nn.Sequential(Conv2d(WIDTH, 6, 3, groups=3), IF(threshold=0.2)), width=6))


@holds
def dilated_and_strided() -> Trial:
    """Holes in the kernel, every second pixel."""
    return Trial(Net(nn.Sequential(Conv2d(WIDTH, WIDTH, 2, 2, 1, dilation=2), IF(threshold=0.2))))


@holds
def non_square_kernel_with_same_padding() -> Trial:
    """1 x 3, padded by name."""
    return Trial(Net(nn.Sequential(Conv2d(WIDTH, WIDTH, (1, 3), padding="same"), IF())))


@holds
def one_pixel() -> Trial:
    """Images of 1 x 1: a convolution of borders only."""
    return Trial(Net(), shape=(2, 1, 1))


@holds
def one_step() -> Trial:
    """T = 1: a spiking network that looks like a binary one."""
    return Trial(Net(), steps=1)


@holds
def one_sample() -> Trial:
    """N = 1."""
    return Trial(Net(), samples=1)


@holds
def fully_connected() -> Trial:
    """No convolution anywhere."""
    net = nn.Sequential(Flatten(), nn.Linear(32, 8), IF(), nn.Linear(8, 4), TimeMean())
    return Trial(net)


@holds
def neuron_on_the_bare_input() -> Trial:
    """A neuron reads spikes with no layer between: a one-to-one synapse."""
    return Trial(nn.Sequential(IF(), Flatten(), nn.Linear(32, 4), TimeMean()))


# Weights -----------------------------------------------------------------------------------------


@holds
def negative_weights_only() -> Trial:
    """Nothing but inhibition, and a bias that fires."""
    return Trial(changed(Net(), conv2=filled(Conv2d(WIDTH, WIDTH, 3, padding=1), -0.1, 0.9)))


@holds
def zero_weights() -> Trial:
    """A layer of zeros: 0 times anything, and still a synapse."""
    return Trial(changed(Net(), conv2=filled(Conv2d(WIDTH, WIDTH, 3, padding=1), 0.0, 0.3)))


@holds
def huge_bias() -> Trial:
    """A bias a thousand times the weights: the scale gives way, not the range."""
    return Trial(changed(Net(), conv2=filled(Conv2d(WIDTH, WIDTH, 3, padding=1), 0.01, 10.0)))


@holds
def one_outlier_weight() -> Trial:
    """One weight a hundred times the others leaves them a single level."""
    layer = filled(Conv2d(WIDTH, WIDTH, 3, padding=1), 0.1)
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] = 10.0
    return Trial(changed(Net(), conv2=layer))


@holds
def readout_that_would_overflow_at_64_steps() -> Trial:
    """32 inputs of one weight over 64 steps: at full scale too much, so the scale gives way."""
    readout = filled(nn.Linear(32, 4), 1.0)
    return Trial(nn.Sequential(IF(), Flatten(), readout, TimeMean()), steps=64)


@holds
def two_bit_weights() -> Trial:
    """-1, 0, 1: ternary weights on spikes are additions and subtractions."""
    return Trial(Net(), weight_bits=2)


@holds
def parametrized_weight() -> Trial:
    """Weight norm as a parametrization: the weight is computed, what it computes is fixed."""
    net = Net()
    nn.utils.parametrizations.weight_norm(net.conv2)
    return Trial(net)


# Neurons -----------------------------------------------------------------------------------------


@holds
def soft_reset() -> Trial:
    """Subtracts on every spike."""
    return Trial(changed(Net(), neuron2=IF(threshold=0.3, reset="subtract")))


@holds
def reset_by_twice_the_threshold() -> Trial:
    """InfLoR: fires at 0.5, subtracts 1."""
    return Trial(changed(Net(), neuron2=IF(threshold=0.5, reset="subtract", amount=1.0)))


@holds
def exact_ties() -> Trial:
    """Sums that meet the threshold exactly, at every second step."""
    conv = filled(Conv2d(WIDTH, WIDTH, 3, padding=1), 0.25)
    return Trial(changed(Net(), conv2=conv, neuron2=IF(threshold=1.0)))


@holds
def threshold_far_below_a_weight() -> Trial:
    """Rounds to 1, not across zero."""
    return Trial(changed(Net(), neuron2=IF(threshold=1e-4)))


@holds
def leak_where_the_policy_allows_it() -> Trial:
    """The multiplication of a leak, under a policy that knows about it."""
    return Trial(changed(Net(), neuron2=LIF(tau=2.0, threshold=0.3)), policy=LEAKY)


@holds
def leaky_by_name_only() -> Trial:
    """A LIF with tau = 1 forgets everything at once: nothing is multiplied."""
    return Trial(changed(Net(), neuron2=LIF(tau=1.0, threshold=0.3)), weight_bits=2)


@holds
def threshold_by_channel() -> Trial:
    """A tensor as threshold: one number per channel."""
    per_channel = torch.tensor([0.2, 0.3, 0.6]).reshape(WIDTH, 1, 1)
    return Trial(changed(Net(), neuron2=mutated(IF(), threshold=per_channel)))


@holds
def input_scale_without_leak() -> Trial:
    """1 / tau in front of a neuron that does not leak: into its threshold."""
    return Trial(changed(Net(), neuron2=Neuron(input_scale=0.25, threshold=0.2)))


@holds
def neuron_subclass() -> Trial:
    """A subclass that only changes the constructor."""

    class Fast(IF):
        def __init__(self) -> None:
            super().__init__(threshold=0.2)

    return Trial(changed(Net(), neuron2=Fast()))


# Names and structure -----------------------------------------------------------------------------


@holds
def main_path_called_auxiliary() -> Trial:
    """'aap', 'auxiliary' and 'shortcut' are names of modules that the main output needs."""
    return Trial(_Named())


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.aap = Conv2d(CHANNELS, WIDTH, 3)
        self.auxiliary = IF(threshold=0.2)
        self.shortcut = nn.Sequential(Conv2d(WIDTH, WIDTH, 1), IF(threshold=0.2))
        self.relu = Head()

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.relu(self.shortcut(self.auxiliary(self.aap(x))))


@holds
def block_with_a_part_called_auxiliary() -> Trial:
    """A block of the main path that has a submodule by the name of the mark."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.auxiliary = nn.Sequential(Conv2d(WIDTH, WIDTH, 1), IF(threshold=0.2))

        def forward(self, s: Tensor) -> Tensor:
            return self.auxiliary(s)

    return Trial(Net(Block()))


@holds
def neurons_called_relu_and_softmax() -> Trial:
    """Spiking neurons under the names of what they replaced."""

    class Named(Net):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.softmax = self.neuron1, self.neuron2
            del self.neuron1, self.neuron2

        def forward(self, x: Tensor) -> Any:
            return self.head(self.softmax(self.conv2(self.relu(self.norm1(self.conv1(x))))))

    return Trial(Named())


@holds
def relu_that_nothing_calls() -> Trial:
    """A ReLU, a batch norm and a linear layer that are members and never run."""
    unused = nn.Sequential(nn.ReLU(), BatchNorm2d(WIDTH), nn.LSTM(3, 3))
    return Trial(changed(Net(), unused=unused))


@holds
def unmarked_auxiliary_output() -> Trial:
    """A real-valued second head without any mark: what only it needs is cut off by the slice."""

    class TwoHeads(Net):
        def forward(self, x: Tensor) -> Any:
            s = self.neuron1(self.norm1(self.conv1(x)))
            main = self.head(self.neuron2(self.conv2(s)))
            return {"main": main, "distill": self.head(self.conv2(s))}

    return Trial(TwoHeads())


@holds
def nested_containers() -> Trial:
    """Sequential in Sequential in Sequential, with identities and dropout between."""
    inner = nn.Sequential(nn.Identity(), nn.Sequential(nn.Sequential(Conv2d(WIDTH, WIDTH, 1))))
    return Trial(Net(nn.Sequential(inner, nn.Dropout(0.5), IF(threshold=0.2), nn.Sequential())))


@holds
def dropout_in_training_mode() -> Trial:
    """The module arrives in training mode: dropout and batch norm are taken as deployed."""
    net = Net(nn.Dropout(0.5))
    net.train()
    return Trial(net)


@holds
def alpha_dropout() -> Trial:
    """A dropout that shifts and scales in training: the identity when deployed."""
    return Trial(Net(nn.AlphaDropout(0.5)))


@holds
def one_convolution_used_twice() -> Trial:
    """The same weights and the same neuron at two depths."""
    shared = nn.Sequential(Conv2d(WIDTH, WIDTH, 3, padding=1), IF(threshold=0.3))
    return Trial(Net(nn.Sequential(shared, shared)))


@holds
def sequential_with_its_own_forward() -> Trial:
    """A subclass of Sequential that runs its parts backwards."""

    class Backwards(nn.Sequential):
        def forward(self, s: Tensor) -> Tensor:
            for module in reversed(self):
                s = module(s)
            return s

    return Trial(Net(Backwards(IF(threshold=0.2), Conv2d(WIDTH, WIDTH, 1))))


@holds
def hook_on_a_container() -> Trial:
    """A hook on a Sequential runs while tracing: what it does is captured, here nothing."""
    net = Net(nn.Sequential(MaxPool2d(2)))
    net.middle.register_forward_hook(lambda module, args, out: None)
    return Trial(net)


@holds
def spiking_output() -> Trial:
    """The network ends in spikes: the host counts them."""
    net = nn.Sequential(Flatten(), nn.Linear(32, 4), mutated(IF(), threshold=0.1))
    return Trial(net)


# Batch norm in front ------------------------------------------------------------------------------


@holds
def batch_norm_after_pooling() -> Trial:
    """Batch norm on pooled spikes: it goes through the pool into the next convolution."""
    return Trial(Net(nn.Sequential(MaxPool2d(2), BatchNorm2d(WIDTH))))


@holds
def batch_norm_on_spikes() -> Trial:
    """A pre-activation block: the norm goes into the convolution behind it, border and all."""
    return Trial(Net(BatchNorm2d(WIDTH)))


@holds
def batch_norm_on_the_input() -> Trial:
    """Normalised input spikes are not spikes, but the norm goes into the convolution behind it."""

    class Normed(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm0 = BatchNorm2d(CHANNELS)

        def forward(self, x: Tensor) -> Any:
            return super().forward(self.norm0(x))

    return Trial(Normed())


@holds
def reset_that_takes_nothing_off() -> Trial:
    """Soft reset by 0: the neuron is never reset, and its spikes are spikes."""
    return Trial(changed(Net(), neuron1=mutated(IF(reset="subtract"), amount=0.0)))


@holds
def relu_of_spikes() -> Trial:
    """A ReLU on what is 0 or 1 changes nothing, whoever calls it."""
    return Trial(Net(On(nn.functional.relu)))
