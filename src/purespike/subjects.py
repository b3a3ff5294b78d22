"""Trained networks with the test data they are judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from purespike.build import Subject
from purespike.trainer.checkpoint import load_checkpoint
from purespike.trainer.data import digits
from purespike.trainer.encoders import encode

CALIBRATION = 128  # training images


def digits_subject(checkpoint: Path) -> Subject:
    """A checkpoint with the 360 test digits, encoded as it was trained.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
    """
    loaded = load_checkpoint(checkpoint)
    config = loaded.model.config
    data = digits()
    encoder = loaded.train_config.encoder
    spikes = encode(encoder, data.test_images, config.steps)
    calibration = encode(encoder, data.train_images[:CALIBRATION], config.steps)
    return Subject(
        name=f"digits, gate {config.gate}, T = {config.steps}",
        model=loaded.model,
        shape=tuple(spikes.shape[2:]),
        spikes=spikes.numpy().astype(np.uint8),
        labels=data.test_labels.numpy(),
        calibration=calibration.numpy(),
    )
