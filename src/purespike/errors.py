"""Errors of the command line and of what joins the folders."""

from purespike.compiler.errors import UsageError


class InputError(UsageError):
    """Something that was named as a network and is none, or not enough of one."""
