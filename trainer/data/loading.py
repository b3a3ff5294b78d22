"""From a description of data to training and test samples, and to arrays for the compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.trainer.data.augment import augmentation, temporal_delete
from purespike.trainer.data.cifar import open_cifar10, open_cifar100
from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.custom import open_custom
from purespike.trainer.data.digits import open_digits
from purespike.trainer.data.event_digits import open_event_digits
from purespike.trainer.data.imagenet import open_imagenet
from purespike.trainer.data.samples import Code, SampleOrder, Samples, Source, Splits, collate
from purespike.trainer.errors import ConfigError, DataError

__all__ = ["PIXELS", "DataSet", "load_data"]

PIXELS = Domain(0, 1, 0)  # the direct code: the levels as fractions
MOST_BYTES = 4 << 30  # of the arrays for the compiler


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
    "cifar10": open_cifar10,
    "cifar100": open_cifar100,
    "imagenet": open_imagenet,
    "dvs_gesture": _open_recordings,
    "cifar10_dvs": _open_recordings,
}


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training and test samples of one description.

    Attributes:
        config: the description.
        steps: T.
        train: training samples, augmented; ``train.plain()`` are not.
        test: test samples.
        shape: (C, H, W) of an encoded sample at one step.
        classes: how many.
        names: of the classes.
        domain: SPIKE, or analog[0, 1] in the direct code: a network whose first layer multiplies,
            which needs a declared host boundary.
    """

    config: DataConfig
    steps: int
    train: Samples
    test: Samples
    shape: tuple[int, int, int]
    classes: int
    names: tuple[str, ...]
    domain: Domain

    def loader(
        self,
        samples: Samples,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        workers: int = 0,
        rank: int = 0,
        ranks: int = 1,
        drop_last: bool = False,
    ) -> DataLoader[tuple[Tensor, Tensor]]:
        """Deal samples out in batches: float32 (T, B, C, H, W) and labels int64 (B,).

        Args:
            samples: ``train``, ``test`` or a part of one.
            batch_size: B; the last batch may be smaller.
            shuffle: a new order each epoch.
            seed: of the order.
            workers: processes that prepare batches; they do not change the batches.
            rank: of this process among ``ranks``.
            ranks: processes that train together.
            drop_last: leave a smaller last batch out.
        """
        order = SampleOrder(len(samples), seed=seed, shuffle=shuffle, rank=rank, ranks=ranks)
        # Typed by what collate makes of the samples.
        dealt: DataLoader[Any] = DataLoader(
            samples,
            batch_size=batch_size,
            sampler=order,
            num_workers=workers,
            collate_fn=partial(collate, steps=self.steps),
            drop_last=drop_last,
            persistent_workers=workers > 0,
        )
        return dealt

    def arrays(
        self, split: str = "test", limit: int | None = None
    ) -> tuple[NDArray[np.uint8] | NDArray[np.float32], NDArray[np.int64]]:
        """Give samples, without augmentation, as the compiler takes them.

        Args:
            split: train or test.
            limit: at most so many, spread evenly over the split (folders come sorted by class).

        Returns:
            (T, B, C, H, W), uint8 if the domain is SPIKE, else float32; and labels (B,).

        Raises:
            ConfigError: if there is no such split or the limit is not positive.
            DataError: if they would fill more than 4 GiB.
        """
        if split not in ("train", "test") or (limit is not None and limit < 1):
            raise ConfigError(
                "these samples cannot be given",
                found=f"split={split!r}, limit={limit}",
                allowed="train or test, a limit of at least 1",
                where="DataSet.arrays",
                remedy="correct the value",
            )
        samples = self.train.plain() if split == "train" else self.test
        count = min(limit or len(samples), len(samples))
        samples = samples.part([i * len(samples) // count for i in range(count)])
        kind = np.uint8 if self.domain == SPIKE else np.float32
        shape = (self.steps, count, *self.shape)
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if size > MOST_BYTES:
            raise DataError(
                "the samples do not fit into memory",
                found=f"{count} samples, {size / 2**30:.1f} GiB",
                allowed=f"{MOST_BYTES >> 30} GiB",
                where=f"DataSet.arrays({split!r})",
                remedy="give a limit",
            )
        inputs, labels = np.empty(shape, kind), np.empty(count, np.int64)
        start = 0
        for batch, truth in self.loader(samples, batch_size=64):
            stop = start + len(truth)
            inputs[:, start:stop] = batch.numpy()
            labels[start:stop] = truth.numpy()
            start = stop
        return inputs, labels


def load_data(config: DataConfig, steps: int, seed: int = 0) -> DataSet:
    """Open the data that a configuration describes.

    Args:
        config: which data, in which code.
        steps: T.
        seed: of augmentations and of the ``rate`` code. Which samples train is fixed, whatever the
            seed.

    Raises:
        ConfigError: if the steps do not suit the configuration, or the seed is negative.
        DataError: if the data are missing, damaged or not of the form that they should have.
    """
    for name, value, least in (("steps", steps, 1), ("seed", seed, 0)):
        if type(value) is not int or value < least:
            raise ConfigError(
                f"{name} of a data set is not allowed",
                found=repr(value),
                allowed=f"a whole number of at least {least}",
                where=f"load_data({name}=...)",
                remedy="correct the value",
            )
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
