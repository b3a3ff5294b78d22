"""From a description of data to training and test samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.trainer.data.augment import augmentation, temporal_delete
from purespike.trainer.data.cifar import open_cifar10, open_cifar100
from purespike.trainer.data.config import SEQUENCE, DataConfig
from purespike.trainer.data.custom import made_by, open_custom
from purespike.trainer.data.dataset import DataSet
from purespike.trainer.data.digits import open_digits
from purespike.trainer.data.event_digits import open_event_digits
from purespike.trainer.data.imagenet import open_imagenet
from purespike.trainer.data.mnist import open_mnist_5k, open_mnist_5k_events
from purespike.trainer.data.samples import Code, Samples, Source, Splits
from purespike.trainer.data.sequences import open_sequences
from purespike.trainer.errors import ConfigError, DataError

__all__ = ["PIXELS", "DataSet", "load_data"]

PIXELS = Domain(0, 1, 0)  # the direct code: the levels as fractions


def _open_recordings(config: DataConfig, steps: int) -> Splits:
    """Import tonic, an optional package, only where a configuration names its data."""
    try:
        from purespike.trainer.data.dvs import open_cifar10_dvs, open_dvs_gesture
    except ImportError as e:
        raise DataError(
            "recordings of event cameras need tonic",
            found=str(e),
            where=f"DataConfig(name={config.name!r})",
            remedy="pip install 'purespike[events]'",
        ) from e
    opener = open_dvs_gesture if config.name == "dvs_gesture" else open_cifar10_dvs
    return opener(config, steps)


OPENERS: dict[str, Callable[[DataConfig, int], Splits]] = {
    "digits": open_digits,
    "event_digits": open_event_digits,
    "mnist-5k": open_mnist_5k,
    "mnist-5k-events": open_mnist_5k_events,
    "cifar10": open_cifar10,
    "cifar100": open_cifar100,
    "imagenet": open_imagenet,
    "dvs_gesture": _open_recordings,
    "cifar10_dvs": _open_recordings,
}


def load_data(config: DataConfig, steps: int | None, seed: int = 0) -> DataSet:
    """Open the data that a configuration describes.

    Args:
        config: which data, in which code.
        steps: T; None only for the code ``sequence``, whose samples say it.
        seed: of augmentations and of the ``rate`` code. Which samples train is fixed, whatever the
            seed.

    Raises:
        ConfigError: if the steps do not suit the configuration, or the seed is negative.
        DataError: if the data are missing, damaged or not of the form that they should have.
    """
    if config.code == SEQUENCE:
        return _sequences(config, steps)
    for name, value, least in (("steps", steps, 1), ("seed", seed, 0)):
        if type(value) is not int or value < least:
            raise ConfigError(
                f"{name} of a data set is not allowed",
                found=repr(value),
                allowed=f"a whole number of at least {least}",
                where=f"load_data({name}=...)",
                remedy="correct the value",
            )
    assert steps is not None  # it was looked at above
    _check_kept(config, steps)
    found = OPENERS.get(config.name, open_custom)(config, steps)
    prepare = (found.fit,) if found.fit else ()
    first, names = prepare, config.augment
    if found.random_fit and "crop" in names:
        first, names = (found.random_fit,), tuple(n for n in names if n != "crop")
    samples = partial(Samples, code=Code(config.code, steps, found.levels), prepare=prepare)
    train = samples(
        source=found.train,
        indices=_all(found.train, found.train_indices),
        seed=seed,
        augment=(*first, *(augmentation(text) for text in names)),
    )
    test = samples(
        source=found.test,
        indices=_all(found.test, found.test_indices),
        seed=seed,
        augment=prepare,
    )
    sample = test[0][0]
    channels, height, width = sample.shape[-3:]
    return DataSet(
        config=config,
        steps=steps,
        train=train,
        test=test,
        shape=(channels, height, width),
        classes=len(found.names),
        names=found.names,
        domain=PIXELS if config.code == "direct" else SPIKE,
    )


def _sequences(config: DataConfig, steps: int | None) -> DataSet:
    data = replace(open_sequences(made_by(config.name), config.name), config=config)
    if steps not in (None, data.steps):
        raise ConfigError(
            "the samples last another number of time steps",
            found=f"T = {data.steps}",
            allowed=f"T = {steps}, as the network has it",
            where=config.name,
            remedy="give the network the number of steps of the data",
        )
    return data


def _all(source: Source, indices: Sequence[int] | None) -> Sequence[int]:
    return range(len(source)) if indices is None else indices


def _check_kept(config: DataConfig, steps: int) -> None:
    for text in config.augment:
        change = augmentation(text)
        if change.function is temporal_delete and change.number > steps:
            raise ConfigError(
                "there are not enough frames to keep",
                found=f"{text}, keeping {change.number} of T = {steps}",
                allowed=f"temporal_delete:1 to temporal_delete:{steps}",
                where="DataConfig(augment=...)",
                remedy="keep fewer frames or use more time steps",
            )
