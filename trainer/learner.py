"""What Lightning calls during training: the step, the optimizer, and what is measured."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from purespike.trainer.auxiliary import BalanceSchedule
from purespike.trainer.configuration import to_dict
from purespike.trainer.encoders import ENCODERS
from purespike.trainer.errors import CheckpointError, ConfigError, TrainingDiverged
from purespike.trainer.losses import FUSIONS, default_fusion, total_loss
from purespike.trainer.models import SpikingResNet
from purespike.trainer.neuron import Neuron

__all__ = ["DEAD_RATE", "OPTIMIZERS", "DeadLayerWarning", "Learner", "TrainConfig"]

OPTIMIZERS = ("sgd", "adamw")
DEAD_RATE = 1e-3


class DeadLayerWarning(UserWarning):
    """A layer hardly fires any more and lets neither spikes nor gradients through."""


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images in one step.
        optimizer: sgd (momentum 0.9, Nesterov off) or adamw.
        learning_rate: at the start; a cosine takes it to 0.
        weight_decay: on convolutions and linear weights, not on biases and batch normalizations.
        label_smoothing: share of each label spread evenly over all classes.
        seed: of the weights, the order of the images, the encoder and the shifts.
        encoder: bit_plane, rate or latency.
        shift: move training images by up to one pixel.
        validation: training images held out to choose ``best.ckpt``; 0 for none.
        deploy: which weights are kept: last, or best by validation accuracy.
        balance: the balance coefficient of the shortcut branches over the training.
        fusion: of the shortcut branches, logit or loss; None takes the one that goes with the
            schedule (:func:`purespike.trainer.losses.default_fusion`).
    """

    epochs: int = 30
    batch_size: int = 32
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 1e-3
    label_smoothing: float = 0.1
    seed: int = 0
    encoder: str = "bit_plane"
    shift: bool = True
    validation: int = 0
    deploy: str = "last"
    balance: BalanceSchedule = field(default_factory=BalanceSchedule)
    fusion: str | None = None

    def __post_init__(self) -> None:
        for name, choices in (
            ("optimizer", OPTIMIZERS),
            ("encoder", tuple(ENCODERS)),
            ("deploy", ("last", "best")),
            ("fusion", (None, *FUSIONS)),
        ):
            if getattr(self, name) not in choices:
                self._refuse(name, ", ".join(str(choice) for choice in choices))
        for name, least in (("epochs", 1), ("batch_size", 1), ("seed", 0), ("validation", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                self._refuse(name, f"a whole number of at least {least}")
        if not 0.0 < self.learning_rate < math.inf:
            self._refuse("learning_rate", "> 0")
        if not 0.0 <= self.weight_decay < math.inf:
            self._refuse("weight_decay", ">= 0")
        if not 0.0 <= self.label_smoothing < 1.0:
            self._refuse("label_smoothing", "0 <= label_smoothing < 1")
        if self.deploy == "best" and self.validation == 0:
            self._refuse("deploy", "last, as validation is 0")

    def _refuse(self, name: str, allowed: str) -> None:
        raise ConfigError(
            f"{name} of a training is not allowed",
            found=repr(getattr(self, name)),
            allowed=allowed,
            where=f"TrainConfig({name}=...)",
            remedy="correct the value",
        )


class Learner(L.LightningModule):
    """A network together with its objective, optimizer and measurements.

    The balance coefficient is a function of the iteration, which Lightning restores on resume.

    Args:
        model: the network to train, in place.
        config: how.
        iterations: optimizer steps of the whole training, I.
    """

    def __init__(self, model: SpikingResNet, config: TrainConfig, iterations: int) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.iterations = iterations
        self.fusion = config.fusion or default_fusion(config.balance.kind)
        self.gradient_norms: list[float] = []
        self.latest: dict[str, float] = {}
        self.neurons: list[tuple[str, Neuron]] = [
            (n, m) for n, m in model.named_modules() if isinstance(m, Neuron)
        ]
        self._rates: dict[str, list[Tensor]] = {}
        self._warned: set[str] = set()
        self._hooks: list[RemovableHandle] = []

    def on_fit_start(self) -> None:
        """Listen to what the blocks put out, behind their gates."""
        for name, block in self.model.blocks.named_children():
            hook = self._note_block_rate(f"blocks.{name}")
            self._hooks.append(block.register_forward_hook(hook))

    def on_fit_end(self) -> None:
        """Leave the network without hooks, so that it can be traced."""
        while self._hooks:
            self._hooks.pop().remove()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the objective of one batch: spikes (T, B, C, H, W) and labels (B,)."""
        spikes, labels = batch
        balance = self.config.balance.at(self.global_step, self.iterations)
        logits: dict[str, Tensor] = self.model(spikes)
        loss = total_loss(
            logits,
            labels,
            balance=balance,
            fusion=self.fusion,
            label_smoothing=self.config.label_smoothing,
        )
        if not math.isfinite(float(loss.detach())):
            raise TrainingDiverged(
                "the training diverged",
                found=f"loss {float(loss.detach())} at iteration {self.global_step}",
                allowed="a finite loss",
                where=f"epoch {self.current_epoch}",
                remedy=f"lower learning_rate (now {self.config.learning_rate:g})",
            )
        for name, layer in self.neurons:
            if layer.firing_rate is not None:
                self._rates.setdefault(name, []).append(layer.firing_rate)
        hits = (logits["main"].detach().argmax(1) == labels).float().mean()
        self.log_dict(
            {"loss": loss.detach(), "accuracy": hits},
            on_step=False,
            on_epoch=True,
            batch_size=len(labels),
        )
        self.latest = {"loss": float(loss.detach()), "accuracy": float(hits), "balance": balance}
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure the main head on held-out images."""
        spikes, labels = batch
        hits = (self.model(spikes)["main"].argmax(1) == labels).float().mean()
        self.log("val_accuracy", hits, batch_size=len(labels))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the gradient norm of the first layer, where vanishing and exploding show."""
        gradient = self.model.stem[0].weight.grad
        if isinstance(gradient, Tensor):
            self.gradient_norms.append(float(gradient.norm()))

    def on_train_epoch_end(self) -> None:
        """Log the firing rate of each layer and block, and warn of dead ones."""
        rates = {name: float(torch.stack(r).mean()) for name, r in self._rates.items()}
        self._rates.clear()
        self.log_dict({f"rate/{name}": rate for name, rate in rates.items()})
        steps = len(self.gradient_norms) if self.current_epoch == 0 else self._steps_per_epoch()
        recent = self.gradient_norms[-steps:]
        self.log("first_layer_gradient_norm", sum(recent) / max(len(recent), 1))
        for name, rate in rates.items():
            if rate < DEAD_RATE and name not in self._warned:
                self._warned.add(name)
                warnings.warn(
                    f"{name} fires at a rate of {rate:.1e} spikes a neuron and step (less than "
                    f"{DEAD_RATE:g}): it is close to silent. Lower the threshold, use another gate "
                    "(and, iand let spikes die out over many blocks), or set "
                    "zero_init_residual=False.",
                    DeadLayerWarning,
                    stacklevel=1,  # ours, not a line of Lightning
                )

    def configure_optimizers(self) -> Any:
        """Weight decay on matrices and kernels only; cosine to 0 over all iterations."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.dim() > 1]},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        rate, decay = self.config.learning_rate, self.config.weight_decay
        optimizer: torch.optim.Optimizer
        if self.config.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, rate, momentum=0.9, weight_decay=decay)
        else:
            optimizer = torch.optim.AdamW(groups, rate, weight_decay=decay)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.iterations)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": cosine, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to Lightning's resume file what describes the run, and torch's random state."""
        checkpoint["purespike"] = self._description()
        checkpoint["rng_state"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the random state; refuse the resume file of another run.

        Raises:
            CheckpointError: if model or training configuration differ.
        """
        found = checkpoint.get("purespike")
        if found != self._description():
            raise CheckpointError(
                "this resume file belongs to another training",
                found=str(found),
                allowed=str(self._description()),
                where="resume_from",
                remedy="resume with the configuration that the training was started with",
            )
        torch.set_rng_state(checkpoint["rng_state"])

    def _description(self) -> dict[str, Any]:
        return {"model": to_dict(self.model.config), "train": to_dict(self.config)}

    def _steps_per_epoch(self) -> int:
        return max(self.iterations // self.config.epochs, 1)

    def _note_block_rate(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: tuple[Tensor, Tensor | None]) -> None:
            if module.training:
                self._rates.setdefault(name, []).append(output[0].detach().mean())

        return hook
