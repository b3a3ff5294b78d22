"""How many samples each stage classifies rightly, and what may be lost on the way (PS012)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from purespike.compiler.compliance.finding import ACCURACY, Finding, verdict
from purespike.compiler.compliance.measure import Measured, measure
from purespike.compiler.compliance.policy import Policy
from purespike.compiler.report import Accuracy, Chance
from purespike.compiler.wording import Advice
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


def accuracy_finding(
    trained: Accuracy | None, integer: Accuracy, policy: Policy, chance: Chance | None = None
) -> Finding:
    """PS012: what the integers lose against the trained network, in percentage points."""
    if trained is None:
        why = "no labelled data was given, so no accuracy was measured"
        remedy = Advice("give labelled test inputs: {data}")
        return Finding(ACCURACY, "whole network", "NOT RUN", why, remedy=remedy)
    drop = 100 * (trained.rate - integer.rate)
    note = chance.note(integer) if chance else ""
    return verdict(
        ACCURACY,
        "whole network",
        drop <= policy.accuracy_drop,
        f"{100 * trained.rate:.2f} % trained, {100 * integer.rate:.2f} % integer, N = {integer.n}"
        + (f"; {note}" if note else ""),
        limit=f"drop of at most {policy.accuracy_drop:g}",
        unit="percentage points",
        remedy=Advice("use more weight bits ({bits}), or fine-tune with quantized ones: {qat}"),
    )
