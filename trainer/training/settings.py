"""How a network is trained: the values, and the learning rate that follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.optim import lr_scheduler

from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.auxiliary import BalanceSchedule
from purespike.trainer.nn.encoders import ENCODERS
from purespike.trainer.training.losses import FUSIONS
from purespike.trainer.values import to_dict

__all__ = ["OPTIMIZERS", "PRECISIONS", "SCHEDULES", "TrainConfig", "learning_rate", "stated"]

OPTIMIZERS = ("sgd", "adamw")
PRECISIONS = ("float32", "bf16", "auto")
SCHEDULES = ("cosine", "step", "constant")


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        epochs: passes over the training images.
        integer_epochs: passes after those on the chip's integers, which then compile without loss
            (:mod:`purespike.trainer.training.integers`).
        batch_size: images in one step, over all processes together.
        optimizer: sgd (momentum 0.9, Nesterov off) or adamw.
        learning_rate: the highest one.
        schedule: cosine takes the learning rate to ``final_learning_rate``, step multiplies it by
            0.1 every ``step_epochs`` epochs, constant leaves it.
        warmup: epochs over which the learning rate rises linearly from a hundredth, before that.
        final_learning_rate: at the end of the cosine.
        step_epochs: epochs between two steps.
        weight_decay: on convolutions and linear weights, not on biases and batch normalizations.
        gradient_clip: largest L2 norm of the gradient over all weights; None leaves it.
        label_smoothing: share of each label spread evenly over all classes.
        precision: float32, or bf16: matrix products in bfloat16 (autocast), membranes, statistics
            and weights in float32. auto is bf16 with ``channels_last`` on a CPU that multiplies in
            bfloat16, and float32 everywhere else, both with ``spike_kernels`` where a CPU with AVX2
            can have them; checkpoints say what it was.
        spike_kernels: compute convolutions and linear layers that hear spikes by additions, where
            that is quicker, batch normalizations with the neurons behind them, and gates on bits
            (:mod:`purespike.trainer.nn.spiking`); the same numbers up to the order of sums. On a
            CPU, with ``channels_last``; in bf16 the normalizations with their neurons alone.
        recompute: keep only what enters each block and compute the rest again in the backward pass
            (activation checkpointing): less memory, one more forward pass, the same gradients.
        channels_last: weights and activations with the channels side by side in memory (NHWC),
            which convolutions in bf16 want; the same numbers up to rounding.
        device: cpu or cuda.
        workers: processes that prepare batches beside the training; they do not change the batches.
        sync_batchnorm: with several processes, statistics over the whole batch, as one process
            takes them, instead of over each process's share.
        seed: of the weights, the order of the images, the encoder and the shifts.
        encoder: bit_plane, rate or latency.
        shift: move training images by up to one pixel.
        validation: training images held out to choose ``best.ckpt``; 0 for none.
        patience: stop after so many epochs without a better validation accuracy; 0 never stops.
        deploy: which weights are kept: last, or best by validation accuracy.
        balance: the balance coefficient of the shortcut branches over the training.
        fusion: of the shortcut branches, logit or loss; None takes the one that goes with the
            schedule (:func:`purespike.trainer.training.losses.default_fusion`).
    """

    epochs: int = 30
    batch_size: int = 32
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    schedule: str = "cosine"
    warmup: int = 0
    final_learning_rate: float = 0.0
    step_epochs: int = 64
    weight_decay: float = 1e-3
    gradient_clip: float | None = None
    label_smoothing: float = 0.1
    precision: str = "float32"
    spike_kernels: bool = False
    recompute: bool = False
    channels_last: bool = False
    device: str = "cpu"
    workers: int = 0
    sync_batchnorm: bool = True
    seed: int = 0
    encoder: str = "bit_plane"
    shift: bool = True
    validation: int = 0
    patience: int = 0
    deploy: str = "last"
    balance: BalanceSchedule = field(default_factory=BalanceSchedule)
    fusion: str | None = None
    integer_epochs: int = 0

    def __post_init__(self) -> None:
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("device", ("cpu", "cuda")),
            ("encoder", tuple(ENCODERS)),
            ("deploy", ("last", "best")),
            ("fusion", (None, *FUSIONS)),
        ):
            if getattr(self, name) not in choices:
                self._refuse(name, ", ".join(str(choice) for choice in choices))
        for name, least in (
            ("epochs", 1),
            ("batch_size", 1),
            ("step_epochs", 1),
            ("warmup", 0),
            ("workers", 0),
            ("seed", 0),
            ("integer_epochs", 0),
            ("validation", 0),
            ("patience", 0),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                self._refuse(name, f"a whole number of at least {least}")
        if self.seed >= 1 << 63:
            self._refuse("seed", "less than 2**63, as torch takes it")
        if not 0.0 < self.learning_rate < math.inf:
            self._refuse("learning_rate", "> 0")
        if not 0.0 <= self.final_learning_rate <= self.learning_rate:
            self._refuse("final_learning_rate", f"0 to learning_rate = {self.learning_rate:g}")
        if not 0.0 <= self.weight_decay < math.inf:
            self._refuse("weight_decay", ">= 0")
        if self.gradient_clip is not None and not 0.0 < self.gradient_clip < math.inf:
            self._refuse("gradient_clip", "> 0, or none")
        if not 0.0 <= self.label_smoothing < 1.0:
            self._refuse("label_smoothing", "0 <= label_smoothing < 1")
        if self.warmup >= self.epochs:
            self._refuse("warmup", f"fewer than epochs = {self.epochs}")
        if self.spike_kernels and self.device != "cpu":
            self._refuse("spike_kernels", "false, or device = cpu")
        if self.validation == 0 and self.deploy == "best":
            self._refuse("deploy", "last, as validation is 0")
        if self.validation == 0 and self.patience > 0:
            self._refuse("patience", "0, as validation is 0")

    def _refuse(self, name: str, allowed: str) -> None:
        raise ConfigError(
            f"{name} of a training is not allowed",
            found=repr(getattr(self, name)),
            allowed=allowed,
            where=f"TrainConfig({name}=...)",
            remedy="correct the value",
        )


def stated(config: TrainConfig) -> dict[str, Any]:
    """The values as JSON, without what resume files before that option do not have."""
    values = to_dict(config)
    if not config.spike_kernels:
        del values["spike_kernels"]
    return values


def learning_rate(
    optimizer: torch.optim.Optimizer, config: TrainConfig, iterations: int
) -> lr_scheduler.LRScheduler:
    """The schedule of the learning rate, one step an iteration.

    Args:
        optimizer: at the highest learning rate.
        config: what to follow.
        iterations: of the whole training.
    """
    per_epoch = iterations // config.epochs
    warmup = config.warmup * per_epoch
    main: lr_scheduler.LRScheduler
    if config.schedule == "cosine":
        main = lr_scheduler.CosineAnnealingLR(
            optimizer, iterations - warmup, eta_min=config.final_learning_rate
        )
    elif config.schedule == "step":
        main = lr_scheduler.StepLR(optimizer, config.step_epochs * per_epoch, gamma=0.1)
    else:
        main = lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)
    if not warmup:
        return main
    rise = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rise, main], milestones=[warmup])
