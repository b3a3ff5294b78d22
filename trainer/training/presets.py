"""Ready-made configurations."""

from __future__ import annotations

from dataclasses import dataclass

from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.nn.encoders import ENCODERS
from purespike.trainer.training.settings import TrainConfig

__all__ = ["DEMO", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A network and how to train it."""

    model: ModelConfig
    train: TrainConfig


# Three blocks joined by OR, one of them halving the image, small enough to be simulated on Lava's
# CPU backend in reasonable time; integrate-and-fire with hard reset throughout.
DEMO = Preset(
    model=ModelConfig(
        in_channels=ENCODERS["bit_plane"].channels,
        classes=10,
        steps=4,
        size=(8, 8),
        stem=16,
        widths=(16, 32, 32),
        strides=(1, 2, 1),
        gate="or",
        aap=True,
        shortcut=True,
    ),
    train=TrainConfig(
        epochs=30,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=1e-3,
        label_smoothing=0.1,
        encoder="bit_plane",
        shift=True,
    ),
)
