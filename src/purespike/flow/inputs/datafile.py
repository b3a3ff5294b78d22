"""The data that a user gives beside a network: a .npz file, looked at before it is read."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.arrays import require_finite
from purespike.compiler.files.archives import DAMAGED
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
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                raise InputError(
                    "this is one array, and does not say which",
                    where=str(path),
                    found="a .npy file",
                    allowed=FORM,
                    remedy=SAVE,
                )
        if path.stat().st_size > LARGEST:
            raise InputError("the data file is too large", where=str(path), allowed="1 GiB")
        with zipfile.ZipFile(path) as file:
            names = _named(path, [n.removesuffix(".npy") for n in file.namelist()])
            forms = {name: _form(file.open(f"{own}.npy")) for name, own in names.items()}
        labels, trained = (_labels(path, names, forms, n) for n in ("labels", "training_labels"))
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
        with np.load(path, allow_pickle=False) as file:
            data = {k: np.asarray(file[own]) for k, own in _named(path, file.files).items()}
    except DAMAGED as e:
        raise _unreadable(path, e) from None
    for name in ("inputs", "training_inputs", "calibration"):
        if name not in data:
            continue
        x = data[name]
        if name != "calibration":
            with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
                x = data[name] = x.astype(np.uint8 if is_binary(x) else np.float32)
        require_finite(x, _CALLED.get(name, name), str(path))
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


def _labels(
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
    return _load(path, names[name])


def _form(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in a .npz file."""
    with file:
        version = np.lib.format.read_magic(file)  # type: ignore[no-untyped-call]
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_{version[1]}", None)
        if read is None:
            raise ValueError(f"an array in version {version} of the format")
        shape, _, dtype = read(file)
        return shape, dtype


def _load(path: Path, name: str) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as file:
        return np.asarray(file[name])


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        "the data cannot be read",
        where=str(path),
        found=getattr(error, "strerror", None) or str(error)[:120] or type(error).__name__,
        allowed=FORM,
        remedy=SAVE,
    )
