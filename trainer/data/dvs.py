"""Recordings of event cameras through tonic: DVS128 Gesture and CIFAR10-DVS.

tonic (the extra ``events``) knows where the files lie, what their names mean and how they are read.
It fetches what it does not find, and it misses the archive even where the unpacked files are there:
the two classes here fetch only if they are allowed to. Their names are tonic's, because tonic
derives the folder below ``root`` from the name of the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tonic
from torch import Tensor

from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.events import to_frames
from purespike.trainer.data.samples import Splits
from purespike.trainer.errors import DataError

__all__ = ["Recordings", "open_cifar10_dvs", "open_dvs_gesture"]

SENSOR = (128, 128)
MOST_BYTES = 256 << 20  # of one recording; the largest of DVS128 Gesture has some 30 MB
TRAIN_SHARE = 9, 10  # of each class of CIFAR10-DVS, which has no split of its own


class _Guarded:
    """What both classes do before tonic's own code."""

    ending: str
    location_on_system: str
    folder_name: str

    def __init__(self, root: str, *, fetch: bool, **options: Any) -> None:
        self.fetch = fetch
        super().__init__(root, **options)  # type: ignore[call-arg]

    def _check_exists(self) -> bool:
        folder = Path(self.location_on_system, self.folder_name)
        return next(folder.rglob(f"*{self.ending}"), None) is not None

    def download(self) -> None:
        if not self.fetch:
            raise DataError(
                "the recordings are not there",
                where=str(Path(self.location_on_system, self.folder_name)),
                found=f"no {self.ending} file",
                allowed="the unpacked recordings, in tonic's folders",
                remedy="unpack them there, or allow tonic to fetch them: download = true",
            )
        super().download()  # type: ignore[misc]


class DVSGesture(_Guarded, tonic.datasets.DVSGesture):  # type: ignore[misc]
    """Eleven gestures of 29 persons (Amir et al., 2017); 23 persons train, 6 test."""

    ending = ".npy"


class CIFAR10DVS(_Guarded, tonic.datasets.CIFAR10DVS):  # type: ignore[misc]
    """10,000 images of CIFAR-10, moved before a camera (Li et al., 2017)."""

    ending = ".aedat4"


@dataclass(frozen=True, eq=False)
class Recordings:
    """A source of recordings, as T frames.

    Attributes:
        files: tonic's data set, which reads them.
        steps: T.
        size: height and width of a frame.
        bins: time or count.
    """

    files: DVSGesture | CIFAR10DVS
    steps: int
    size: int
    bins: str

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Frames, float32 (T, 2, size, size), and the label.

        Raises:
            DataError: if the file is damaged or too large.
        """
        path = self.files.data[index]
        if Path(path).stat().st_size > MOST_BYTES:
            raise _unreadable(path, f"{Path(path).stat().st_size} bytes")
        try:
            events, label = self.files[index]
        except Exception as e:  # other people's decoders fail in many ways on damaged files
            raise _unreadable(path, f"{type(e).__name__}: {e}") from e
        frames = to_frames(
            events,
            self.steps,
            sensor=SENSOR,
            size=(self.size, self.size),
            bins=self.bins,
            where=path,
        )
        return frames, int(label)


def open_dvs_gesture(config: DataConfig, steps: int) -> Splits:
    """DVS128 Gesture: ``root/DVSGesture/ibmGesture{Train,Test}/user*_*/<label>.npy``.

    Raises:
        DataError: if the recordings are not there.
    """
    train, test = (
        _recordings(DVSGesture(config.root or "", fetch=config.download, train=part), config, steps)
        for part in (True, False)
    )
    return Splits(train=train, test=test, names=tuple(DVSGesture.classes))


def open_cifar10_dvs(config: DataConfig, steps: int) -> Splits:
    """CIFAR10-DVS: ``root/CIFAR10DVS/<class>/*.aedat4``.

    The first nine tenths of each class, in the order of the numbers in the names, train; the others
    test.

    Raises:
        DataError: if the recordings are not there.
    """
    source = _recordings(CIFAR10DVS(config.root or "", fetch=config.download), config, steps)
    names = tuple(sorted(CIFAR10DVS.classes, key=CIFAR10DVS.classes.get))
    train: list[int] = []
    test: list[int] = []
    for label in range(len(names)):
        members = [i for i, found in enumerate(source.files.targets) if found == label]
        cut = len(members) * TRAIN_SHARE[0] // TRAIN_SHARE[1]
        train += members[:cut]
        test += members[cut:]
    return Splits(source, source, names, train_indices=train, test_indices=test)


def _recordings(files: DVSGesture | CIFAR10DVS, config: DataConfig, steps: int) -> Recordings:
    # The order in which a file system lists its files must not decide which sample has which index.
    order = sorted(range(len(files.data)), key=lambda i: _natural(files.data[i]))
    files.data = [files.data[i] for i in order]
    files.targets = [files.targets[i] for i in order]
    return Recordings(files, steps, config.size or SENSOR[0], config.bins or "count")


def _natural(path: str) -> tuple[str, int, str]:
    """The folder, then the number in the name: cifar10_cat_9 before cifar10_cat_10."""
    digits = "".join(c if c.isdecimal() else " " for c in Path(path).stem).split()
    return str(Path(path).parent), int(digits[-1]) if digits else 0, path


def _unreadable(path: str, found: str) -> DataError:
    return DataError(
        "a recording cannot be read",
        where=path,
        found=found,
        allowed=f"a recording of at most {MOST_BYTES >> 20} MiB",
        remedy="fetch or unpack it again",
    )
