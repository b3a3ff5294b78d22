"""Torch modules that look spike-only and are not."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from adversarial.case import Corpus, Trial
from adversarial.networks import CHANNELS, WIDTH, Between, Head, Net, On, changed, filled, mutated
from torch import Tensor, fx, nn
from torch.nn import functional

from purespike.compiler.ir.domain import ANALOG, TERNARY, Domain
from purespike.trainer.nn import gates
from purespike.trainer.nn.auxiliary import AapDownsample, Accumulate, AuxiliaryLinear
from purespike.trainer.nn.layers import AvgPool2d, BatchNorm2d, Conv2d, Flatten, MaxPool2d, TimeMean
from purespike.trainer.nn.neuron import IF, LIF, Neuron

corpus = Corpus()
breaks = corpus.breaks


# Joins -------------------------------------------------------------------------------------------


@breaks("PS001 conv2", "PS004 middle.add")
def plus_of_two_spikes() -> Trial:
    """The SEW join written as ``a + s``: no module to see, and 1 + 1 = 2 reaches the next layer."""
    return Trial(Net(Between(lambda a, s: a + s)))


@breaks("PS001 conv2", "PS004 middle.add")
def torch_add_of_two_spikes() -> Trial:
    """The same as a call of torch.add."""
    return Trial(Net(Between(torch.add)))


@breaks("PS001 conv2", "PS004 middle.add")
def in_place_sum_of_two_spikes() -> Trial:
    """The same in place, on a tensor that nothing else reads."""
    return Trial(Net(Between(operator.iadd)))


@breaks("PS001 conv2", "PS004 middle.join")
def sew_add_module() -> Trial:
    """The trainer's own ADD gate: a gate by its folder, an integer by its values."""
    return Trial(Net(Between(gates.Add())))


@breaks("PS001 conv2", "PS004 middle.add")
def a_spike_added_to_itself() -> Trial:
    """``s + s`` is 0 or 2: two values, as spikes have, and one of them is not 1."""
    return Trial(Net(On(lambda s: s + s)))


@breaks("PS001 conv2", "PS004 middle.add", "PS004 middle.add-2")
def sum_of_three_spikes() -> Trial:
    """Two additions in a row."""
    return Trial(Net(Between(lambda a, s: a + s + s)))


@breaks("PS001 conv2")
def weighted_add() -> Trial:
    """torch.add takes a factor: ``a + 0.5 s`` in one call."""
    return Trial(Net(Between(lambda a, s: torch.add(a, s, alpha=0.5))))


@breaks("PS001 conv2")
def clamp_at_two() -> Trial:
    """``clamp(a + s, max=2)`` looks like OR and lets 1 + 1 through."""
    return Trial(Net(Between(lambda a, s: torch.clamp(a + s, max=2))))


@breaks("refused middle")
def clamp_from_one() -> Trial:
    """``clamp(a + s, min=1)`` is 1 where nothing fires."""
    return Trial(Net(Between(lambda a, s: torch.clamp(a + s, min=1))))


@breaks("PS001 conv2")
def nearly_or() -> Trial:
    """``a + s - a s / 2`` is 1.5 where both fire."""
    return Trial(Net(Between(lambda a, s: a + s - 0.5 * a * s)))


@breaks("PS001 conv2")
def more_than_xor() -> Trial:
    """``a + s - 3 a s`` is -1 where both fire."""
    return Trial(Net(Between(lambda a, s: a + s - 3 * a * s)))


@breaks("PS001 conv2")
def a_gate_and_its_operand() -> Trial:
    """``a s + s`` counts: 0, 1 or 2, though both terms are spikes."""
    return Trial(Net(Between(lambda a, s: a * s + s)))


@breaks("refused middle")
def nand() -> Trial:
    """``1 - a s`` fires in silence: no synapse sends what nobody sent."""
    return Trial(Net(Between(lambda a, s: 1 - a * s)))


@breaks("refused middle")
def inverted_bits() -> Trial:
    """``~`` of integers is -x - 1, not NOT."""
    return Trial(Net(Between(lambda a, s: (~a.int() & s.int()).float())))


