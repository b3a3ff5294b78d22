"""Sequences of the user's own: arrays, data sets, or what a factory gives of either.

Samples go into the network as they are, whatever their shape: there is no encoder. Three forms:

- arrays with time in front, ``{"inputs": (T, N, ...), "labels": (N,)}`` or the pair of them; every
  fifth sample tests. With ``training_inputs`` and ``training_labels`` beside them, those train and
  the others test;
- a ``torch.utils.data.Dataset`` whose samples are (input (T, ...), label); every fifth tests;
- a pair of data sets, (train, test).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.labels import checked_labels
from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.custom import Checked, as_tensor, class_names, is_data_set, look_through
from purespike.trainer.data.dataset import DataSet
from purespike.trainer.data.samples import Code, Samples, Source
from purespike.trainer.errors import DataError
from purespike.trainer.values import to_dict

__all__ = [
    "FOLD",
    "Arrays",
    "described",
    "open_sequences",
    "training_batches",
    "with_classes",
]

FOLD = 5  # of a set that is not split: every fifth sample tests
_FORMS = (
    "arrays {'inputs': (T, N, ...), 'labels': (N,)}, perhaps with training_inputs and "
    "training_labels; a torch Dataset of (input (T, ...), label); or a pair (train, test) of them"
)
_ARRAYS = ("inputs", "labels", "training_inputs", "training_labels")


@dataclass(frozen=True, eq=False)
class Arrays:
    """A source in memory: inputs (T, N, *shape) of any number type, and labels (N,)."""

    inputs: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Sample ``index``, float32 (T, *shape), and its label."""
        sample = np.ascontiguousarray(self.inputs[:, index], dtype=np.float32)
        return torch.from_numpy(sample), int(self.labels[index])


def open_sequences(given: Any, where: str = "data") -> DataSet:
    """Training and test samples of what the module says may be given.

    Args:
        given: arrays, a data set, or a pair of data sets.
        where: they come from, for errors.

    Returns:
        The samples; ``classes`` is 0 where nothing says how many there are: see `with_classes`.

    Raises:
        DataError: if it is nothing of that, or a sample is not as the first one.
        LabelError: if a label can be none.
    """
    if isinstance(given, tuple | list) and len(given) == 2 and not any(map(is_data_set, given)):
        given = dict(zip(_ARRAYS, given, strict=False))
    train: Source
    test: Source | None
    names: tuple[str, ...] = ()
    domain = ANALOG  # what nobody has looked through
    if isinstance(given, Mapping):
        train, test = _arrays(given, where)
        shape = train.inputs.shape
        shape = (shape[0], *shape[2:])
        if all(_is_binary(source.inputs) for source in (train, test) if source):
            domain = SPIKE
    else:
        parts = given if isinstance(given, tuple | list) else (given,)
        if not (1 <= len(parts) <= 2 and all(map(is_data_set, parts))):
            found = ", ".join(type(part).__name__ for part in parts) or "nothing"
            raise _wrong("this is not training data", found, _FORMS, where)
        if getattr(parts[0], "classes", None) is not None:
            names = class_names(parts[0], where)
        shape = tuple(as_tensor(parts[0][0][0], f"{where}, sample 0").shape)
        if len(shape) < 2:
            raise _wrong("a sample is not a sequence", str(shape), "(T, ...)", where)
        checked = [Checked(p, "sequence", shape[0], len(names), shape, where) for p in parts]
        train, test = checked[0], checked[1] if len(checked) == 2 else None
        for part in checked:
            look_through(part)
    training, testing = range(len(train)), range(len(test) if test else 0)
    if test is None:
        test, testing = train, range(FOLD - 1, len(train), FOLD)
        training = [i for i in training if i % FOLD != FOLD - 1]  # type: ignore[assignment]
    if not testing:
        raise _wrong("too few samples for a split", str(len(train)), f"{FOLD} or more", where)
    code = Code("sequence", shape[0], 1)
    return DataSet(
        config=None,
        steps=shape[0],
        train=Samples(train, code, training),
        test=Samples(test, code, testing),
        shape=shape[1:],
        classes=len(names),
        names=names,
        domain=domain,
    )


