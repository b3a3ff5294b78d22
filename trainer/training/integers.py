"""The last epochs on the chip's integers, so that the compiler has nothing left to round.

Rounding a trained network moves sums of weights by less than a per cent of the threshold. Spikes
flip where a membrane was that close, each flip changes what the layers behind it see, and the few
samples that were near two classes change theirs: a lottery, which no way to choose scales or to
round wins for every network and processor. So the weights become integers while there is still
training to come (quantization-aware training with folded normalization: Jacob et al. 2018). Each
layer gets a power of two as its scale, 2**k: its weights are n / 2**k with whole n of 8 bits, its
biases with whole n that the chip holds; the classifier's are times what its means over time and
space divide by. Gradients pass the rounding as if it were not there (straight-through estimator,
Bengio et al. 2013).

Sums of such numbers are exact in float32, in any order and on any processor, and so is every
comparison with a threshold: torch and the chip make the same decisions, spike by spike. The
classifier is rounded once, before; the layers in front of it adapt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrize

from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.wording import Advice
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.networks.folding import folded_state
from purespike.trainer.networks.models import build
from purespike.trainer.nn.auxiliary import auxiliary_modules
from purespike.trainer.training.batches import Batches
from purespike.trainer.training.losses import default_fusion, total_loss
from purespike.trainer.training.settings import TrainConfig

__all__ = ["GATES", "require_integers", "train_integers"]

GATES = ("and", "or", "iand", "xor")  # joins of spikes: every neuron hears one convolution
LEARNING_RATE = 1e-3  # of Adam, at the start; a cosine takes it to 0
_CLIPPED = 0.999  # of a layer's weights are held; the rest is clipped, and trained so
_TINY = 1e-6  # of what is silent


def require_integers(model: Any, config: TrainConfig, ranks: int) -> None:
    """Refuse a network whose last epochs cannot be on integers.

    Args:
        model: its configuration; what is no `ModelConfig` is refused.
        config: how it is trained.
        ranks: processes that train together.

    Raises:
        ConfigError: if currents meet in its neurons, they leak, or several processes train.
    """
    if not config.integer_epochs:
        return
    found = ""
    if not isinstance(model, ModelConfig):
        name = getattr(model, "name", "") or getattr(model, "module", "")
        found = f"network {name}" if name else "a network of one's own"
    elif model.gate not in GATES or model.dsnn:
        found = "dsnn" if model.dsnn else f"gate {model.gate}"
    elif model.neuron.decay != 1.0 or model.neuron.input_scale != 1.0:
        found = f"decay {model.neuron.decay:g}, input_scale {model.neuron.input_scale:g}"
    elif model.neuron.reset != "zero":
        found = f"reset {model.neuron.reset}"
    elif ranks > 1:
        found = f"{ranks} processes"
    if found:
        raise ConfigError(
            "this network cannot be trained on the chip's integers",
            found=found,
            allowed=f"a [model] without a name, gates {', '.join(GATES)}, neurons that neither "
            "leak nor scale their input, reset zero; one process",
            where="TrainConfig(integer_epochs=...)",
            remedy=Advice("set integer_epochs = 0 in [train]; compiling can fine-tune: {qat}"),
        )


def train_integers(
    model: nn.Module,
    config: TrainConfig,
    batches: Batches,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> DualStreamNetwork:
    """Fold a trained network, round it, and go on training it on integers.

    Args:
        model: the network after its epochs in real numbers, auxiliary paths included.
        config: how it was trained; ``integer_epochs`` more follow, on ``config.device``.
        batches: the training inputs (T, B, C, H, W) and labels (B,); epochs go on counting.
        progress: called after each epoch with its number and its mean loss.

    Returns:
        The folded network in evaluation mode: every weight and bias of its main path is an
        integer of the chip over a power of two.
    """
    assert isinstance(model, DualStreamNetwork)  # require_integers
    assert isinstance(model.config, ModelConfig)
    network = build(replace(model.config, folded=True))
    network.load_state_dict(folded_state(model))
    network.to(config.device).train()
    layers = list(_on_grid(network))
    network.fc.requires_grad_(False)
    optimizer = torch.optim.Adam(
        [p for p in network.parameters() if p.requires_grad], LEARNING_RATE
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, config.integer_epochs * len(batches)
    )
    for epoch in range(config.integer_epochs):
        set_epoch = getattr(batches.sampler, "set_epoch", None)
        if set_epoch is not None:
            set_epoch(config.epochs + epoch)
        losses = []
        for inputs, labels in batches:
            loss = total_loss(
                network(inputs.to(config.device)),
                labels.to(config.device),
                balance=config.balance.at(1, 1),
                fusion=config.fusion or default_fusion(config.balance.kind),
                label_smoothing=config.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cosine.step()
            losses.append(float(loss.detach()))
        progress(epoch, sum(losses) / len(losses))
    for layer in layers:
        for name in ("weight", "bias"):
            parametrize.remove_parametrizations(layer, name)
    return network.requires_grad_(True).cpu().eval()


class _Rounded(nn.Module):
    """Multiples of ``unit``, at most ``limit`` of them; gradients as if not rounded."""

    def __init__(self, unit: float, limit: int) -> None:
        super().__init__()
        self.unit, self.limit = unit, limit

    def forward(self, real: Tensor) -> Tensor:
        """Round a weight or a bias, of any shape."""
        steps = (real.detach() / self.unit).round().clamp(-self.limit, self.limit)
        rounded = steps * self.unit
        # Not real + (rounded - real), which would be off by a rounding in float32.
        return _StraightThrough.apply(real, rounded)  # type: ignore[no-untyped-call,no-any-return]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, real: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


def _on_grid(network: DualStreamNetwork) -> Iterator[nn.Module]:
    """Round the layers of the main path from here on, each with its own power of two."""
    grid, training_only = Grid(), auxiliary_modules(network)
    for name, layer in network.named_modules():
        if name in training_only or not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        assert layer.bias is not None  # a folded layer has one
        weight, bias = layer.weight.detach().abs(), layer.bias.detach().abs()
        if layer is network.fc:
            # Means over time and space become factors of its weights and biases on the chip.
            steps = network.config.steps
            places = steps * _positions(network.config)
            held = float(weight.max())
            # It must never reach the threshold (compiler/passes/quantize/readout.py).
            rounding = 0.5 * (places * weight.shape[1] + steps)
            top = (grid.threshold_limit - rounding) / float((weight.sum(1) + bias).max())
        else:
            steps = places = 1
            held = float(torch.quantile(weight.flatten(), _CLIPPED, interpolation="higher"))
            top = grid.threshold_limit / network.config.neuron.threshold
        top = min(
            top,
            grid.weight_limit * places / max(held, _TINY),
            grid.bias_limit * steps / max(float(bias.max()), _TINY),
        )
        unit = 2.0 ** -max(0, math.floor(math.log2(top)))
        for part, limit, factor in (
            ("weight", grid.weight_limit, places),
            ("bias", grid.bias_limit, steps),
        ):
            parametrize.register_parametrization(layer, part, _Rounded(factor * unit, limit))
        yield layer


def _positions(config: ModelConfig | NetworkConfig) -> int:
    """Pixels of the last feature map, which the classifier averages."""
    assert isinstance(config, ModelConfig)
    height, width = config.size
    for stride in config.strides:
        height, width = -(-height // stride), -(-width // stride)
    return height * width