@breaks("PS001 conv2")
def another_gate_in_each_channel() -> Trial:
    """A mask makes it OR in one channel and AND in the others: no one gate of the tensor."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.tensor([1.0, 0.0, 0.0]).view(WIDTH, 1, 1))

        def forward(self, a: Tensor, s: Tensor) -> Tensor:
            return self.mask * (a + s - 2 * a * s) + a * s

    return Trial(Net(Between(Masked())))


@breaks("refused middle")
def product_with_a_membrane_in_disguise() -> Trial:
    """``a * s`` where ``a`` is the current of a layer: a gate by its text, a MAC by its values."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 1)

        def forward(self, s: Tensor) -> Tensor:
            a = self.conv(s)
            return a + s - a * s

    return Trial(Net(Gated()))


@breaks("refused middle")
def threshold_by_hand() -> Trial:
    """``(conv(s) > 0.5).float()`` makes spikes of a current without a neuron."""

    class Compared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 1)

        def forward(self, s: Tensor) -> Tensor:
            return (self.conv(s) > 0.5).float()

    return Trial(Net(Compared()))


@breaks("refused middle")
def maximum_of_currents() -> Trial:
    """``torch.maximum`` is OR of spikes, and of currents a comparison that no synapse makes."""

    class Largest(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 1)

        def forward(self, s: Tensor) -> Tensor:
            return torch.maximum(self.conv(s), s)

    return Trial(Net(Largest()))


@breaks("refused middle")
def changed_in_place() -> Trial:
    """``s *= a`` also changes what the next line still calls by its old name."""

    def join(a: Tensor, s: Tensor) -> Tensor:
        old = s
        s *= a
        return s + old

    return Trial(Net(Between(join)))


@breaks("refused middle")
def attention_product() -> Trial:
    """Spikes times spikes transposed: no static synapse, and counts come out."""
    return Trial(Net(On(lambda s: s @ s)))


@breaks("refused middle")
def gated_membrane() -> Trial:
    """Spikes that gate a current: a product of a spike and a real number."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 1)

        def forward(self, s: Tensor) -> Tensor:
            return s * self.conv(s)

    return Trial(Net(Gated()))


# Inputs ------------------------------------------------------------------------------------------


def _inputs(change: Any, samples: int = 8, **more: Any) -> Trial:
    x = Trial(Net(), samples=samples).spikes().astype(np.float32)
    return Trial(Net(), inputs=change(x), **more)


@breaks("PS002 x")
def constant_input() -> Trial:
    """0.3 everywhere: one value in [0, 1], which a counter that looks at values calls spikes."""
    return _inputs(lambda x: np.full_like(x, 0.3))


@breaks("PS002 x")
def half_spikes() -> Trial:
    """{0, 0.5}: binary, but each event multiplies the weight by a half."""
    return _inputs(lambda x: x / 2)


@breaks("PS002 x")
def ternary_input() -> Trial:
    """-1, 0, 1: binary in magnitude."""
    return _inputs(lambda x: x * np.where(np.arange(x.size).reshape(x.shape) % 2, 1, -1))


@breaks("PS002 x")
def event_counts() -> Trial:
    """Two events in one bin: an event camera frame that was never clipped."""
    return _inputs(lambda x: x * 2)


@breaks("PS002 x")
def negative_events() -> Trial:
    """Off-events coded as -1."""
    return _inputs(lambda x: -x)


@breaks("PS002 x")
def one_bad_value_in_the_last_sample() -> Trial:
    """A single 0.999 far behind the samples that a probe batch would look at."""

    def spoil(x: Any) -> Any:
        x[-1, -1, -1, -1, -1] = 0.999
        return x

    return _inputs(spoil, samples=40)


@breaks("PS011 x")
def undeclared_analog_input() -> Trial:
    """Grey values into the first convolution, and nobody said that it runs on the host."""
    r = np.random.default_rng(0)
    return Trial(Net(), inputs=r.random((3, 8, 2, 4, 4)), domain=ANALOG)


@breaks("PS011 x")
def declared_ternary_input() -> Trial:
    """Declaring the domain does not make it spikes."""
    return _inputs(lambda x: -x, domain=TERNARY)


@breaks("PS011 x")
def declared_scaled_spikes() -> Trial:
    """{0, 0.5}, declared as such."""
    return _inputs(lambda x: x / 2, domain=Domain(0, 0.5, 0.5))


@breaks("refused TwoInputs")
def two_inputs() -> Trial:
    """A second input: which one carries the spikes?"""

    class TwoInputs(Net):
        def forward(self, x: Tensor, gain: Any) -> Any:
            return super().forward(x)

    return Trial(TwoInputs())


# Pooling and normalisation -----------------------------------------------------------------------


@breaks("PS001 conv2", "PS004 middle")
def overlapping_average_pool() -> Trial:
    """Averages of spikes, padded and overlapping: they cannot move into the padded convolution."""
    return Trial(Net(AvgPool2d(3, stride=1, padding=1)))


@breaks("PS001 conv2", "PS004 middle.0", "PS004 middle.add")
def average_pool_read_twice() -> Trial:
    """A foldable average pool, if only one layer read it."""

    class Twice(nn.Sequential):
        def forward(self, s: Tensor) -> Tensor:
            pooled = self[0](s)
            self[2](self[1](pooled))
            return pooled + self[2](self[1](pooled))

    return Trial(Net(Twice(AvgPool2d(1), Conv2d(WIDTH, WIDTH, 1), IF())))


@breaks("PS004 middle.conv")
def batch_norm_behind_a_shared_convolution() -> Trial:
    """Fusing would change what the second reader of the convolution sees."""

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 1)
            self.norm = BatchNorm2d(WIDTH)
            self.neuron = IF()

        def forward(self, s: Tensor) -> Tensor:
            current = self.conv(s)
            return self.neuron(self.norm(current) + current)

    return Trial(Net(Shared()))


@breaks("PS001 conv2", "PS004 middle.pool")
def max_pool_on_currents() -> Trial:
    """The pool stands before the neuron's place: a maximum of real numbers is not an OR."""

    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 1)
            self.pool = MaxPool2d(2)

        def forward(self, s: Tensor) -> Tensor:
            return self.pool(self.conv(s))

    return Trial(Net(Pooled()))


