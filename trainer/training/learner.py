"""What Lightning calls during training: the step, the optimizer, and what is measured."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from purespike.trainer.capture.interop.recognize import is_stateful
from purespike.trainer.errors import ConfigError, TrainingDiverged
from purespike.trainer.networks.attached import logits as named_logits
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.nn.auxiliary import auxiliary_modules
from purespike.trainer.nn.layers import BatchNorm2d
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import Neuron
from purespike.trainer.nn.pointwise import safe_pointwise
from purespike.trainer.nn.spiking import Kernels
from purespike.trainer.training.distributed import World, world
from purespike.trainer.training.health import Decisions, by_depth, diagnose, record, words
from purespike.trainer.training.interrupted import another_training
from purespike.trainer.training.lightning_setup import CHOICES, THREADS
from purespike.trainer.training.losses import default_fusion, total_loss
from purespike.trainer.training.recompute import blocks
from purespike.trainer.training.settings import OPTIMIZERS, TrainConfig, learning_rate

__all__ = ["OPTIMIZERS", "DeadLayerWarning", "Learner", "TrainConfig"]

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear)


class DeadLayerWarning(UserWarning):
    """Signs that a network will not learn: silent layers, vanished gradients, mere chance."""


class Learner(L.LightningModule):
    """A network together with its objective, optimizer and measurements.

    The balance coefficient is a function of the iteration, which Lightning restores on resume.

    Args:
        model: the network to train, in place; returns logits, or a dict of them by head, of which
            ``'main'`` is deployed.
        config: how.
        iterations: optimizer steps of the whole training, I.
        description: what must be the same when the training is resumed, as JSON values.
        dealt: whether batches are this process's share already.

    Attributes:
        neurons: every neuron layer by path; those of other frameworks are in ``foreign``.
        layers: every weight matrix or kernel of the deployed part by path, in order of depth.
        gradient_norms: of the first of them, an entry an iteration, before clipping.
        kernels: by which spikes are added up, if they are.
        latest: loss, accuracy and balance coefficient of the last iteration.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        iterations: int,
        description: Mapping[str, Any] | None = None,
        *,
        dealt: bool = False,
    ) -> None:
        super().__init__()
        self.model: nn.Module = model
        self.config = config
        self.iterations = iterations
        self.description = dict(description or {})
        self.fusion = config.fusion or default_fusion(config.balance.kind)
        self.world: World = world()
        self.dealt = dealt
        self.gradient_norms: list[float] = []
        self.latest: dict[str, float] = {}
        self.neurons: list[tuple[str, Neuron | ILIF]] = [
            (n, m) for n, m in model.named_modules() if isinstance(m, Neuron | ILIF)
        ]
        self.foreign: list[tuple[str, nn.Module]] = [
            (n, m) for n, m in model.named_modules() if is_stateful(m)
        ]
        training_only = auxiliary_modules(model)
        self.layers: list[tuple[str, Tensor]] = [
            (n, m.weight)
            for n, m in model.named_modules()
            if n not in training_only and isinstance(m, _LAYERS) and m.weight.requires_grad
        ]
        if not self.layers:
            raise ConfigError(
                "the network has nothing to train",
                found="no convolution or linear layer with a weight that requires a gradient",
                allowed="at least one",
                where=type(model).__name__,
            )
        self.kernels: Kernels | None = None
        self._rates: dict[str, list[Tensor]] = {}
        self._gradients: dict[str, list[Tensor]] = {}
        self._hits = [0, 0]  # right ones, and all, of the validation
        self._decisions = Decisions()
        self._warned = False
        self._hooks: list[RemovableHandle] = []

    def on_fit_start(self) -> None:
        """Listen to what the blocks put out, behind their gates; join the processes' statistics."""
        self._join_statistics(self.world.size > 1 and self.config.sync_batchnorm)
        for name, block in blocks(self.model):
            if getattr(block, "currents", False):
                continue
            self._hooks.append(block.register_forward_hook(self._note_rate(name)))
        for name, neuron in self.foreign:
            self._hooks.append(neuron.register_forward_hook(self._note_rate(name)))

    def on_fit_end(self) -> None:
        """Leave the network without hooks, so that it can be traced."""
        self._join_statistics(False)
        while self._hooks:
            self._hooks.pop().remove()

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compute the objective of one batch: input (T, B, ...) and labels (B,).

        With several processes, of this one's share, weighted so that the mean over the processes
        is the mean over the batch.
        """
        everything = len(batch[1])
        spikes, labels = self._share(batch)
        balance = self.config.balance.at(self.global_step, self.iterations)
        logits = self.heads(spikes)
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
                remedy=f"lower learning_rate (now {self.config.learning_rate:g}), or set "
                "gradient_clip or warmup",
            )
        for name, layer in self.neurons:
            if layer.firing_rate is not None:
                self._rates.setdefault(name, []).append(layer.firing_rate)
        right = logits["main"].detach().argmax(1) == labels
        self._decisions.note(right, logits["main"].shape[1])
        hits = right.float().mean()
        self.log_dict(
            {"loss": loss.detach(), "accuracy": hits},
            on_step=False,
            on_epoch=True,
            batch_size=len(labels),
            sync_dist=self.world.size > 1,
        )
        self.latest = {"loss": float(loss.detach()), "accuracy": float(hits), "balance": balance}
        if len(labels) == everything:
            return loss
        return loss * (len(labels) * self.world.size / everything)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count what the main head gets right of the held-out images; each process counts all."""
        spikes, labels = batch
        self._hits[0] += int((self.heads(spikes)["main"].argmax(1) == labels).sum())
        self._hits[1] += len(labels)

    def heads(self, x: Tensor) -> dict[str, Tensor]:
        """Logits (B, K) by head of an input (T, B, ...)."""
        own = not isinstance(self.model, DualStreamNetwork)
        with safe_pointwise() if own else nullcontext():  # it may have torch's own convolutions
            return named_logits(self.model(x))

    @property
    def firing_rate(self) -> float:
        """Spikes a neuron and step in the last forward pass, as the mean over all layers."""
        rates = [
            float(layer.firing_rate) for _, layer in self.neurons if layer.firing_rate is not None
        ]
        rates += [float(self._rates[name][-1]) for name, _ in self.foreign if name in self._rates]
        return sum(rates) / max(len(rates), 1)

    def on_validation_epoch_end(self) -> None:
        """Log the validation accuracy."""
        right, everything = self._hits
        self._hits = [0, 0]
        self.log("val_accuracy", right / everything)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Note the gradient norm of every layer, before it is clipped."""
        for name, weight in self.layers:
            if weight.grad is not None:
                self._gradients.setdefault(name, []).append(weight.grad.norm())
        first = self._gradients.get(self.layers[0][0])
        if first:
            self.gradient_norms.append(float(first[-1]))

    def on_train_epoch_end(self) -> None:
        """Log firing rates and gradient norms by layer, and warn of what stops learning."""
        rates = {name: float(torch.stack(r).mean()) for name, r in self._rates.items()}
        norms = {name: float(torch.stack(g).mean()) for name, g in self._gradients.items()}
        self._rates.clear()
        self._gradients.clear()
        several = self.world.size > 1
        self.log_dict({f"rate/{name}": rate for name, rate in rates.items()}, sync_dist=several)
        self.log_dict({f"gradient/{name}": norm for name, norm in norms.items()})
        if self.layers[0][0] in norms:
            self.log("first_layer_gradient_norm", norms[self.layers[0][0]])
        self._warn(rates, norms)

    def _warn(self, rates: dict[str, float], norms: dict[str, float]) -> None:
        """Once: of silent layers, of gradients gone in the first epoch, of mere chance."""
        first = by_depth(self.model, norms) if self.current_epoch == 0 else None
        chance = self._decisions.judge(self.global_step)
        findings = () if self._warned else diagnose(by_depth(self.model, rates), first) or chance
        self._warned = self._warned or bool(findings)
        if findings and self.world.rank == 0:
            text = words(findings, self.model)
            record(findings, text, self.current_epoch, self.loggers)
            # The level is ours, not a line of Lightning.
            warnings.warn(text, DeadLayerWarning, stacklevel=1)

    def configure_optimizers(self) -> Any:
        """Weight decay on matrices and kernels only; one learning rate for all."""
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
        schedule = learning_rate(optimizer, self.config, self.iterations)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what describes the run, torch's random state, its threads, and what adds spikes."""
        checkpoint["purespike"] = self.description
        checkpoint[THREADS] = torch.get_num_threads()
        checkpoint["rng_state"] = torch.get_rng_state()
        if self.kernels is not None:
            choices = self.kernels.choices.items()
            checkpoint[CHOICES] = {n: [c.forward, c.gradient, c.rate] for n, c in choices}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the random state; refuse the resume file of another run.

        Raises:
            CheckpointError: if model or training configuration differ.
        """
        found = checkpoint.get("purespike")
        if found != self.description:
            raise another_training(found, self.description)
        torch.set_rng_state(checkpoint["rng_state"])

    def _join_statistics(self, joined: bool) -> None:
        for module in self.model.modules():
            if isinstance(module, BatchNorm2d):
                module.over_processes = joined

    def _share(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        if self.dealt or self.world.size == 1:
            return batch
        own = self.world.share(len(batch[1]))
        return batch[0][:, own], batch[1][own]

    def _note_rate(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            spikes = output[0] if isinstance(output, tuple) else output
            if module.training:
                self._rates.setdefault(name, []).append(spikes.detach().mean())

        return hook
