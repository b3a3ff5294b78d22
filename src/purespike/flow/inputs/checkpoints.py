"""Trained networks with the test data they are judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from purespike.flow.build import Subject
from purespike.flow.inputs.opening import untrusted
from purespike.trainer.data import digits, load_data, loader
from purespike.trainer.nn.encoders import encode
from purespike.trainer.training.checkpoint import load_checkpoint

CALIBRATION = 128  # training samples
BATCH = 32  # training samples at a time, for fine-tuning
TEST = 2000  # test samples at most, spread evenly over the set


def digits_subject(checkpoint: Path, *, trusted: bool = False) -> Subject:
    """A checkpoint with test samples of what it was trained on, encoded as there.

    Args:
        checkpoint: The folder.
        trusted: Whether a data set of the user's own, which the checkpoint names by its dotted
            path, may be imported: that runs its code.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        InputError: If it is not trusted and would have to be.
        DataError: If its data are missing or damaged.
    """
    loaded = load_checkpoint(checkpoint)
    config = loaded.model.config
    if loaded.data is not None:
        if ":" in loaded.data.name and not trusted:
            raise untrusted(checkpoint, loaded.data.name)
        opened = load_data(loaded.data, config.steps)
        inputs, labels = opened.arrays("test", TEST)
        return Subject(
            name=f"{loaded.data.name}, gate {config.gate}, T = {config.steps}",
            model=loaded.model,
            shape=opened.shape,
            spikes=inputs,
            labels=labels,
            domain=opened.domain,
            calibration=opened.arrays("train", CALIBRATION)[0].astype(np.float32),
            training=lambda: opened.loader(opened.train, batch_size=BATCH, shuffle=True, seed=0),
        )
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
        training=lambda: loader(
            data.train_images,
            data.train_labels,
            encoder,
            config.steps,
            batch_size=BATCH,
            seed=0,
            shuffle=True,
        ),
    )
