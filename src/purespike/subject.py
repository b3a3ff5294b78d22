"""What is compiled and judged: a trained network with the samples that it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purespike.axes import unfit
from purespike.compiler.arrays import as_numbers
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Graph
from purespike.compiler.labels import checked_labels, output_classes
from purespike.compiler.report.rows.network import NetworkFile

if TYPE_CHECKING:
    from torch import Tensor, nn

Batches: TypeAlias = "Iterable[tuple[Tensor, Tensor]]"  # inputs (T, B, C, H, W), labels (B,)

Progress = Callable[[str, int, int], None]  # (stage, done, total)


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""


@dataclass(frozen=True)
class Samples:
    """The data that a network is judged by, beside the network.

    >>> import numpy as np
    >>> import purespike as ps
    >>> x = np.random.default_rng(0).random((4, 8, 2, 6, 6)) < 0.3  # T = 4, 8 samples
    >>> ps.Samples(x, [0, 1, 2, 3, 0, 1, 2, 3])
    Samples(T=4, samples=8, shape=(2, 6, 6))
    >>> ps.Samples(x)
    Samples(T=4, samples=8, shape=(2, 6, 6), no labels)

    Attributes:
        inputs: (T, B, *shape): an array, a tensor on any device, or nested lists.
        labels: (B,), whole numbers from 0, likewise. None: no accuracy is measured.
        calibration: Training inputs (T, B, *shape) by which scales may be chosen, and biases and
            thresholds be rounded together.
        training: Training data for fine-tuning: (inputs (T, N, *shape), labels (N,)), or a callable
            that gives batches of them.

    Raises:
        UsageError: If they are not arrays, or do not fit together.
        LabelError: If there is not one label per sample, or one is not a whole number from 0.
    """

    inputs: Any
    labels: Any = None
    calibration: Any = None
    training: Any = None

    def __post_init__(self) -> None:
        x = _inputs(self.inputs, "the samples")
        object.__setattr__(self, "inputs", x)
        if self.calibration is not None:
            held = _calibration(self.calibration, x, "the samples")
            object.__setattr__(self, "calibration", held)
        if self.labels is not None:
            labels = checked_labels(self.labels, x.shape[1], "the samples")
            object.__setattr__(self, "labels", labels)
        if self.training is not None and not callable(self.training):
            object.__setattr__(self, "training", _training(self.training, x))

    @property
    def batches(self) -> Callable[[], Batches] | None:
        """What gives batches of the training data, if that is how they were given."""
        return self.training if callable(self.training) else None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is there, by the names that data files have; zeros and ones in a byte each."""
        x = self.inputs
        binary = bool(((x == 0) | (x == 1)).all())
        held = {"inputs": x.astype(np.uint8) if binary else x}
        more = {"labels": self.labels, "calibration": self.calibration}
        if self.training is not None and self.batches is None:
            more |= dict(zip(("training_inputs", "training_labels"), self.training, strict=True))
        return held | {name: value for name, value in more.items() if value is not None}

    def __repr__(self) -> str:
        """One line: the arrays are large."""
        steps, samples, *shape = self.inputs.shape
        labels = ", no labels" if self.labels is None else ""
        return f"Samples(T={steps}, samples={samples}, shape={tuple(shape)}{labels})"


@dataclass(frozen=True)
class Subject:
    """A trained network and the data that it is judged by.

    Attributes:
        name: Stands in the report.
        model: The module; returns logits, or a dict whose ``'main'`` is deployed. Or a graph that
            was read from a file.
        shape: Of one sample at one step, (C, H, W).
        spikes: Test inputs (T, B, C, H, W): an array, a tensor, or nested lists.
        labels: Their classes (B,), whole numbers from 0, likewise. None: what the network itself
            decides, and ``labelled`` becomes False.
        domain: What the input carries.
        calibration: Training inputs (T, B, C, H, W) by which scales may be chosen, and biases and
            thresholds be rounded together.
        labelled: Whether the labels mean something; without, no accuracy is measured.
        training: Gives batches of the training data, for fine-tuning.
        file: That the network came from; None if it came from none.
        data: The file that the samples came from; empty if they came from none.
        compiled: Whether it comes from a bundle or a file that purespike wrote, in integers: what
            the trained network got right is not known then.
    """

    name: str
    model: nn.Module | Graph
    shape: tuple[int, ...]
    spikes: Any
    labels: Any = None
    domain: Domain = SPIKE
    calibration: Any = None
    labelled: bool = True
    training: Callable[[], Batches] | None = None
    file: NetworkFile | None = None
    data: str = ""
    compiled: bool = False

    def __repr__(self) -> str:
        """One line: the arrays are large."""
        steps, samples = np.shape(self.spikes)[:2] if np.ndim(self.spikes) > 1 else ("?", "?")
        labels = "" if self.labelled and self.labels is not None else ", no labels"
        return (
            f"Subject({self.name!r}, {type(self.model).__name__}, shape={tuple(self.shape)}, "
            f"T={steps}, samples={samples}{labels})"
        )


