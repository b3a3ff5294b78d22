"""Handwritten digits as binary spike sequences.

The images are those of scikit-learn (Alpaydin and Kaynak, 1998): 1797 images of 8x8 pixels with
grey levels 0 to 16, ten classes, shipped inside the package, so nothing is downloaded.

Randomness is a function of (seed, epoch, position of the batch) and of nothing else: a training
that is interrupted at the end of an epoch and resumed sees the batches it would have seen.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.samples import Splits, Stored
from purespike.trainer.data.stratified import stratified_split
from purespike.trainer.nn.encoders import LEVELS, encode

__all__ = [
    "SPLIT_SEED",
    "TEST_SIZE",
    "Batch",
    "BatchOrder",
    "Digits",
    "EncodedDigits",
    "digits",
    "loader",
    "open_digits",
    "shifted",
]

TEST_SIZE = 360
SPLIT_SEED = 0


@dataclass(frozen=True)
class Digits:
    """The fixed, stratified split: grey levels uint8 (N, 1, 8, 8) and labels int64 (N,)."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@lru_cache(maxsize=1)
def digits() -> Digits:
    """Load the digits: 1437 images for training, 360 for the test (stratified, seed 0)."""
    found = find_spec("sklearn")  # its file alone: to import the package takes a second and 80 MB
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(path, "rt") as lines:
        table = np.array([line.split(",") for line in lines], dtype=np.uint8)
    images, labels = table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].astype(np.int64)
    train, test = stratified_split(labels, TEST_SIZE, SPLIT_SEED)
    parts = images[train], labels[train], images[test], labels[test]
    return Digits(*map(torch.from_numpy, parts))


def open_digits(config: DataConfig, steps: int) -> Splits:
    """The fixed split as sources."""
    data = digits()
    return Splits(
        train=Stored(data.train_images, data.train_labels),
        test=Stored(data.test_images, data.test_labels),
        names=tuple("0123456789"),
        levels=LEVELS,
    )


@dataclass(frozen=True)
class Batch:
    """Which images, and the seed of everything random that is done to them."""

    indices: Tensor
    seed: int


class BatchOrder:
    """The batches of an epoch, shuffled by (seed, epoch).

    Lightning calls ``set_epoch`` before each epoch, after a resume too.
    """

    def __init__(self, count: int, batch_size: int, seed: int, *, shuffle: bool) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration deals out."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch if self.shuffle else 0
        seeds = np.random.SeedSequence((self.seed, epoch)).generate_state(1 + len(self), np.uint32)
        order = torch.arange(self.count)
        if self.shuffle:
            generator = torch.Generator().manual_seed(int(seeds[0]))
            order = torch.randperm(self.count, generator=generator)
        for indices, seed in zip(torch.split(order, self.batch_size), seeds[1:], strict=True):
            yield Batch(indices, int(seed))


class EncodedDigits(Dataset[tuple[Tensor, Tensor]]):
    """Images that become spikes batch by batch; indexed by :class:`Batch`."""

    def __init__(
        self, images: Tensor, labels: Tensor, encoder: str, steps: int, *, shift: bool = False
    ) -> None:
        self.images = images
        self.labels = labels
        self.encoder = encoder
        self.steps = steps
        self.shift = shift

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return spikes (T, B, C, 8, 8) and labels (B,) of a batch."""
        images = self.images[batch.indices]
        if self.shift:
            images = shifted(images, batch.seed)
        spikes = encode(self.encoder, images, self.steps, seed=batch.seed)
        return spikes, self.labels[batch.indices]


def shifted(images: Tensor, seed: int) -> Tensor:
    """Move each image by -1, 0 or 1 pixel along each axis, zeros moving in.

    Args:
        images: (B, C, H, W).
        seed: of the moves.
    """
    generator = torch.Generator().manual_seed(seed)
    moves = torch.randint(0, 3, (2, len(images), 1), generator=generator)
    height, width = images.shape[-2:]
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    rows = (moves[0] + torch.arange(height))[:, :, None]
    columns = (moves[1] + torch.arange(width))[:, None, :]
    sample = torch.arange(len(images))[:, None, None]
    return padded[sample, :, rows, columns].movedim(-1, 1)


def loader(
    images: Tensor,
    labels: Tensor,
    encoder: str,
    steps: int,
    *,
    batch_size: int,
    seed: int = 0,
    shuffle: bool = False,
    shift: bool = False,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Deal images out as encoded batches: spikes (T, B, C, 8, 8) and labels (B,).

    Args:
        images: grey levels, uint8 (N, 1, 8, 8).
        labels: (N,).
        encoder: a name of :data:`purespike.trainer.nn.encoders.ENCODERS`.
        steps: T.
        batch_size: B; the last batch may be smaller.
        seed: of the order, the encoder and the shift.
        shuffle: a new order each epoch.
        shift: move each image by up to one pixel.
    """
    return DataLoader(
        EncodedDigits(images, labels, encoder, steps, shift=shift),
        sampler=BatchOrder(len(images), batch_size, seed, shuffle=shuffle),
        batch_size=None,
    )
