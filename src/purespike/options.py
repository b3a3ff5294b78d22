"""What the compiler is told. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

from purespike.compiler.choices import (
    COUNT,
    LEVELS,
    WEIGHT_BITS,
    Form,
    LavaMode,
    Method,
    Range,
    settle,
)
from purespike.compiler.errors import UsageError
from purespike.compiler.rules.policy import STRICT, Policy
from purespike.compiler.rules.waiver import Waivers
from purespike.compiler.wording import Advice

_LATER = ("c", "c_ram", "levels")  # said in a bundle only where chosen: older ones know none


@dataclass(frozen=True)
class Options:
    """What the compiler is told; every value is checked.

    Attributes:
        weight_bits: Of the integer weights, 2 to 8.
        calibration: How scales are chosen: ``max``, ``percentile``, ``mse`` or ``agreement``
            (`purespike.compiler.passes.quantize.calibrate`); the last needs calibration data.
        per_channel: Whether each channel has a scale of its own, folded into its threshold.
        fit_membranes: Whether scales are lowered until no membrane can saturate, for any input.
        levels: How many levels an activation may have, each of which becomes a neuron.
        qat: Epochs of quantization-aware fine-tuning on the subject's training data.
        host_encoder: Declares that an analog input is encoded on the host.
        golden: Samples whose every spike is compared on all executors and kept in the bundle.
        lava: Which convolution model Lava runs, or none.
        lava_samples: Samples that Lava runs; at least ``golden``.
        nir_strict: Whether model.nir says everything with plain nodes.
        onnx: Form of model.onnx; ``qonnx`` adds model.qonnx.onnx to the step form.
        netx: Whether to add model.net for lava-dl, which knows sequential networks only.
        c: Whether to add the network as a C program, which PS010 then compiles and runs, too.
        c_ram: Bytes of working memory that the C program may have; None for any.
        policy: What the team accepts.
        waivers: Broken findings that the team accepts by name, for a time.

    Raises:
        UsageError: If a value is none of those allowed.
    """

    weight_bits: Annotated[int, WEIGHT_BITS] = 8
    calibration: Method = "percentile"
    per_channel: bool = False
    fit_membranes: bool = False
    levels: Annotated[int, LEVELS] = 16
    qat: Annotated[int, Range(0)] = 0
    host_encoder: bool = False
    golden: Annotated[int, COUNT] = 64
    lava: LavaMode = "fast"
    lava_samples: Annotated[int, COUNT] = 64
    nir_strict: bool = False
    onnx: Form = "step"
    netx: bool = False
    c: bool = False
    c_ram: Annotated[int, COUNT] | None = None
    policy: Policy = STRICT
    waivers: Waivers | None = None

    def __post_init__(self) -> None:
        settle(self)
        if self.c_ram is not None and not self.c:
            raise UsageError(
                "c_ram limits a C program that is not asked for",
                where="c_ram",
                found=str(self.c_ram),
                remedy=Advice("ask for it, too: {c}"),
            )

    def __repr__(self) -> str:
        """What differs from the defaults."""
        said = {f.name: getattr(self, f.name) for f in fields(self)}
        said = {f.name: said[f.name] for f in fields(self) if said[f.name] != f.default}
        named = {"policy": self.policy.name, "waivers": "..."}
        return f"Options({', '.join(f'{n}={named.get(n, v)!r}' for n, v in said.items())})"

    def described(self) -> dict[str, Any]:
        """As JSON-ready data."""
        usual = {f.name for f in fields(self) if getattr(self, f.name) == f.default}
        unsaid = {"policy", "waivers"} | usual.intersection(_LATER)
        return {
            **{k: v for k, v in vars(self).items() if k not in unsaid},
            "policy": {"name": self.policy.name, **self.policy.choices()},
            "waivers": self.waivers.data() if self.waivers else None,
        }
