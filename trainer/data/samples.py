"""Samples of one split: drawn from a source, changed if they train, encoded as spikes.

Randomness is a function of (seed, epoch, index) and of nothing else: neither the batch, nor the
number of worker processes, nor an interruption between two epochs changes a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, Sampler

from purespike.trainer.nn.encoders import ENCODERS, encode

__all__ = [
    "Code",
    "Key",
    "SampleOrder",
    "Samples",
    "Source",
    "Splits",
    "Stored",
    "Transform",
    "collate",
]

Key = int | tuple[int, int]
Transform = Callable[[Tensor, Generator], Tensor]


class Source(Protocol):
    """Samples as they lie in memory or on disk."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """An image, uint8 (C, H, W), or frames of events, float32 (T, C, H, W); and its label."""
        ...


@dataclass(frozen=True, eq=False)
class Stored:
    """A source in memory: inputs (N, ...) and labels (N,)."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Sample ``index`` and its label."""
        return self.inputs[index], int(self.labels[index])


@dataclass(frozen=True, eq=False)
class Splits:
    """An opened data set, before augmentation and encoding.

    Attributes:
        train: source of the training samples.
        test: source of the test samples; may be the same.
        names: of the classes.
        levels: the highest level of a pixel.
        train_indices: which of ``train``; None for all.
        test_indices: which of ``test``; None for all.
        fit: brings every image to one size.
        random_fit: takes its place where training images are to be cut out at random.
    """

    train: Source
    test: Source
    names: tuple[str, ...]
    levels: int = 255
    train_indices: Sequence[int] | None = None
    test_indices: Sequence[int] | None = None
    fit: Transform | None = None
    random_fit: Transform | None = None


@dataclass(frozen=True)
class Code:
    """What becomes of an image.

    Attributes:
        name: bit_plane, rate, latency, direct, events or sequence.
        steps: T.
        levels: the highest level of a pixel.
    """

    name: str
    steps: int
    levels: int

    def __call__(self, images: Sequence[Tensor], seeds: Sequence[int]) -> list[Tensor]:
        """Encode images of one size, each with a seed of its own."""
        if self.name in ("events", "sequence"):
            return list(images)
        if self.name == "direct":
            # A data set of the user's own may hold fractions already.
            return [i.float() / self.levels if i.dtype == torch.uint8 else i for i in images]
        if ENCODERS[self.name].deterministic:
            spikes = encode(self.name, torch.stack(list(images)), self.steps, levels=self.levels)
            return list(spikes.unbind(1))
        return [
            encode(self.name, image[None], self.steps, seed=seed, levels=self.levels)[:, 0]
            for image, seed in zip(images, seeds, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Samples(Dataset[tuple[Tensor, int]]):
    """A map-style data set; ``samples[i]`` is ``samples[i, 0]``, and ``samples[i, e]`` epoch e's.

    Attributes:
        source: where they come from.
        code: what becomes of them.
        indices: those of the source that belong to this split.
        seed: of the changes and the ``rate`` code.
        augment: changes of each sample, new in each epoch.
        prepare: what :meth:`plain` puts in their place: what every sample needs.
    """

    source: Source
    code: Code
    indices: Sequence[int]
    seed: int = 0
    augment: tuple[Transform, ...] = ()
    prepare: tuple[Transform, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        """One sample.

        Returns:
            Spikes, float32 (T, C, H, W), or, in the direct code, the image, float32 (C, H, W),
            values 0 to 1; and the label.
        """
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[tuple[Tensor, int]]:
        """Many samples, encoded together; what torch's loader calls."""
        images, labels, seeds = [], [], []
        for key in keys:
            position, epoch = key if isinstance(key, tuple) else (key, 0)
            index = self.indices[position]
            image, label = self.source[index]
            state = np.random.SeedSequence((self.seed, epoch, index)).generate_state(2, np.uint32)
            if self.augment:
                generator = Generator().manual_seed(int(state[0]))
                for change in self.augment:
                    image = change(image, generator)
            images.append(image)
            labels.append(label)
            seeds.append(int(state[1]))
        return list(zip(self.code(images, seeds), labels, strict=True))

    def part(self, positions: Sequence[int]) -> Samples:
        """Some of these samples, such as ``range(100)``; each keeps its randomness."""
        return replace(self, indices=[self.indices[i] for i in positions])

    def plain(self) -> Samples:
        """The same samples without augmentation, for validation and calibration."""
        return replace(self, augment=self.prepare)


class SampleOrder(Sampler[tuple[int, int]]):
    """The keys of an epoch, (position, epoch), shuffled by (seed, epoch).

    Lightning calls :meth:`set_epoch` before each epoch, after a resume too.

    Args:
        count: number of samples.
        seed: of the order.
        shuffle: a new order each epoch; without it, epoch 0 in order again and again.
        rank: of this process among ``ranks`` that share the samples. Each gets equally many: the
            first ones are dealt out again where the count does not divide.
        ranks: processes that train together.
    """

    def __init__(
        self, count: int, *, seed: int = 0, shuffle: bool = False, rank: int = 0, ranks: int = 1
    ) -> None:
        self.count = count
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.ranks = ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration deals out."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.ranks)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch if self.shuffle else 0
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.count)
        dealt = np.resize(order, len(self) * self.ranks)[self.rank :: self.ranks]
        return ((int(position), epoch) for position in dealt)


def collate(
    samples: Sequence[tuple[Tensor, int]], steps: int, axes: int = 3
) -> tuple[Tensor, Tensor]:
    """Join samples to a batch.

    Args:
        samples: what :class:`Samples` gave, all of one shape.
        steps: T, for static images.
        axes: of a sample at one step; one with no more is static.

    Returns:
        Inputs, float32 (T, B, C, H, W), and labels, int64 (B,). Static images are the same storage
        at every step (stride 0 along T), so that an encoder may run once.
    """
    inputs = [sample for sample, _ in samples]
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    if inputs[0].dim() == axes:
        images = torch.stack(inputs)
        return images.expand(steps, *images.shape), labels
    return torch.stack(inputs, 1), labels