@breaks("PS004 middle.1")
def max_pool_between_layer_and_neuron() -> Trial:
    """Convolution, max pool, neuron: spikes in, spikes out, and comparisons of reals between."""
    return Trial(Net(nn.Sequential(Conv2d(WIDTH, WIDTH, 1), MaxPool2d(2), IF(threshold=0.2))))


@breaks("refused middle")
def upsampling() -> Trial:
    """Bilinear upsampling makes quarters of spikes."""
    return Trial(Net(nn.Upsample(scale_factor=2)))


@breaks("refused middle")
def layer_norm() -> Trial:
    """A norm whose statistics are of this very input: nothing to fuse."""
    return Trial(Net(nn.LayerNorm([WIDTH, 4, 4])))


# Activations -------------------------------------------------------------------------------------


@breaks("PS001 conv2", "PS004 neuron1")
def relu_instead_of_a_neuron() -> Trial:
    """One module of a spiking network is still the ANN's."""
    return Trial(changed(Net(), neuron1=nn.ReLU()))


@breaks("refused neuron1")
def functional_relu() -> Trial:
    """No module at all, on a current."""
    return Trial(changed(Net(), neuron1=On(functional.relu)))


@breaks("refused neuron1")
def gelu() -> Trial:
    """An activation the compiler has no operation for."""
    return Trial(changed(Net(), neuron1=nn.GELU()))


@breaks("refused neuron1")
def sigmoid_called_neuron() -> Trial:
    """A soft spike: what the surrogate gradient looks like, deployed."""
    return Trial(changed(Net(), neuron1=nn.Sigmoid()))


@breaks("refused middle")
def softmax() -> Trial:
    """Attention weights sum to one and multiply."""
    return Trial(Net(nn.Softmax(dim=2)))


@breaks("PS001 conv2")
def missing_neuron() -> Trial:
    """Two convolutions in a row: one linear map by algebra, real numbers in between by hardware."""
    return Trial(Net(Conv2d(WIDTH, WIDTH, 1)))


@breaks("refused neuron1")
def ternary_neuron() -> Trial:
    """A subclass of the neuron that also fires -1."""

    class Ternary(Neuron):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) - super().forward(-x)

    return Trial(changed(Net(), neuron1=Ternary(threshold=0.5)))


@breaks("refused neuron1")
def scaled_neuron() -> Trial:
    """A subclass of IF whose spikes are 0.5, as a learned spike amplitude would make them."""

    class Scaled(IF):
        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * super().forward(x)

    return Trial(changed(Net(), neuron1=Scaled()))


