"""How many samples each stage classifies rightly, before and after each stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Execute
from purespike.compiler.report.rows.verdict import COMPILED, READ, TRAINED, Accuracy
from purespike.compiler.rules.measure import decisions
from purespike.judge.fast import execute
from purespike.subject import Progress, Subject

_VALUES_AT_ONCE = 1 << 22  # of the input of a torch module, whose layers hold many times as much

if TYPE_CHECKING:
    from torch import nn

Decisions = NDArray[np.int64]


def reference_accuracy(
    subject: Subject, progress: Progress, execute: Execute = execute
) -> Accuracy | None:
    """The network as it came: the module, or the graph of a file; None without labels."""
    if not subject.labelled:
        return None
    if not isinstance(subject.model, Graph):
        return Accuracy.of(TRAINED, *torch_accuracy(subject.model, subject, progress))
    read = decisions(
        subject.model,
        subject.spikes,
        lambda d, n: progress("network as read", d, n),
        execute,
    )
    return stage_accuracy(COMPILED if subject.compiled else READ, read, subject, None)


def torch_accuracy(model: nn.Module, subject: Subject, progress: Progress) -> tuple[int, int]:
    """Correct decisions of the module itself, in its own precision, and how many."""
    correct, n = 0, len(subject.labels)
    for start in range(0, n, 64):
        decided = _decisions(model, subject.spikes[:, start : start + 64])
        correct += int((decided == subject.labels[start : start + 64]).sum())
        progress("trained network", min(start + 64, n), n)
    return correct, n


def own_decisions(model: nn.Module | Graph, x: NDArray[Any]) -> NDArray[np.int64]:
    """The class (B,) that the network itself names for each sample (T, B, *shape)."""
    if isinstance(model, Graph):
        return decisions(model, x, execute=execute)
    at_once = max(1, _VALUES_AT_ONCE // x[:, 0].size)
    parts = np.split(x, range(at_once, x.shape[1], at_once), axis=1)
    return np.concatenate([_decisions(model, part) for part in parts])


def _decisions(model: nn.Module, x: NDArray[Any]) -> NDArray[np.int64]:
    import torch  # here alone: a network from a file is judged without

    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    with evaluating(model), torch.no_grad():
        result = model(torch.tensor(x, dtype=kind))
    main = result["main"] if isinstance(result, Mapping) else result
    scores = main.sum(0) if main.dim() > 2 else main  # a spiking output: counts
    decided: NDArray[np.int64] = scores.reshape(len(scores), -1).argmax(1).numpy()
    return decided


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The module in evaluation mode; afterwards each part is in the mode that it was in."""
    modes = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for m, mode in modes.items():
            m.training = mode


def stage_accuracy(
    stage: str, decided: Decisions, subject: Subject, before: Decisions | None
) -> Accuracy:
    """A line of the report: correct decisions (B,), and those equal to the stage before."""
    right = int((decided == subject.labels).sum())
    same = None if before is None else int((decided == before).sum())
    return Accuracy.of(stage, right, len(decided), same)
