"""Training and test samples of one description: in batches, and as arrays for the compiler."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.samples import SampleOrder, Samples, collate
from purespike.trainer.errors import ConfigError, DataError

__all__ = ["DataSet"]

MOST_BYTES = 4 << 30  # of the arrays for the compiler


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training and test samples of one description.

    Attributes:
        config: the description; None of samples that were given in memory.
        steps: T.
        train: training samples, augmented; ``train.plain()`` are not.
        test: test samples.
        shape: of an encoded sample at one step: (C, H, W), or any of sequences of the user's own.
        classes: how many; 0 where sequences leave it to the network.
        names: of the classes.
        domain: SPIKE, or analog[0, 1] in the direct code: a network whose first layer multiplies,
            which needs a declared host boundary.
    """

    config: DataConfig | None
    steps: int
    train: Samples
    test: Samples
    shape: tuple[int, ...]
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
            collate_fn=partial(collate, steps=self.steps, axes=len(self.shape)),
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
