"""What the cpu executor cannot run."""

from __future__ import annotations

from purespike.compiler.errors import PurespikeError


class CpuError(PurespikeError):
    """A graph, or a part of it, that has no exact form here."""