@breaks("refused middle")
def active_dropout() -> Trial:
    """functional.dropout is active by default, in evaluation too: it divides spikes by 1 - p."""
    return Trial(Net(On(lambda s: functional.dropout(s, 0.5))))


# Neurons -----------------------------------------------------------------------------------------


@breaks("PS005 neuron2")
def leak_under_strict() -> Trial:
    """A leaky neuron multiplies its membrane at every step."""
    return Trial(changed(Net(), neuron2=LIF(tau=2.0, threshold=0.3)))


@breaks("PS008 neuron1")
def threshold_zero() -> Trial:
    """Fires for ever, with no input: its spikes are a clock."""
    return Trial(changed(Net(), neuron1=mutated(IF(), threshold=0.0)))


@breaks("PS008 neuron1")
def threshold_below_zero() -> Trial:
    """A threshold that training, or a fold, drove below zero."""
    return Trial(changed(Net(), neuron1=mutated(IF(), threshold=-0.5)))


@breaks("refused neuron1")
def threshold_that_nothing_reaches() -> Trial:
    """An infinite threshold has no integer."""
    return Trial(changed(Net(), neuron1=mutated(IF(), threshold=float("inf"))))


@breaks("refused conv1")
def diverged_weights() -> Trial:
    """NaN compares as false, so a network of NaN never fires and looks perfectly sparse."""
    return Trial(changed(Net(), conv1=filled(Conv2d(CHANNELS, WIDTH, 3, padding=1), float("nan"))))


# Ranges ------------------------------------------------------------------------------------------


@breaks("PS006 2", "PS007 2")
def current_that_wraps_in_one_channel() -> Trial:
    """1152 inputs, three channels tame, the last all-positive: 1152 * 127 wraps a current."""
    layer = filled(nn.Linear(1152, 4, bias=False), torch.tensor([[0.0], [0.01], [-0.02], [1.0]]))
    net = nn.Sequential(Flatten(), layer, IF(), nn.Linear(4, 4), TimeMean())
    return Trial(net, shape=(2, 24, 24))


# Auxiliary paths ---------------------------------------------------------------------------------


class _Accumulating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1 = Conv2d(CHANNELS, WIDTH, 3, padding=1)
        self.neuron1 = IF(threshold=0.2)
        self.conv2 = Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.neuron2 = IF(threshold=0.2)
        self.add = Accumulate()
        self.head = Head()


@breaks("PS003 add")
def deployed_accumulation() -> Trial:
    """The head under 'main' reads the accumulation pathway, the one under 'aap' the spikes."""

    class Swapped(_Accumulating):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            s = self.neuron1(self.conv1(x))
            a = self.neuron2(self.conv2(s))
            return {"main": self.head(self.add(s, a)), "aap": self.head(a)}

    return Trial(Swapped())


@breaks("PS003 side.0")
def auxiliary_branch_through_a_gate() -> Trial:
    """The pathway comes back into the spike stream behind a neuron and an OR: spikes again."""

    class Gated(_Accumulating):
        def __init__(self) -> None:
            super().__init__()
            self.side = AapDownsample(WIDTH, WIDTH, 1)
            self.neuron3 = IF()
            self.gate = gates.Or()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            s = self.neuron1(self.conv1(x))
            a = self.neuron2(self.conv2(s))
            return {"main": self.head(self.gate(a, self.neuron3(self.side(s))))}

    return Trial(Gated())


