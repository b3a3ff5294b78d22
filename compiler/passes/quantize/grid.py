"""The integers that a chip offers."""

from __future__ import annotations

from dataclasses import dataclass, field

from purespike.compiler.ir.ops import FixedPoint
from purespike.compiler.passes.quantize.groups import QuantizeError


@dataclass(frozen=True)
class Grid:
    """The integers a chip offers; the defaults are Loihi's (see ``targets/spec.py``).

    ``per_channel`` allows thresholds that differ by channel. Loihi 1 holds 8 different ones a core;
    for Loihi 2 no number is published, so that it takes a decision: see `targets.resources`.
    ``fit_membranes`` lowers scales until no membrane can saturate, for any input (`fit_scales`).
    """

    weight_bits: int = 8
    bias_limit: int = 4095
    threshold_limit: int = 131071
    fixed: FixedPoint = field(default_factory=FixedPoint)
    per_channel: bool = False
    fit_membranes: bool = False

    @property
    def weight_limit(self) -> int:
        """The largest weight; symmetric, since -128 is not exact in every sign mode of Loihi."""
        return (1 << (self.weight_bits - 1)) - 1

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 8:
            raise QuantizeError(
                "unsupported weight width", found=f"{self.weight_bits} bits", allowed="2 to 8 bits"
            )
