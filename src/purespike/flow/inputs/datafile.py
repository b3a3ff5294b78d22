"""The data that a user gives beside a network: a .npz file, looked at before it is read."""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.arrays import require_finite
from purespike.compiler.files import archives
from purespike.compiler.files.archives import DAMAGED
from purespike.compiler.files.reading import opened
from purespike.compiler.labels import LabelError, checked_labels
from purespike.errors import InputError

LARGEST = 1 << 30  # bytes of the file
KNOWN = {"inputs", "labels", "calibration", "training_inputs", "training_labels"}
ALIASES = {
    "x": "inputs",
    "y": "labels",
    "x_test": "inputs",
    "y_test": "labels",
    "x_train": "training_inputs",
    "y_train": "training_labels",
}
FORM = (
    "a .npz file with inputs (T, B, *shape), numbers; perhaps labels (B,), calibration, and "
    "training_inputs with training_labels; or x and y, x_train and y_train"
)
SAVE = "save it with numpy: np.savez(file, inputs=x, labels=y)"
BLOCK = 1 << 20  # values that are read at a time
_NARROWED = ("inputs", "training_inputs")
_CALLED = {"training_inputs": "training inputs", "calibration": "calibration data"}
_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Header:
    """What a data file says before its inputs are read.

    Attributes:
        path: Of the file.
        steps: T.
        samples: B.
        shape: Of one sample at one step.
        labels: (B,), checked but for the classes that the network has; None without.
        training: Samples to train on beside them.
        calibration: Samples to choose scales by beside them.
    """

    path: Path
    steps: int
    samples: int
    shape: tuple[int, ...]
    labels: NDArray[np.int64] | None
    training: int = 0
    calibration: int = 0


def peek(path: Path) -> Header:
    """The form of a data file and its labels; the inputs are not read.

    Raises:
        InputError: If it is no such file.
        LabelError: If the labels cannot be labels of the inputs.
    """
    try:
        with opened(path, LARGEST, InputError, "the data file") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise InputError(
                    "this is one array, and does not say which",
                    where=str(path),
                    found="a .npy file",
                    allowed=FORM,
                    remedy=SAVE,
                )
            with zipfile.ZipFile(file) as archive:
                names = _named(path, [n.removesuffix(".npy") for n in archive.namelist()])
                own = archives.forms(archive)
            forms = {name: own[there] for name, there in names.items()}
            labels, trained = (
                _labels(file, path, names, forms, n) for n in ("labels", "training_labels")
            )
    except DAMAGED as e:
        raise _unreadable(path, e) from None
    shape, dtype = forms.get("inputs", ((), np.dtype(object)))
    if len(shape) < 3 or dtype.kind not in "iufb" or 0 in shape or set(forms) - KNOWN:
        raise InputError(
            "the data does not have the form that is needed",
            where=str(path),
            found=", ".join(f"{k} {s} {d}" for k, (s, d) in forms.items()) or "no array",
            allowed=FORM,
            remedy=SAVE,
        )
    for name in ("calibration", "training_inputs"):
        more = forms.get(name)
        if more and (
            more[0][:1] + more[0][2:] != shape[:1] + shape[2:] or more[1].kind not in "iufb"
        ):
            raise InputError(
                f"the {name.replace('_', ' ')} do not have the form of the inputs"
                if name != "calibration"
                else "the calibration data does not have the form of the inputs",
                where=str(path),
                found=f"{more[0]} {more[1]}",
                allowed=f"({shape[0]}, B, {', '.join(map(str, shape[2:]))}), numbers",
            )
    if ("training_inputs" in forms) != (trained is not None):
        raise InputError(
            "training inputs and their labels come together",
            where=str(path),
            found=", ".join(forms),
            allowed="training_inputs (T, N, *shape) and training_labels (N,), or neither",
        )
    training = forms["training_inputs"][0][1] if trained is not None else 0
    if labels is not None:
        labels = checked_labels(labels, shape[1], str(path))
    if trained is not None:
        checked_labels(trained, training, f"{path}, training_labels")
    held = forms["calibration"][0][1] if "calibration" in forms else 0
    return Header(path, shape[0], shape[1], tuple(shape[2:]), labels, training, held)


def read_data(path: Path | None) -> dict[str, NDArray[Any]]:
    """The arrays of a data file, checked; nothing without one.

    Raises:
        As `peek`.
        UsageError: If an input is NaN or infinite.
    """
    if path is None:
        return {}
    header = peek(path)
    try:
        with (
            opened(path, LARGEST, InputError, "the data file") as file,
            zipfile.ZipFile(file) as archive,
        ):
            own = archives.forms(archive)
            names = _named(path, own)
            plain = [own for name, own in names.items() if name not in _NARROWED]
            held = archives.arrays(file, plain)
            data = {
                name: held[there] if there in held else _narrow(archive, there)
                for name, there in names.items()
            }
    except DAMAGED as e:
        raise _unreadable(path, e) from None
    for name in (*_NARROWED, "calibration"):
        if name in data:
            require_finite(data[name], _CALLED.get(name, name), str(path))
    if header.labels is not None:
        data["labels"] = header.labels
    return data


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_binary(x: NDArray[Any]) -> bool:
    """Are all values 0 or 1?"""
    return bool(((x == 0) | (x == 1)).all())


def _named(path: Path, found: Iterable[str]) -> dict[str, str]:
    """The arrays of a file, each by the name that it goes by here."""
    names: dict[str, str] = {}
    for own in found:
        name = ALIASES.get(own, own)
        if name in names:
            raise InputError(
                "the data say something twice",
                where=str(path),
                found=f"{names[name]} and {own}",
                allowed=FORM,
            )
        names[name] = own
    return names


def _narrow(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array in a byte per value if all are 0 or 1, else in float32: never whole as it was saved.

    It is read a block at a time, so that int64 or float64 do not take eight bytes per value.
    """
    with archive.open(f"{name}.npy") as member:
        shape, fortran, dtype = archives.header(member)
        size = math.prod(shape)
        values: NDArray[Any] = np.empty(size, np.uint8)
        for begin in range(0, size, BLOCK):
            count = min(BLOCK, size - begin)
            raw = member.read(count * dtype.itemsize)
            block = np.frombuffer(raw, dtype, count)
            if values.dtype == np.uint8 and not is_binary(block):
                whole = np.empty(size, np.float32)
                whole[:begin] = values[:begin]
                values = whole
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
                values[begin : begin + count] = block
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _labels(
    file: IO[bytes],
    path: Path,
    names: Mapping[str, str],
    forms: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
    name: str,
) -> NDArray[Any] | None:
    if name not in forms:
        return None
    if forms[name][1].hasobject:
        raise LabelError(
            "the labels are not numbers",
            where=str(path),
            found=f"type {forms[name][1]}, which is not read: it may hold a program",
            allowed="whole numbers, one per sample",
            remedy=f"write them with {name}.astype(int)",
        )
    return archives.arrays(file, [names[name]])[names[name]]


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        "the data cannot be read",
        where=str(path),
        found=getattr(error, "strerror", None) or str(error)[:120] or type(error).__name__,
        allowed=FORM,
        remedy=SAVE,
    )
