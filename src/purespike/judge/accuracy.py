"""How many samples each stage classifies rightly, before and after each stage."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from purespike.compiler.report.report import Accuracy
from purespike.compiler.rules.measure import Measured, measure
from purespike.options import Progress, Subject


def reference_accuracy(subject: Subject, progress: Progress) -> Accuracy | None:
    """The network as it came: the module, or the graph of a file; None without labels."""
    if not subject.labelled:
        return None
    if isinstance(subject.model, nn.Module):
        return Accuracy("trained (torch)", *torch_accuracy(subject.model, subject, progress))
    read = measure(subject.model, subject.spikes, lambda d, n: progress("network as read", d, n))
    return stage_accuracy("trained (the graph as read)", read, subject, None)


def torch_accuracy(model: nn.Module, subject: Subject, progress: Progress) -> tuple[int, int]:
    """Correct decisions of the module itself, in its own precision, and how many."""
    correct, n = 0, len(subject.labels)
    model = model.eval()
    kind = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    with torch.no_grad():
        for start in range(0, n, 64):
            x = torch.from_numpy(subject.spikes[:, start : start + 64]).to(kind)
            result = model(x)
            logits = result["main"] if isinstance(result, Mapping) else result
            logits = logits.sum(0) if logits.dim() > 2 else logits  # a spiking output: counts
            labels = torch.from_numpy(subject.labels[start : start + 64])
            correct += int((logits.argmax(1) == labels).sum())
            progress("trained network", min(start + 64, n), n)
    return correct, n


def stage_accuracy(
    stage: str, measured: Measured, subject: Subject, before: Measured | None
) -> Accuracy:
    """A line of the report: correct decisions, and those equal to the stage before."""
    right = int((measured.decisions == subject.labels).sum())
    same = None if before is None else int((measured.decisions == before.decisions).sum())
    return Accuracy(stage, right, measured.samples, same)
