"""Signs in the first epochs that a network will not learn, or late.

Silent layers and vanished gradients show after one epoch, decisions at chance after ``ENOUGH``
steps. The bounds come from the networks of docs/depth.md: which of those below learnt all the same,
and which needed more epochs, is said there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import Logger
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.training.logs import SILENT

__all__ = [
    "ENOUGH",
    "EVENTS",
    "VANISHED",
    "AtChance",
    "Decisions",
    "Finding",
    "by_depth",
    "diagnose",
    "record",
    "said",
    "words",
]

VANISHED = 1e-3  # of the largest gradient of all layers
ENOUGH = 250  # steps, after which nearly all that learnt in 1,120 decided better than chance
EVENTS = "events.jsonl"  # beside metrics.csv
_THROUGH = ("and", "iand")  # gates that can only take spikes away from what goes through them
_SUMS = ("sn", "vanilla")  # currents that meet before the closing neuron


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


@dataclass(frozen=True)
class AtChance:
    """A network that decides as if it had not seen the images.

    Attributes:
        steps: of training so far.
        value: share of the last epoch's training images that were classified correctly.
        classes: how many there are.
    """

    steps: int
    value: float
    classes: int
    kind: str = "chance"


class Decisions:
    """Counts the decisions of an epoch, to tell whether they are still at chance."""

    def __init__(self) -> None:
        self._steps: list[tuple[Tensor, int]] = []
        self._classes = 0

    def note(self, right: Tensor, classes: int) -> None:
        """Take in a step: which samples (B,) were classified correctly, of how many classes."""
        self._steps.append((right.sum(), len(right)))
        self._classes = classes

    def judge(self, steps: int) -> tuple[AtChance, ...]:
        """End an epoch; in the one in which step ``ENOUGH`` was, find decisions at chance.

        They are where fewer than 3 standard deviations more than one of so many classes are right.
        Classes are taken for equally frequent: where they are not, deciding for the most frequent
        one passes for learning.

        Args:
            steps: of the training so far.
        """
        counts, self._steps = self._steps, []
        if not steps - len(counts) < ENOUGH <= steps:
            return ()
        seen, chance = sum(size for _, size in counts), 1 / self._classes
        share = sum(int(right) for right, _ in counts) / seen
        bound = chance + 3 * sqrt(chance * (1 - chance) / seen)
        return (AtChance(steps, share, self._classes),) if share < bound else ()


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


def words(findings: Sequence[Finding | AtChance], model: nn.Module) -> str:
    """What was found, and what helped such networks in the experiments of docs/depth.md."""
    return " ".join(
        f"{said(one)} {_advice(one, model) if isinstance(one, Finding) else _other(model)}"
        for one in findings
    )


def said(finding: Finding | AtChance) -> str:
    """A sentence about one finding."""
    if isinstance(finding, AtChance):
        return (
            f"After {finding.steps} steps {100 * finding.value:.1f} % of the training samples are "
            f"classified correctly, no more than chance explains ({finding.classes} classes)."
        )
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
    return (
        "Widen the surrogate (model.neuron.surrogate) until the gain that `purespike scan` prints "
        "is 1 or a little more."
    )


def _other(model: nn.Module) -> str:
    """What makes a network learn that stays at chance although everything fires."""
    config = model.config if isinstance(model, DualStreamNetwork) else None
    options = []
    if config is not None and config.gate != "none":
        path = "shortcut" if config.gate in _SUMS else "aap"
        options += [] if getattr(config, path) else [f"model.{path}=true"]
        spikes = config.neuron.levels < 2
        options += ["model.gate=or"] if spikes and config.gate not in ("or", "add") else []
    if not options:
        return "Try another learning_rate or surrogate, or fewer layers."
    return f"Set {' or '.join(options)}, or train for longer."


def record(
    findings: Sequence[Finding | AtChance], text: str, epoch: int, loggers: Iterable[Logger]
) -> None:
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