def training_batches(
    inputs: NDArray[Any], labels: NDArray[np.int64], *, batch_size: int, seed: int = 0
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches of arrays to fine-tune on: float32 (T, B, *shape) and int64 (B,), shuffled.

    Args:
        inputs: (T, N, *shape).
        labels: (N,).
        batch_size: B; the last batch may be smaller.
        seed: of the order, which is new in each epoch.

    Raises:
        DataError: if an input is not finite or the arrays have another form.
        LabelError: if a label can be none.
    """
    source = _source(inputs, labels, "training data")
    steps, _, *shape = source.inputs.shape
    samples = Samples(source, Code("sequence", steps, 1), range(len(source)))
    data = DataSet(None, steps, samples, samples, tuple(shape), 0, (), ANALOG)
    return data.loader(samples, batch_size=batch_size, shuffle=True, seed=seed)


def with_classes(data: DataSet, classes: int, source: str) -> DataSet:
    """The same data for a network that tells ``classes`` apart.

    Args:
        data: of this module or of another one.
        classes: of the network.
        source: what says how many, for errors.

    Raises:
        DataError: if the data state more.
        LabelError: if a label is none of them.
    """
    if data.classes > classes:
        raise DataError(
            "the network tells fewer classes apart than the data have",
            found=f"{classes}, {source}",
            allowed=f"{data.classes} outputs",
            where=data.config.name if data.config else "classes of the data",
            remedy="give the last layer as many outputs as there are classes",
        )
    names = data.names or tuple(str(i) for i in range(classes))
    return replace(
        data,
        train=_known(data.train, classes, source, "training labels"),
        test=_known(data.test, classes, source, "labels"),
        classes=classes,
        names=names,
    )


def described(data: DataConfig | DataSet) -> dict[str, Any]:
    """What tells data apart when a training is resumed, as JSON values.

    A description, if there is one; of arrays all that they hold, of other data sets their size.
    """
    if isinstance(data, DataConfig):
        return to_dict(data)
    if data.config is not None:
        return to_dict(data.config)
    digest = hashlib.sha256(repr((data.steps, data.shape)).encode())
    for samples in (data.train, data.test):
        source = samples.source
        for array in (source.inputs, source.labels) if isinstance(source, Arrays) else ():
            digest.update(np.ascontiguousarray(array).data)
    return {"train": len(data.train), "test": len(data.test), "sha256": digest.hexdigest()}


def _known(samples: Samples, classes: int, said: str, where: str) -> Samples:
    source = samples.source
    if isinstance(source, Arrays):
        checked_labels(source.labels, len(source), where, classes, said)
    elif isinstance(source, Checked) and not source.classes:
        source = replace(source, classes=classes)
        look_through(source)
        return replace(samples, source=source)
    return samples


def _arrays(given: Mapping[str, Any], where: str) -> tuple[Arrays, Arrays | None]:
    found = {k: v for k, v in given.items() if v is not None and k in _ARRAYS}
    if not {"inputs", "labels"} <= set(found) or ("training_inputs" in found) != (
        "training_labels" in found
    ):
        raise _wrong("the training data are incomplete", ", ".join(found) or "none", _FORMS, where)
    test = _source(found["inputs"], found["labels"], where)
    if "training_inputs" not in found:
        return test, None
    train = _source(found["training_inputs"], found["training_labels"], f"{where}, training")
    one, other = ((*s.inputs.shape[:1], *s.inputs.shape[2:]) for s in (train, test))
    if one != other:
        raise _wrong(
            "training and test inputs differ in their shape",
            f"training_inputs {train.inputs.shape}, inputs {test.inputs.shape}",
            "the same but for the number of samples, which is the second axis",
            where,
        )
    return train, test


def _source(inputs: Any, labels: Any, where: str) -> Arrays:
    try:
        x = np.asarray(inputs.detach().cpu() if isinstance(inputs, Tensor) else inputs)
    except ValueError as e:  # ragged lists
        raise _wrong("the inputs are not an array", str(e)[:120], "(T, N, ...)", where) from None
    if x.ndim < 3 or x.dtype.kind not in "iufb" or 0 in x.shape:
        raise _wrong("the inputs have a wrong form", f"{x.shape} {x.dtype}", "(T, N, ...)", where)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        count = int((~np.isfinite(x)).sum())
        raise _wrong("an input is not finite", f"{count} values", "finite numbers", where)
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    samples: Sequence[int] | NDArray[Any] = labels
    if np.ndim(samples) == 1 and len(samples) == len(x) != x.shape[1]:
        raise _wrong(
            "the inputs have samples in front",
            f"inputs {x.shape}, {len(samples)} labels",
            "(T, N, ...): time first, then samples",
            where,
            "exchange the axes: np.moveaxis(inputs, 0, 1)",
        )
    return Arrays(x, checked_labels(samples, x.shape[1], where))


def _is_binary(x: NDArray[Any]) -> bool:
    return bool(((x == 0) | (x == 1)).all())


def _wrong(message: str, found: str, allowed: str, where: str, remedy: str = "") -> DataError:
    return DataError(
        message, found=found, allowed=allowed, where=where, remedy=remedy or "change the data"
    )
