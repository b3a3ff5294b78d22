"""What can go wrong with netx: a graph that it cannot say, a file that does not say one."""

from __future__ import annotations

from purespike.compiler.errors import PurespikeError, UsageError


class NetxError(PurespikeError):
    """A graph cannot be written for netx."""


class NetxFileError(UsageError):
    """A netx file is missing, damaged, hostile, or says more than purespike can run exactly."""
