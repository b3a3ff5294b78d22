"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their binary version.

A record is one byte for the label (CIFAR-100: the coarse label, then the fine one, which is the
class) and 3072 bytes of the image: 1024 red, 1024 green, 1024 blue, row by row. The authors' Python
version is a pickle, and a pickle can run any code when it is opened: it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.files import need_folder, read_bytes
from purespike.trainer.data.samples import Splits, Stored
from purespike.trainer.errors import DataError

__all__ = ["open_cifar10", "open_cifar100"]

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
MOST_RECORDS = 60_000  # of one file; CIFAR has up to 50,000


@dataclass(frozen=True)
class Layout:
    """Where the files lie and what a record holds."""

    name: str
    folder: str
    python_folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int
    names: str

    @property
    def remedy(self) -> str:
        """How to get the data."""
        return (
            f"unpack the binary version ({self.name}-binary.tar.gz) of "
            "https://www.cs.toronto.edu/~kriz/cifar.html there"
        )


CIFAR10 = Layout(
    name="cifar-10",
    folder="cifar-10-batches-bin",
    python_folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    test=("test_batch.bin",),
    label_bytes=1,
    names="batches.meta.txt",
)
CIFAR100 = Layout(
    name="cifar-100",
    folder="cifar-100-binary",
    python_folder="cifar-100-python",
    train=("train.bin",),
    test=("test.bin",),
    label_bytes=2,
    names="fine_label_names.txt",
)


def open_cifar10(config: DataConfig, steps: int) -> Splits:
    """CIFAR-10: 50,000 training and 10,000 test images of ten classes.

    Raises:
        DataError: if the files are missing or damaged.
    """
    return _open(config, CIFAR10)


def open_cifar100(config: DataConfig, steps: int) -> Splits:
    """CIFAR-100: 50,000 training and 10,000 test images of a hundred classes.

    Raises:
        DataError: if the files are missing or damaged.
    """
    return _open(config, CIFAR100)


def _open(config: DataConfig, layout: Layout) -> Splits:
    root = config.root or ""
    pickled = Path(root).expanduser() / layout.python_folder
    if pickled.is_dir() and not (pickled.parent / layout.folder).is_dir():
        raise DataError(
            "this is the Python version of CIFAR: pickles, which can run any code when opened",
            where=str(pickled),
            found=layout.python_folder,
            allowed=layout.folder,
            remedy=layout.remedy,
        )
    folder = need_folder(root, layout.folder, remedy=layout.remedy)
    names = _names(folder / layout.names, layout)
    return Splits(
        train=_read(folder, layout.train, layout, len(names)),
        test=_read(folder, layout.test, layout, len(names)),
        names=names,
    )


def _names(path: Path, layout: Layout) -> tuple[str, ...]:
    text = read_bytes(path, 1 << 16, layout.remedy).decode("utf-8", errors="replace")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _read(folder: Path, files: tuple[str, ...], layout: Layout, classes: int) -> Stored:
    record = layout.label_bytes + PIXELS
    parts = []
    for file in files:
        data = read_bytes(folder / file, MOST_RECORDS * record, layout.remedy)
        rows = np.frombuffer(data, np.uint8)
        if len(rows) == 0 or len(rows) % record:
            raise DataError(
                "a CIFAR file is cut off",
                where=str(folder / file),
                found=f"{len(rows)} bytes",
                allowed=f"one or more records of {record} bytes",
                remedy=layout.remedy,
            )
        rows = rows.reshape(-1, record)
        highest = int(rows[:, layout.label_bytes - 1].max())
        if highest >= classes:
            raise DataError(
                "a CIFAR file has a label without a name",
                where=str(folder / file),
                found=f"label {highest}",
                allowed=f"0 to {classes - 1}, as in {layout.names}",
                remedy=layout.remedy,
            )
        parts.append(rows)
    table = np.concatenate(parts)
    labels = table[:, layout.label_bytes - 1].astype(np.int64)
    images = np.ascontiguousarray(table[:, layout.label_bytes :]).reshape(-1, *SHAPE)
    return Stored(torch.from_numpy(images), torch.from_numpy(labels))