def checked_subject(subject: Subject) -> Subject:
    """The subject with arrays; nothing is proved by no samples.

    Raises:
        UsageError: If there are no samples, or what is given does not fit together.
        LabelError: If there is not one label per sample, or one is not a whole number from 0.
    """
    where = subject.name
    x = _inputs(subject.spikes, where)
    shape = tuple(subject.shape)
    if x.shape[2:] != shape:
        raise UsageError(
            "the data has another shape than the subject says",
            where=where,
            found=f"inputs {x.shape}, shape {shape}",
            allowed=f"inputs (T, B, {', '.join(map(str, shape))})",
            remedy="state the shape of one sample at one step, or give other inputs",
        )
    if isinstance(subject.model, Graph):
        require_fit(subject.model, x, where)
    calibration = subject.calibration
    if calibration is not None:
        calibration = _calibration(calibration, x, where)
    labels = subject.labels
    if labels is not None:
        labels = checked_labels(labels, x.shape[1], where)
    return replace(subject, shape=shape, spikes=x, labels=labels, calibration=calibration)


def _inputs(data: Any, where: str) -> NDArray[Any]:
    x = as_numbers(data, "inputs", where)
    if x.ndim < 3 or not x.size:
        samples = x.shape[1] if x.ndim > 1 else 0
        raise UsageError(
            "a verdict needs samples",
            where=where,
            found=f"inputs of shape {x.shape}: {samples} samples",
            allowed="inputs (T, B, *shape), at least one sample",
            remedy="give test data",
        )
    return x


def _calibration(data: Any, x: NDArray[Any], where: str, name: str = "calibration") -> NDArray[Any]:
    """Samples of the form of the inputs but for their number."""
    found = as_numbers(data, f"{name} data", where)
    steps, _, *shape = x.shape
    if found.ndim != x.ndim or found.shape[:1] + found.shape[2:] != (steps, *shape):
        raise UsageError(
            f"the {name} data does not have the form of the inputs",
            where=where,
            found=str(found.shape),
            allowed=f"({steps}, B, {', '.join(map(str, shape))})",
        )
    return found


def _training(data: Any, x: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise UsageError(
            "this is not training data",
            where="the samples",
            found=type(data).__name__,
            allowed="(inputs (T, N, *shape), labels (N,)), or a callable that gives batches",
        )
    inputs = _calibration(data[0], x, "the samples", "training")
    return inputs, checked_labels(data[1], inputs.shape[1], "the training data")


def require_single(graph: Graph, where: str) -> None:
    """Raise UsageError unless a network to compile has one input and one output."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UsageError(
            "a network to compile has one input and one output",
            where=where,
            found=f"{len(graph.inputs)} inputs, {len(graph.outputs)} outputs",
        )


def require_fit(graph: Graph, x: NDArray[Any], where: str) -> None:
    """Raise UsageError unless inputs (T, B, *shape) are for this network."""
    require_single(graph, where)
    (edge,) = graph.inputs
    if x.shape[0] != graph.steps or x.shape[2:] != edge.shape:
        raise unfit(x.shape, graph.steps, edge.shape, where)


def require_classes(subject: Subject, graph: Graph) -> None:
    """Raise LabelError if a label of the subject is none of the network's classes."""
    if subject.labels is not None:
        where = f"{subject.data} for {subject.name}" if subject.data else subject.name
        checked_labels(subject.labels, len(subject.labels), where, *output_classes(graph))
