"""What can go wrong with NIR: a graph that it cannot say, a file that does not say one."""

from __future__ import annotations

from purespike.compiler.errors import PurespikeError, UsageError


class NirError(PurespikeError):
    """A graph cannot be written as NIR."""


class NirFileError(UsageError):
    """A NIR file is missing, damaged, hostile, modified, or leaves something open."""
