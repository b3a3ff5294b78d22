"""What nobody can prove from a file: what its inputs carry, how long a step is, what the host does.

A file of purespike states these in its metadata; for another tool's file the caller does. Nothing
else is taken from the metadata: domains, resets, passes, hashes are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from purespike.compiler.checker.values import ANYTHING, SPIKES, Values
from purespike.compiler.errors import PurespikeError


@dataclass(frozen=True)
class Statement:
    """Declarations about a NIR file.

    Attributes:
        dt: Seconds per time step; None leaves every neuron with a time constant unproved.
        r_times_dt: Whether IF and I add ``dt * r * x`` a step instead of ``r * x``.
        inputs: What the Input nodes carry, by name; one that is not here may carry anything.
        spike_inputs: Every Input node carries spikes.
        host: Nodes that run on the host.
    """

    dt: float | None = None
    r_times_dt: bool = False
    inputs: Mapping[str, Values] = field(default_factory=dict)
    spike_inputs: bool = False
    host: frozenset[str] = frozenset()

    def input(self, name: str) -> Values:
        """What an Input node carries."""
        return SPIKES if self.spike_inputs else self.inputs.get(name, ANYTHING)


def read_statement(metadata: str) -> Statement:
    """The declarations in the metadata that purespike wrote.

    Raises:
        PurespikeError: If the text is not of that form.
    """
    try:
        data = json.loads(metadata)
        inputs = {str(e["node"]): _values(e["domain"]) for e in data["inputs"]}
        host = {str(n["node"]) for n in data["nodes"] if n["role"] == "host" and "node" in n}
        return Statement(float(data["dt"]), False, inputs, host=frozenset(host))
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise PurespikeError(
            "the independent check cannot read the purespike metadata",
            found=f"{type(e).__name__}: {str(e)[:80]}",
            remedy="compile the network again",
        ) from None


def _values(domain: Any) -> Values:
    """The metadata's [lo, hi, step]; spikes only if it says so exactly."""
    low, high, step = (float(n) for n in domain)
    if (low, high, step) == (0.0, 1.0, 1.0):
        return SPIKES
    aligned = step and (low in (0.0, float("-inf")) or low % step == 0)
    return Values(low, high, step if aligned else 0.0)
