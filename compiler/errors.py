"""The one error family of purespike: what was found, what is allowed, where, and what to do.

Two branches matter to whoever catches them: what the caller did (`UsageError`), and what the
network is (`Refusal`). Only the second is a finding of a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping

from purespike.compiler.wording import Interface, option, spoken


class PurespikeError(Exception):
    """Anything a user can cause. Printed as a short text, never as a traceback.

    Args:
        message: What went wrong, in one line.
        found: What was found (with its unit).
        allowed: What is allowed there.
        where: Module path, layer or file.
        remedy: What to do about it.
        open: What the caller has to state, by its name, each with the reason.
    """

    def __init__(
        self,
        message: str,
        *,
        found: str = "",
        allowed: str = "",
        where: str = "",
        remedy: str = "",
        open: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.allowed = allowed
        self.where = where
        self.remedy = remedy
        self.open = dict(open or {})

    def __str__(self) -> str:
        """The text for whoever called from Python."""
        return self.text("python")

    def text(self, interface: Interface) -> str:
        """The message with its labelled details, one per line, in the words of an interface."""
        details = {
            "where": self.where,
            "found": self.found,
            "allowed": self.allowed,
            "to do": self.remedy,
        }
        lines = [spoken(self.message, interface)]
        for label, text in details.items():
            if label == "to do":
                lines += [f"  state {option(n, interface)}: {why}" for n, why in self.open.items()]
            lines += [f"  {label}: {spoken(text, interface)}"] if text else []
        return "\n".join(lines)


class UsageError(PurespikeError):
    """The caller's: an option, an argument, data, a file or a place. Never part of a verdict."""


class Refusal(PurespikeError):
    """About the network: it cannot be what is asked for. A build reports it as a finding.

    Attributes:
        rule: Id of the rule that the refusal protects; every class of refusals has its own.
    """

    rule = "PS004"  # only spike operations: whatever cannot be said is none
