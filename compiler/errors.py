"""The one error family of purespike: what was found, what is allowed, where, and what to do."""

from __future__ import annotations


class PurespikeError(Exception):
    """Anything a user can cause. Printed as a short text, never as a traceback.

    Args:
        message: What went wrong, in one line.
        found: What was found (with its unit).
        allowed: What is allowed there.
        where: Module path, layer or file.
        remedy: What to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        found: str = "",
        allowed: str = "",
        where: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.allowed = allowed
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """The message with its labelled details, one a line."""
        details = {
            "where": self.where,
            "found": self.found,
            "allowed": self.allowed,
            "to do": self.remedy,
        }
        lines = [self.message, *(f"  {label}: {text}" for label, text in details.items() if text)]
        return "\n".join(lines)
