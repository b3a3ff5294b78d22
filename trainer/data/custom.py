"""A data set of the user's own: ``package.module:factory``.

The factory is called without arguments. It gives a ``torch.utils.data.Dataset``, or a pair of them
(train, test); of a single one, every fifth sample tests. A sample is (input, label):

- an image, uint8 (C, H, W), levels 0 to 255, for every encoder of images;
- an image, float (C, H, W), values 0 to 1, for the direct code;
- frames of events, float or integer (T, C, H, W), values 0 and 1, for the code ``events``;
- a sequence of numbers (T, ...), which is taken as it is, for the code ``sequence``: here the
  factory may give arrays, too (:mod:`purespike.trainer.data.sequences`).

The training set states its classes: ``classes`` is a number or a sequence of names. With the code
``sequence`` it may leave that to the network.

Naming a factory runs its code: a recipe from somebody else is a program from somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from purespike.compiler.errors import PurespikeError
from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.samples import Splits
from purespike.trainer.dotted import dotted, import_remedy
from purespike.trainer.errors import DataError

__all__ = [
    "Checked",
    "as_tensor",
    "class_names",
    "is_data_set",
    "look_through",
    "made_by",
    "open_custom",
]

MOST_CLASSES = 1_000_000
SUSPECTS = 8  # samples that are read to judge a label before the training


@dataclass(frozen=True, eq=False)
class Checked:
    """A source that checks each sample of a foreign data set.

    Attributes:
        data: the data set.
        code: direct, events, sequence or a code of pixels.
        steps: T.
        classes: how many; 0 where nothing says it yet.
        shape: that every sample has.
        name: for errors.
    """

    data: Any
    code: str
    steps: int
    classes: int
    shape: tuple[int, ...]
    name: str

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """A sample that is as the module says.

        Raises:
            DataError: if it is not.
        """
        where = f"{self.name}, sample {index}"
        item = self.data[index]
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise _wrong("a sample is not a pair", type(item).__name__, "(input, label)", where)
        value = as_tensor(item[0], where)
        if tuple(value.shape) != self.shape:
            raise _wrong(
                "a sample has another shape than the first one",
                str(tuple(value.shape)),
                str(self.shape),
                where,
            )
        return self._input(value, where), self._label(item[1], where)

    def _input(self, value: Tensor, where: str) -> Tensor:
        if self.code == "sequence":
            if not bool(torch.isfinite(value).all()):
                raise _wrong("an input is not finite", "NaN or infinity", "finite numbers", where)
            return value.float()
        if self.code == "events":
            value = value.float()
            if value.dim() != 4 or len(value) != self.steps:
                allowed = f"(T, C, H, W) with T = {self.steps}"
                raise _wrong("frames have a wrong shape", str(tuple(value.shape)), allowed, where)
            if not bool(((value == 0) | (value == 1)).all()):
                found = f"values from {value.min():g} to {value.max():g}"
                raise _wrong("frames are not binary", found, "0 and 1", where)
            return value
        if value.dim() != 3:
            raise _wrong("an image has a wrong shape", str(tuple(value.shape)), "(C, H, W)", where)
        if value.dtype == torch.uint8:
            return value
        if self.code != "direct" or not value.is_floating_point():
            allowed = "uint8 levels" + (" or floats" if self.code == "direct" else "")
            found = str(value.dtype)
            raise _wrong(f"the {self.code} code cannot take these images", found, allowed, where)
        if not bool(((value >= 0) & (value <= 1)).all()):
            found = f"values from {value.min():g} to {value.max():g}"
            raise _wrong("an image has values out of range", found, "0 to 1", where)
        return value.float()

    def _label(self, label: Any, where: str) -> int:
        if isinstance(label, (Tensor, np.ndarray, np.generic)) and label.shape in ((), (1,)):
            label = label.item()
        most = self.classes or MOST_CLASSES
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < most:
            said = "the attribute 'classes' of the data set"
            if self.code == "sequence":
                said += ", or else the network's outputs"
            raise _wrong(
                "a label is none of the classes",
                repr(label),
                f"a whole number from 0 to {most - 1}: {most} classes, by {said}",
                where,
            )
        return label


def made_by(name: str) -> Any:
    """What a factory gives, by its dotted path. This runs the user's code.

    Raises:
        DataError: if there is no such factory, or it fails.
    """
    try:
        return dotted(name)()
    except PurespikeError:
        raise
    except Exception as e:  # whatever the user's code does
        raise DataError(
            "the data set's factory cannot be called",
            found=f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}",
            allowed="package.module:name of a callable without arguments",
            where=name,
            remedy=import_remedy(e, name),
        ) from e


def open_custom(config: DataConfig, steps: int) -> Splits:
    """Call the factory and check what it gives.

    Raises:
        DataError: if there is no such factory, or it gives something else.
    """
    made = made_by(config.name)
    parts = made if isinstance(made, tuple) else (made,)
    if not (1 <= len(parts) <= 2 and all(is_data_set(part) for part in parts)):
        raise _wrong(
            "the factory gives no data set",
            ", ".join(type(part).__name__ for part in parts) or "an empty tuple",
            "a map-style torch Dataset with at least one sample, or a pair (train, test)",
            config.name,
        )
    names = class_names(parts[0], config.name)
    shape = tuple(as_tensor(parts[0][0][0], f"{config.name}, sample 0").shape)
    train, *rest = (
        Checked(part, config.code, steps, len(names), shape, config.name) for part in parts
    )
    for part in (train, *rest):
        look_through(part)
    if rest:
        return Splits(train, rest[0], names)
    test = range(4, len(train), 5)
    if not test:
        raise _wrong("too few samples for a split", str(len(train)), "5 or more", config.name)
    others = [i for i in range(len(train)) if i % 5 != 4]
    return Splits(train, train, names, train_indices=others, test_indices=test)


def look_through(part: Checked) -> None:
    """Raise DataError now for a label that would stop a training in the middle.

    Samples whose stored label is none of the classes are suspects; what counts is the label that
    the data set gives with the sample, which its ``__getitem__`` may make of the stored one.
    """
    stored = getattr(part.data, "targets", getattr(part.data, "labels", None))
    tensors = getattr(part.data, "tensors", None)
    if stored is None and isinstance(tensors, tuple) and len(tensors) == 2:
        stored = tensors[1]
    try:
        labels = np.asarray(stored)
        most = part.classes or MOST_CLASSES
        suspects = np.flatnonzero(~((labels >= 0) & (labels < most)))
    except (TypeError, ValueError):
        return  # no numbers: nothing is known before a sample is read
    if labels.shape == (len(part),):
        for index in suspects[:SUSPECTS]:
            part[int(index)]


def is_data_set(part: Any) -> bool:
    """Is it a map-style data set of torch with at least one sample?"""
    return isinstance(part, Dataset) and hasattr(part, "__len__") and len(part) > 0


def class_names(data: Any, where: str) -> tuple[str, ...]:
    """The names of the classes that a data set states.

    Raises:
        DataError: if it states none.
    """
    classes = getattr(data, "classes", None)
    if isinstance(classes, int) and 2 <= classes <= MOST_CLASSES:
        return tuple(str(i) for i in range(classes))
    if isinstance(classes, Sequence) and not isinstance(classes, str) and len(classes) >= 2:
        return tuple(str(name) for name in classes)
    raise _wrong(
        "the data set does not say its classes",
        f"classes = {classes!r}",
        "an attribute 'classes': a number or a sequence of names, two or more",
        where,
    )


def as_tensor(value: Any, where: str) -> Tensor:
    """The input of a sample.

    Raises:
        DataError: if it is not an array of numbers.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        return torch.from_numpy(value)
    found = f"{type(value).__name__}"
    raise _wrong("an input is not an array", found, "a torch tensor or a numpy array", where)


def _wrong(message: str, found: str, allowed: str, where: str) -> DataError:
    return DataError(
        message, found=found, allowed=allowed, where=where, remedy="change the data set"
    )
