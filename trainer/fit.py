"""Training from start to a deployable checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from purespike.compiler.statistics import wilson_interval
from purespike.trainer.checkpoint import save_checkpoint
from purespike.trainer.configuration import ModelConfig
from purespike.trainer.data import digits, loader
from purespike.trainer.encoders import encoder
from purespike.trainer.errors import ConfigError
from purespike.trainer.learner import Learner, TrainConfig
from purespike.trainer.manners import clean_interrupt, quiet, resume_file
from purespike.trainer.models import SpikingResNet, build, main_only
from purespike.trainer.progress import TrainingProgress

__all__ = ["TrainResult", "evaluate", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    Attributes:
        model: the trained network with its auxiliary paths, in evaluation mode.
        checkpoint: folder of the deployable checkpoint.
        correct: test images that the main head alone classifies rightly.
        n: test images.
        interval: Wilson 95 % interval of the accuracy, as fractions.
        heads: test accuracy of each head, as fractions; 'main' is the one that is deployed.
        gradient_norm: mean norm of the first layer's gradient over the first epoch that this call
            trained; 0 if there was none left to train.
        seconds: wall time of the training itself.
    """

    model: SpikingResNet
    checkpoint: Path
    correct: int
    n: int
    interval: tuple[float, float]
    heads: dict[str, float]
    gradient_norm: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """Test accuracy of the main head alone, as a fraction."""
        return self.correct / self.n


def train(
    model_config: ModelConfig,
    config: TrainConfig,
    folder: Path,
    *,
    resume_from: Path | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train on the digits and write a deployable checkpoint.

    The folder receives ``model/`` (the deployable checkpoint), ``last.ckpt`` after each epoch (to
    resume from), ``best.ckpt`` if images are held out for validation, and ``log/version_<k>/
    metrics.csv``. The test images are looked at once, at the end, by the network without its
    auxiliary paths.

    Args:
        model_config: the network.
        config: how to train it.
        folder: where to write; made if missing.
        resume_from: a ``last.ckpt`` of the same configuration, or the folder that holds it.
        progress: show a progress bar.

    Raises:
        ConfigError: if the network does not fit the encoded digits, or too few are left to train.
        CheckpointError: if the resume file is missing or of another configuration.
        TrainingDiverged: if the loss is not finite any more.
        TrainingInterrupted: on Ctrl-C, after the last whole epoch has been kept.
    """
    training, validation = _loaders(model_config, config)
    folder.mkdir(parents=True, exist_ok=True)
    model = build(model_config, config.seed)
    learner = Learner(model, config, iterations=config.epochs * len(training))
    start = time.perf_counter()
    with quiet(), clean_interrupt(folder):
        best = _checkpoints(folder, "val_accuracy") if validation else None
        callbacks: list[L.Callback] = [_checkpoints(folder, None)]
        callbacks += [best] if best else []
        callbacks += [TrainingProgress()] if progress else []
        runner = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=config.epochs,
            callbacks=callbacks,
            logger=CSVLogger(folder, name="log"),
            log_every_n_steps=len(training),
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        file = resume_file(resume_from)
        runner.fit(learner, training, validation, ckpt_path=file, weights_only=True)
    seconds = time.perf_counter() - start
    if config.deploy == "best" and best is not None:
        state = torch.load(best.best_model_path, weights_only=True)["state_dict"]
        learner.load_state_dict(state)
    return _report(learner, folder, seconds, steps_per_epoch=len(training))


def _report(learner: Learner, folder: Path, seconds: float, steps_per_epoch: int) -> TrainResult:
    """Test the trained network, alone and with its auxiliary heads, and write the checkpoint."""
    model, config = learner.model.eval(), learner.config
    test = (digits().test_images, digits().test_labels)
    n = len(test[1])
    correct = evaluate(main_only(model), *test, config.encoder)["main"]
    heads = {k: v / n for k, v in evaluate(model, *test, config.encoder).items()}
    interval = wilson_interval(correct, n)
    metrics = {"correct": correct, "n": n, "accuracy": correct / n, "interval": list(interval)}
    first = learner.gradient_norms[:steps_per_epoch]
    return TrainResult(
        model=model,
        checkpoint=save_checkpoint(folder / "model", model, config, metrics),
        correct=correct,
        n=n,
        interval=interval,
        heads=heads,
        gradient_norm=sum(first) / max(len(first), 1),
        seconds=seconds,
    )


def evaluate(
    model: SpikingResNet, images: Tensor, labels: Tensor, encoder_name: str, *, seed: int = 0
) -> dict[str, int]:
    """Count the images that each head classifies rightly, in evaluation mode.

    Args:
        model: the network; its mode is restored afterwards.
        images: grey levels, uint8 (N, 1, 8, 8).
        labels: (N,).
        encoder_name: how to make spikes of them.
        seed: of the ``rate`` code.
    """
    batches = loader(images, labels, encoder_name, model.config.steps, batch_size=256, seed=seed)
    correct: dict[str, int] = {}
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for spikes, expected in batches:
            for head, logits in model(spikes).items():
                hits = int((logits.argmax(1) == expected).sum())
                correct[head] = correct.get(head, 0) + hits
    model.train(was_training)
    return correct


def _checkpoints(folder: Path, monitor: str | None) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder,
        filename="last" if monitor is None else "best",
        monitor=monitor,
        mode="max",
        save_top_k=1,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def _loaders(
    model_config: ModelConfig, config: TrainConfig
) -> tuple[DataLoader[tuple[Tensor, Tensor]], DataLoader[tuple[Tensor, Tensor]] | None]:
    """The training batches and those held out for validation, after checking that they fit."""
    data = digits()
    takes = (model_config.in_channels, *model_config.size, model_config.classes)
    gives = (
        encoder(config.encoder).channels,
        *data.train_images.shape[-2:],
        int(data.train_labels.max()) + 1,
    )
    if takes != gives:
        names = ("in_channels", "height", "width", "classes")
        raise ConfigError(
            f"the network does not fit the digits in the {config.encoder} code",
            found=", ".join(f"{n}={v}" for n, v in zip(names, takes, strict=True)),
            allowed=", ".join(f"{n}={v}" for n, v in zip(names, gives, strict=True)),
            where="ModelConfig",
            remedy="change the network or the encoder",
        )
    held_out = config.validation
    images, labels = data.train_images[held_out:], data.train_labels[held_out:]
    if len(images) < config.batch_size:
        raise ConfigError(
            "too few images are left for training",
            found=f"{len(images)} images, batch_size={config.batch_size}",
            allowed=f"validation <= {len(data.train_images) - config.batch_size}",
            where="TrainConfig(validation=..., batch_size=...)",
            remedy="hold out fewer images or use a smaller batch",
        )
    training = loader(
        images,
        labels,
        config.encoder,
        model_config.steps,
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=True,
        shift=config.shift,
    )
    if held_out == 0:
        return training, None
    images, labels = data.train_images[:held_out], data.train_labels[:held_out]
    validation = loader(images, labels, config.encoder, model_config.steps, batch_size=256)
    return training, validation
