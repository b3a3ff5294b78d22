"""Signs in the first epoch that a network will not learn: silent layers, vanished gradients.

The bounds lie between the networks of docs/depth.md that learnt and those that did not because of
either; the page has both sides, and networks that stay at chance for other reasons.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import Logger
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.training.logs import SILENT

__all__ = ["EVENTS", "VANISHED", "Finding", "by_depth", "diagnose", "record", "said", "words"]

VANISHED = 1e-3  # of the largest gradient of all layers
EVENTS = "events.jsonl"  # beside metrics.csv
_THROUGH = ("and", "iand")  # gates that can only take spikes away from what goes through them


@dataclass(frozen=True)
class Finding:
    """Layers that let nothing through.

    Attributes:
        kind: ``silent`` or ``vanished``.
        layer: the first of them in order of depth, by its path.
        value: its firing rate, or its gradient as a share of the largest layer's.
        layers: all of them.
        of: how many were looked at.
    """

    kind: str
    layer: str
    value: float
    layers: tuple[str, ...]
    of: int


def diagnose(
    rates: Mapping[str, float], gradients: Mapping[str, float] | None = None
) -> tuple[Finding, ...]:
    """Find what is wrong.

    Args:
        rates: spikes a neuron and step, by layer in order of depth.
        gradients: the size of the gradient at each layer, in order of depth; None to leave out.
    """
    largest = max((gradients or {}).values(), default=0.0)
    shares = {name: size / largest if largest else 0.0 for name, size in (gradients or {}).items()}
    return (*_below("silent", rates, SILENT), *_below("vanished", shares, VANISHED))


def _below(kind: str, values: Mapping[str, float], bound: float) -> Iterable[Finding]:
    low = tuple(name for name, value in values.items() if value < bound)
    if low:
        yield Finding(kind, low[0], values[low[0]], low, len(values))


def by_depth(model: nn.Module, values: Mapping[str, float]) -> dict[str, float]:
    """The values in the order of the modules; a block comes behind what is inside it."""
    names = [name for name, _ in model.named_modules()]
    last = {n: i for i, name in enumerate(names) for n in _enclosing(name)}
    return dict(sorted(values.items(), key=lambda item: (last.get(item[0], -1), -len(item[0]))))


def _enclosing(name: str) -> Iterable[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def words(findings: Sequence[Finding], model: nn.Module) -> str:
    """What was found, and what helped such networks in the experiments of docs/depth.md."""
    return " ".join(f"{said(one)} {_advice(one, model)}" for one in findings)


def said(finding: Finding) -> str:
    """A sentence about one finding."""
    more = len(finding.layers) - 1
    others = f", like {more} of the {finding.of - 1} other layers" if more else ""
    if finding.kind == "silent":
        return (
            f"{finding.layer} fires at a rate of {finding.value:.1e} spikes a neuron and step "
            f"(less than {SILENT:g}){others}: it is close to silent."
        )
    return (
        f"{finding.layer} gets {finding.value:.1e} of the gradient of the layer with the largest "
        f"(less than {VANISHED:g}){others}: the gradient has vanished there."
    )


def _advice(finding: Finding, model: nn.Module) -> str:
    if not isinstance(model, DualStreamNetwork):
        silent = "Lower the threshold of the neurons, or normalize the currents in front of them."
        path = "Auxiliary paths bring gradients to the layers that they read (aap, shortcut)."
        return silent if finding.kind == "silent" else path
    config = model.config
    if finding.kind == "silent":
        if config.zero_init_residual:
            return (
                "It starts silent on purpose: set model.zero_init_residual=false to start firing."
            )
        if config.gate in _THROUGH:
            return (
                f"Joins by {config.gate.upper()} let spikes die out with depth: set model.gate=or."
            )
        return "Lower the threshold: set model.neuron.threshold."
    if not config.aap and config.gate != "none":
        return (
            "Set model.aap=true: the accumulation pathway is removed when the network is compiled."
        )
    return "`purespike scan` shows which width of the surrogate keeps its size."


def record(findings: Sequence[Finding], text: str, epoch: int, loggers: Iterable[Logger]) -> None:
    """Keep a warning with the logs: a line each in ``events.jsonl``, and as text in TensorBoard."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text("warning", text, epoch)
        elif isinstance(logger, CSVLogger):
            Path(logger.log_dir).mkdir(parents=True, exist_ok=True)
            with (Path(logger.log_dir) / EVENTS).open("a", encoding="utf-8") as file:
                for one in findings:
                    line: dict[str, Any] = {"epoch": epoch, **asdict(one), "text": text}
                    file.write(json.dumps(line) + "\n")
