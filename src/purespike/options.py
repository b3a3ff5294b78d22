"""What a build is told: the trained network with its data, and the options."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Graph
from purespike.compiler.labels import checked_labels, output_classes
from purespike.compiler.passes.quantize.calibrate import Method
from purespike.compiler.rules.policy import STRICT, Policy
from purespike.compiler.rules.waiver import Waivers
from purespike.compiler.wording import Advice
from purespike.targets.onnx.emit import Form

Batches = Iterable[tuple[Tensor, Tensor]]  # inputs (T, B, C, H, W), labels (B,)
LavaMode = Literal["fast", "stock", "none"]
Progress = Callable[[str, int, int], None]


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
        spikes: Test inputs (T, B, C, H, W).
        labels: Their classes (B,), whole numbers from 0.
        domain: What the input carries.
        calibration: Training inputs (T, B, C, H, W) by which scales may be chosen, and biases and
            thresholds be rounded together.
        labelled: Whether the labels mean something; without, no accuracy is measured.
        training: Gives batches of the training data, for fine-tuning.
    """

    name: str
    model: nn.Module | Graph
    shape: tuple[int, ...]
    spikes: NDArray[Any]
    labels: NDArray[np.int64]
    domain: Domain = SPIKE
    calibration: NDArray[Any] | None = None
    labelled: bool = True
    training: Callable[[], Batches] | None = None


@dataclass(frozen=True)
class Options:
    """What the compiler is told.

    Attributes:
        weight_bits: Of the integer weights, 2 to 8.
        calibration: How scales are chosen: ``max``, ``percentile``, ``mse`` or ``agreement``
            (`purespike.compiler.passes.quantize.calibrate`); the last needs calibration data.
        per_channel: Whether each channel has a scale of its own, folded into its threshold.
        fit_membranes: Whether scales are lowered until no membrane can saturate, for any input.
        qat: Epochs of quantization-aware fine-tuning on the subject's training data.
        host_encoder: Declares that an analog input is encoded on the host.
        golden: Samples whose every spike is compared on all executors and kept in the bundle.
        lava: Which convolution model Lava runs, or none.
        lava_samples: Samples that Lava runs; at least ``golden``.
        nir_strict: Whether model.nir says everything with plain nodes.
        onnx: Form of model.onnx; ``qonnx`` adds model.qonnx.onnx to the step form.
        netx: Whether to add model.net for lava-dl, which knows sequential networks only.
        policy: What the team accepts.
        waivers: Broken findings that the team accepts by name, for a time.
    """

    weight_bits: int = 8
    calibration: Method = "percentile"
    per_channel: bool = False
    fit_membranes: bool = False
    qat: int = 0
    host_encoder: bool = False
    golden: int = 64
    lava: LavaMode = "fast"
    lava_samples: int = 64
    nir_strict: bool = False
    onnx: Form = "step"
    netx: bool = False
    policy: Policy = STRICT
    waivers: Waivers | None = None

    def described(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            **{k: v for k, v in vars(self).items() if k not in ("policy", "waivers")},
            "policy": {"name": self.policy.name, **self.policy.choices()},
            "waivers": self.waivers.data() if self.waivers else None,
        }


def require_samples(subject: Subject, options: Options) -> Subject:
    """The subject with its labels as int64; nothing is proved by no samples.

    Raises:
        PurespikeError: If there are no samples.
        LabelError: If there is not one label per sample, or they are no whole numbers from 0.
    """
    n = subject.spikes.shape[1] if subject.spikes.ndim > 1 else 0
    if not n or options.golden < 1:
        raise PurespikeError(
            "a verdict needs samples",
            where=subject.name,
            found=f"{n} samples, {options.golden} golden",
            allowed="inputs (T, B, ...), at least one golden sample",
            remedy=Advice("give test data, and at least one sample: {samples}"),
        )
    return replace(subject, labels=checked_labels(subject.labels, n, subject.name))


def require_classes(subject: Subject, graph: Graph) -> None:
    """Raise LabelError if a label of the subject is none of the network's classes."""
    checked_labels(subject.labels, len(subject.labels), subject.name, *output_classes(graph))
