"""What is compiled and judged: a trained network with the samples that it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.arrays import as_numbers
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Graph
from purespike.compiler.labels import checked_labels, output_classes

if TYPE_CHECKING:
    from torch import Tensor, nn

    Batches = Iterable[tuple[Tensor, Tensor]]  # inputs (T, B, C, H, W), labels (B,)

Progress = Callable[[str, int, int], None]  # (stage, done, total)


def silent(stage: str, done: int, total: int) -> None:
    """No progress."""


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
        LabelError: If there is not one label per sample, or one is no whole number from 0.
    """
    where = subject.name
    x = as_numbers(subject.spikes, "spikes", where)
    samples = x.shape[1] if x.ndim > 1 else 0
    if x.ndim < 3 or not x.size:
        raise UsageError(
            "a verdict needs samples",
            where=where,
            found=f"inputs of shape {x.shape}: {samples} samples",
            allowed="inputs (T, B, *shape), at least one sample",
            remedy="give test data",
        )
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
        calibration = as_numbers(calibration, "calibration", where)
        if calibration.ndim != x.ndim or calibration.shape[:1] + calibration.shape[2:] != (
            len(x),
            *shape,
        ):
            raise UsageError(
                "the calibration data does not have the form of the inputs",
                where=where,
                found=str(calibration.shape),
                allowed=f"({len(x)}, B, {', '.join(map(str, shape))})",
            )
    labels = subject.labels
    if labels is not None:
        labels = checked_labels(labels, samples, where)
    return replace(subject, shape=shape, spikes=x, labels=labels, calibration=calibration)


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
        raise UsageError(
            "the data does not fit the network",
            where=where,
            found=str(x.shape),
            allowed=f"({graph.steps}, B, {', '.join(map(str, edge.shape))})",
        )


def require_classes(subject: Subject, graph: Graph) -> None:
    """Raise LabelError if a label of the subject is none of the network's classes."""
    if subject.labels is not None:
        checked_labels(subject.labels, len(subject.labels), subject.name, *output_classes(graph))
