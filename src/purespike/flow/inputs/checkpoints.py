"""Trained networks with the test data they are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.axes import unfit, warn_of_axes
from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.datafile import digest, is_binary, read_data
from purespike.flow.inputs.fine_tuning import BATCH, CALIBRATION, calibration_of, training_of
from purespike.flow.inputs.opening import untrusted
from purespike.judge.accuracy import own_decisions
from purespike.subject import Samples, Subject
from purespike.trainer.data import digits, load_data, loader
from purespike.trainer.data.config import DataConfig, DataFile
from purespike.trainer.data.sequences import Arrays, open_sequences
from purespike.trainer.networks.own import ModuleConfig
from purespike.trainer.nn.encoders import encode
from purespike.trainer.training.checkpoint import Checkpoint, load_checkpoint

TEST = 2000  # test samples at most, spread evenly over the set


def digits_subject(checkpoint: Path, *, trusted: bool = False, data: Path | None = None) -> Subject:
    """A checkpoint with test samples of what it was trained on, encoded as there.

    Args:
        checkpoint: The folder.
        trusted: Whether the code may run that the checkpoint names by its dotted path, of a network
            or a data set of the user's own.
        data: A .npz file with samples to judge it by instead. Of the file that it was trained on,
            those that it was not trained on.

    Raises:
        CheckpointError: If the checkpoint cannot be read.
        InputError: If it is not trusted and would have to be, or its data are not at hand.
        DataError: If its data are missing or damaged.
    """
    loaded = load_checkpoint(checkpoint, trust=trusted)
    config, stated = loaded.config, loaded.data
    own = isinstance(config, ModuleConfig)
    named = config.module if isinstance(config, ModuleConfig) else f"gate {config.gate}"
    network = f"{named}, T = {loaded.steps}"
    if data is None and isinstance(stated, DataFile):
        data = _trained_on(checkpoint, stated)
    if data is not None:
        same = isinstance(stated, DataFile) and digest(data) == stated.sha256
        return _by_file(loaded, network, data, split=same)
    if isinstance(stated, DataConfig):
        if ":" in stated.name and not trusted:
            raise untrusted(checkpoint, "data", stated.name)
        opened = load_data(stated, loaded.steps)
        inputs, labels = opened.arrays("test", TEST)
        # What a data set of the user's own holds, its samples say.
        binary = opened.domain == ANALOG and is_binary(inputs)
        return Subject(
            name=network if own else f"{stated.name}, {network}",
            model=loaded.model,
            shape=opened.shape,
            spikes=inputs.astype(np.uint8) if binary else inputs,
            labels=labels,
            domain=SPIKE if binary else opened.domain,
            calibration=opened.arrays("train", CALIBRATION)[0].astype(np.float32),
            training=lambda: opened.loader(opened.train, batch_size=BATCH, shuffle=True, seed=0),
        )
    if own:
        raise InputError(
            "this checkpoint was trained on data that were given in memory",
            where=str(checkpoint),
            remedy=Advice("give samples to judge it by: {data}"),
        )
    samples = digits()
    encoder = loaded.train_config.encoder
    spikes = encode(encoder, samples.test_images, loaded.steps)
    calibration = encode(encoder, samples.train_images[:CALIBRATION], loaded.steps)
    return Subject(
        name=f"digits, {network}",
        model=loaded.model,
        shape=tuple(spikes.shape[2:]),
        spikes=spikes.numpy().astype(np.uint8),
        labels=samples.test_labels.numpy(),
        calibration=calibration.numpy(),
        training=lambda: loader(
            samples.train_images,
            samples.train_labels,
            encoder,
            loaded.steps,
            batch_size=BATCH,
            seed=0,
            shuffle=True,
        ),
    )


def checkpoint_subject(checkpoint: Path, samples: Samples, *, trusted: bool = False) -> Subject:
    """A checkpoint with samples in memory; its own data are not looked for.

    Raises:
        CheckpointError: If it cannot be read.
        InputError: If the samples do not fit, or the code of its network is not trusted.
    """
    loaded = load_checkpoint(checkpoint, trust=trusted)
    config = loaded.config
    named = config.module if isinstance(config, ModuleConfig) else f"gate {config.gate}"
    name = f"{named}, T = {loaded.steps}"
    subject = _by_arrays(loaded, name, samples.arrays(), f"the samples for {name}")
    return replace(subject, training=samples.batches or subject.training)


def _by_file(loaded: Checkpoint, name: str, path: Path, *, split: bool) -> Subject:
    """A network with the samples of a file; ``split``: it was trained on a part of them."""
    given = read_data(path)
    if split and "training_inputs" not in given:
        opened = open_sequences(given, str(path))
        for prefix, samples in (("training_", opened.train), ("", opened.test)):
            source, chosen = samples.source, list(samples.indices)
            assert isinstance(source, Arrays)  # that is what a mapping is opened as
            given[f"{prefix}inputs"] = source.inputs[:, chosen]
            given[f"{prefix}labels"] = source.labels[chosen]
    return _by_arrays(loaded, name, given, f"{path} for {name}")


def _by_arrays(
    loaded: Checkpoint, name: str, given: Mapping[str, NDArray[Any]], where: str
) -> Subject:
    x, shape = given["inputs"], loaded.shape
    if (len(x), *x.shape[2:]) != (loaded.steps, *shape):
        raise unfit(x.shape, loaded.steps, shape, where, InputError)
    warn_of_axes(x.shape, where, labelled="labels" in given, known=True)
    domain = SPIKE if is_binary(x) else ANALOG
    labels, labelled = given.get("labels"), "labels" in given
    if labels is None:
        labels = own_decisions(loaded.model, x)
    return Subject(
        name=name,
        model=loaded.model,
        shape=shape,
        spikes=x,
        labels=labels,
        domain=domain,
        calibration=calibration_of(given),
        labelled=labelled,
        training=training_of(given),
    )


def _trained_on(checkpoint: Path, stated: DataFile) -> Path:
    path = Path(stated.file)
    if not path.is_file() or digest(path) != stated.sha256:
        raise InputError(
            "the data that this checkpoint was trained on are not there any more",
            where=str(checkpoint),
            found=f"{path}: " + ("it was changed" if path.is_file() else "no such file"),
            remedy=Advice("give samples to judge it by: {data}"),
        )
    return path
