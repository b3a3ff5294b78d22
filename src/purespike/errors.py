"""Errors of the command line and of what joins the folders."""

from purespike.compiler.errors import PurespikeError


class InputError(PurespikeError):
    """Something that was named as a network and is none, or not enough of one."""
