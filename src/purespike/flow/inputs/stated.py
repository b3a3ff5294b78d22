"""What a NETWORK argument leaves open and its user states. Light: every command imports it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from purespike.compiler.choices import (
    COUNT,
    Current,
    Feedback,
    Fires,
    IfR,
    RecurrentBias,
    Reset,
    settle,
)
from purespike.compiler.wording import Advice
from purespike.errors import InputError

NIR = (
    "dt",
    "reset",
    "if_r",
    "steps",
    "spike_input",
    "feedback",
    "current",
    "recurrent_bias",
    "fires",
)


@dataclass(frozen=True)
class Stated:
    """What files leave open and the caller states; None says nothing.

    Attributes:
        dt: Seconds per time step.
        reset: What a spike does to the membrane.
        if_r: Whether IF and I add ``r * x`` or ``dt * r * x``.
        steps: Time steps per sample.
        spike_input: Whether the inputs carry spikes.
        feedback: Which value an edge carries that closes a loop.
        current: Which synaptic current a membrane takes: the ``new`` one or the one before.
        fires: Whether a membrane that equals its threshold fires (``at``) or not (``above``).
        shape: Of one sample at one step; torch modules, and netx files that leave it open.
        data: A .npz file with ``inputs`` (T, B, *shape) and perhaps ``labels`` (B,).
        trust: Whether the code may run that a checkpoint names as its data set.
        recurrent_bias: Whether the bias in a loop is there ``always``, or ``delayed`` by a step.

    Raises:
        UsageError: If a value is none of those allowed.
    """

    dt: float | None = None
    reset: Reset | None = None
    if_r: IfR | None = None
    steps: Annotated[int, COUNT] | None = None
    spike_input: bool = False
    feedback: Feedback | None = None
    shape: tuple[int, ...] | None = None
    data: Path | None = None
    current: Current | None = None
    trust: bool = False
    recurrent_bias: RecurrentBias | None = None
    fires: Fires | None = None

    def __post_init__(self) -> None:
        settle(self)

    def refuse(self, what: str, *allowed: str) -> None:
        """Raise InputError if something is stated that ``what`` has no use for."""
        said = {n for n, v in vars(self).items() if v not in (None, False)}
        if wrong := sorted(said - set(allowed)):
            raise InputError(
                Advice(f"{what} does not take " + _listed(wrong)),
                allowed=Advice(_listed(allowed) or "nothing: it says all itself"),
                remedy="leave them out",
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)