@breaks("PS003 classifier")
def auxiliary_classifier_deployed() -> Trial:
    """The classifier marked as training-only serves the main output."""

    class Deployed(_Accumulating):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Sequential(*list(Head())[:3])
            self.classifier = AuxiliaryLinear(WIDTH, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.classifier(self.head(self.neuron2(self.conv2(self.neuron1(self.conv1(x))))))

    return Trial(Deployed())


@breaks("PS003 head.3")
def whole_model_marked_auxiliary() -> Trial:
    """The class of the model itself says that it exists for training only."""

    class Teacher(Net):
        auxiliary = True

    return Trial(Teacher())


@breaks("refused the model's forward")
def no_main_output() -> Trial:
    """Two outputs and no word on which one is deployed."""

    class Unnamed(Net):
        def forward(self, x: Tensor) -> Any:
            y = super().forward(x)
            return {"spikes": y, "aap": y}

    return Trial(Unnamed())


# Time and shape ----------------------------------------------------------------------------------


@breaks("PS001 4", "PS004 2", "PS004 3", "PS004 4")
def relu_on_a_time_mean() -> Trial:
    """A rate, rectified, in front of the readout: the mean cannot move past the ReLU."""
    return Trial(nn.Sequential(IF(), Flatten(), TimeMean(), nn.ReLU(), nn.Linear(32, 4)))


@breaks("PS001 4", "PS004 4")
def linear_on_a_time_mean_in_the_middle() -> Trial:
    """Two linear layers behind the mean over time: only the first can be the readout."""
    net = nn.Sequential(IF(), Flatten(), TimeMean(), nn.Linear(32, 8), nn.Linear(8, 4))
    return Trial(net)


@breaks("refused middle")
def hand_written_time_mean() -> Trial:
    """``s.mean(0)`` put back on every step: firing rates between layers."""
    return Trial(Net(On(lambda s: s.mean(0, keepdim=True).expand_as(s))))


@breaks("PS001 conv2.cat0")
def concatenated_currents() -> Trial:
    """torch.cat of spikes and currents: half of the next layer's inputs are real numbers."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = Conv2d(WIDTH, WIDTH, 1)

        def forward(self, s: Tensor) -> Tensor:
            return torch.cat([self.conv(s), s], dim=2)

    return Trial(Net(Half(), width=2 * WIDTH))


@breaks("refused middle")
def concatenated_places() -> Trial:
    """torch.cat along the height: no layer behind it can tell the two maps apart."""
    return Trial(Net(Between(lambda a, s: torch.cat([a, s], dim=3))))


@breaks("refused middle")
def stacked_steps() -> Trial:
    """Steps stacked in reverse: the network reads the future."""
    return Trial(Net(On(lambda s: torch.stack([s[2], s[1], s[0]]))))


@breaks("refused middle")
def one_step_only() -> Trial:
    """``s[:1]`` drops steps, so the counts of a run would be a third."""
    return Trial(Net(On(lambda s: s[:1])))


@breaks("refused middle")
def branch_on_values() -> Trial:
    """A path that is taken only when the layer is busy: no one trace shows it."""
    return Trial(Net(On(lambda s: s * 0.5 if s.mean() > 0.5 else s)))


@breaks("refused middle.1")
def recurrent_layer() -> Trial:
    """An LSTM on spikes: sigmoids and products inside."""
    return Trial(Net(nn.Sequential(nn.Identity(), nn.LSTM(4, 4))))


# What tracing does not see -----------------------------------------------------------------------


@breaks("refused conv2")
def convolution_with_its_own_arithmetic() -> Trial:
    """``forward`` is torch's, ``_conv_forward`` beneath it is not: it convolves halved spikes."""

    class Halving(Conv2d):
        def _conv_forward(self, input: Tensor, weight: Tensor, bias: Any) -> Tensor:
            return super()._conv_forward(input * 0.5, weight.abs(), bias)

    return Trial(changed(Net(), conv2=Halving(WIDTH, WIDTH, 3, padding=1)))


@breaks("refused conv2")
def hook_on_a_layer() -> Trial:
    """A forward hook that adds membranes behind the tracer's back."""
    net = Net()
    net.conv2.register_forward_hook(lambda module, args, out: out * 1.7)
    return Trial(net)


@breaks("refused Net")
def hook_on_the_model() -> Trial:
    """A hook in front of the whole model that scales its input: tracing starts behind it."""
    net = Net()
    net.register_forward_pre_hook(lambda module, args: (args[0] * 0.3 + 0.2,))
    return Trial(net)


@breaks("refused Net")
def forward_replaced_on_the_instance() -> Trial:
    """``model.forward = ...``: tracing looks at the class and sees the old one."""
    net = Net()
    net.forward = lambda x: Net.forward(net, x * 0.3)  # type: ignore[method-assign]
    return Trial(net)


@breaks("PS010 torch: captured graph")
def forward_that_knows_it_is_traced() -> Trial:
    """Clean while a tracer looks, on scaled spikes with real tensors."""

    class Turning(Net):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x if isinstance(x, fx.Proxy) else x * 0.3)

    return Trial(Turning())
