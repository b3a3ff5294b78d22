"""What a team accepts: the few things that are a matter of choice, not of proof."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """A named set of choices.

    Attributes:
        name: Stands in the report.
        leak_multiplies: Whether a leaky neuron may multiply its membrane by the decay.
        accuracy_drop: Percentage points that the integer network may lose against the trained one.
    """

    name: str
    leak_multiplies: bool
    accuracy_drop: float


STRICT = Policy("strict", leak_multiplies=False, accuracy_drop=0.5)
LEAKY = Policy("leaky", leak_multiplies=True, accuracy_drop=0.5)
POLICIES = {p.name: p for p in (STRICT, LEAKY)}
